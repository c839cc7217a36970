package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// mark stands in everything that the clients of TestNoLabelIsAClients choose.
const mark = "zzqmark"

// TestNoLabelIsAClients has strangers, a person with a hostile name and a hostile tool
// choose everything that they can choose, and then walks all metrics: every label has
// one of few values, and nothing of theirs is to be found, not as a number either.
func TestNoLabelIsAClients(t *testing.T) {
	metrics := proxy.NewMetrics()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Metrics = metrics })
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics, proxy.NewUpstreamMetrics(w.live.Upstreams), proxy.NewSessionMetrics(func() session.Counts {
		return w.cfg.Sessions.Revocations().Counts()
	}))
	w.saml.people[mark] = saml.Principal{
		Subject: saml.Subject{NameID: mark}, SessionIndex: mark, User: mark + "@example.com", Email: mark + "@example.com", Name: mark,
		Groups: []string{"engineers", mark}, IdP: "https://idp.example.org",
	}
	w.backend.mux.HandleFunc("/status/", func(rw http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/status/"))
		rw.Header().Set("X-Reason", mark)
		rw.WriteHeader(status)
	})
	w.haveStrangers(t)
	person := w.browser()
	person.signIn(w.origin(headersHost)+"/", mark)
	for status := 200; status < 1000; status++ {
		req := person.request(http.MethodGet, w.origin(headersHost)+"/status/"+strconv.Itoa(status)+"?"+mark+"="+mark, nil)
		req.Header.Set("User-Agent", mark+strconv.Itoa(status))
		person.do(req)
	}
	person.navigate(w.origin(closedHost) + "/" + mark)
	waitInFlight(t, registry, 0)
	checkLabels(t, registry)
}

// haveStrangers sends what people send who try things.
func (w *world) haveStrangers(t *testing.T) {
	t.Helper()
	b := w.browser()
	for i := range 40 {
		what := mark + strconv.Itoa(i)
		req := b.request("GET", w.origin(headersHost)+"/"+what+"?"+what+"="+what, nil)
		req.Header.Set("Sec-Fetch-Mode", what)
		req.Header.Set("X-"+what, what)
		req.AddCookie(&http.Cookie{Name: session.CookieName, Value: what})
		b.do(req)
		unknown := b.request("GET", w.origin(what+".unknown.example.test")+"/", nil)
		b.do(unknown)
		odd := b.request(strings.ToUpper(what), w.origin(openHost)+"/", nil)
		b.do(odd)
		b.post(w.origin(doorHost)+"/saml/acs", "cross-site", url.Values{"SAMLResponse": {what}, "RelayState": {what}})
		b.navigate(w.origin(doorHost) + "/.sallyport/" + what)
		b.navigate(w.origin(doorHost) + "/.sallyport/sign_in?begin=" + what)
		w.sendRaw(t, fmt.Sprintf("GET /%s HTTP/1.1\r\nHost: %s:99999999\r\n\r\n", what, what))
		w.sendRaw(t, fmt.Sprintf("%s / HTTP/1.1\r\nHost: %s\r\nX_Forwarded_User: %s\r\nTransfer-Encoding: %s\r\n\r\n", what, headersHost, what, what))
	}
}

// sendRaw sends bytes to the gateway over TLS, and reads until it closes or has answered.
func (w *world) sendRaw(t *testing.T, text string) {
	t.Helper()
	conn, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.ca.pool, ServerName: headersHost})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
	_, _ = conn.Read(make([]byte, 64))
}

// valuesOf says which values the labels of our metrics may have: each as a whole.
func valuesOf(t *testing.T) map[string]*regexp.Regexp {
	t.Helper()
	reasons := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|")
	var codes []string
	for _, page := range []string{"../docs/reasons.md", "../docs/saml-refusals.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range reasons.FindAllStringSubmatch(string(text), -1) {
			codes = append(codes, code[1])
		}
	}
	if len(codes) < 100 {
		t.Fatalf("%d codes", len(codes))
	}
	return map[string]*regexp.Regexp{
		"route":    regexp.MustCompile(`^(|headers|notes|open|closed)$`),
		"code":     regexp.MustCompile(`^(other|[1-5]\d\d)$`),
		"decision": regexp.MustCompile(`^(allow|deny|signin|step_up)$`),
		"result":   regexp.MustCompile(`^(allow|deny|step_up)$`),
		"reason":   regexp.MustCompile("^(" + strings.Join(codes, "|") + ")$"),
		"limit":    regexp.MustCompile(`^(requests|memory|route|person|total|address|stall)$`),
		"kind":     regexp.MustCompile(`^(slow_writer|slow_reader)$`),
		"upstream": regexp.MustCompile(`^127\.0\.0\.1:\d+$`), // of the configuration
	}
}

// checkLabels walks all metrics.
func checkLabels(t *testing.T, gather prometheus.Gatherer) {
	t.Helper()
	values := valuesOf(t)
	families, err := gather.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, family := range families {
		names = append(names, family.GetName())
		if n := len(family.GetMetric()); n > 200 {
			t.Errorf("%s has %d series", family.GetName(), n)
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if may := values[label.GetName()]; may == nil || !may.MatchString(label.GetValue()) {
					t.Errorf("%s has %s=%q, which is none of the few", family.GetName(), label.GetName(), label.GetValue())
				}
			}
			checkBuckets(t, family.GetName(), metric.GetHistogram())
		}
	}
	for _, needed := range []string{"sallyport_http_requests_total", "sallyport_http_refusals_total", "sallyport_saml_logins_total", "sallyport_saml_login_duration_seconds", "sallyport_upstream_duration_seconds"} {
		if !slices.Contains(names, needed) {
			t.Errorf("there is no %s", needed)
		}
	}
	for _, accept := range []string{"text/plain", "application/openmetrics-text", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"} {
		if text := scraped(t, gather, accept); strings.Contains(strings.ToLower(text), mark) || len(text) < 1000 {
			t.Errorf("what somebody chose is in the metrics, as %s:\n%s", accept, text)
		}
	}
}

// checkBuckets holds a histogram to both kinds of buckets, and to a bound of theirs.
func checkBuckets(t *testing.T, name string, h *dto.Histogram) {
	t.Helper()
	if h == nil {
		return
	}
	native := len(h.GetPositiveDelta()) + len(h.GetNegativeDelta())
	if len(h.GetBucket()) < 8 || len(h.GetBucket()) > 20 || h.GetSampleCount() > 0 && native == 0 && h.GetZeroCount() == 0 || native > 160 {
		t.Errorf("%s has %d classic buckets and %d native ones", name, len(h.GetBucket()), native)
	}
}

// scraped is what /metrics answers to whoever accepts a type.
func scraped(t *testing.T, gather prometheus.Gatherer, accept string) string {
	t.Helper()
	admin := proxy.Admin(proxy.AdminConfig{Metrics: gather, Readiness: func() ([]string, []string) { return nil, nil }})
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	answer := httptest.NewRecorder()
	admin.ServeHTTP(answer, req)
	kind, _, _ := strings.Cut(accept, ";")
	if answer.Code != http.StatusOK || !strings.HasPrefix(answer.Header().Get("Content-Type"), kind) {
		t.Fatalf("%s: status %d, %s", accept, answer.Code, answer.Header().Get("Content-Type"))
	}
	return answer.Body.String()
}
