package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy"
)

// raw sends bytes over TLS and reads one answer.
func (w *world) raw(request string) *http.Response {
	w.tb.Helper()
	name := doorHost
	if asked := regexp.MustCompile(`(?m)^Host: ([a-z.]+)`).FindStringSubmatch(request); asked != nil {
		name = asked[1]
	}
	conn, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.ca.pool, ServerName: name})
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(8 * time.Second)); err != nil { // less than a stranger's body may take
		w.tb.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		w.tb.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.tb.Fatalf("no answer to %.60q: %v", request, err)
	}
	w.tb.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestRefusalsDoNotWaitForTheBody(t *testing.T) {
	w := newWorld(t, nil)
	for name, request := range map[string]string{
		"announced":   "POST /upload HTTP/1.1\r\nHost: " + headersHost + "\r\nContent-Length: 10000000\r\n\r\n",
		"asked first": "POST /upload HTTP/1.1\r\nHost: " + headersHost + "\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n",
		"ACS without a cookie": "POST /saml/acs HTTP/1.1\r\nHost: " + doorHost +
			"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 500000\r\n\r\n",
	} {
		if res := w.raw(request); res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
}

func TestEveryRequestHasALine(t *testing.T) {
	w := newWorld(t, nil)
	w.raw("OPTIONS * HTTP/1.1\r\nHost: " + headersHost + "\r\n\r\n")
	if line := w.lastRecord(1); line["http.request.method"] != "OPTIONS" || line["event.reason"] != "path" {
		t.Errorf("line %v", line)
	}
}

func TestHostReachesTheToolInOurForm(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	ours := strings.TrimPrefix(w.origin(headersHost), "https://")
	for _, host := range []string{"HEADERS.example.test.:1", headersHost, headersHost + ":65535"} {
		req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
		req.Host = host
		if res := b.do(req); res.StatusCode != http.StatusOK {
			t.Errorf("Host %q: %d", host, res.StatusCode)
		}
		if got, _ := w.backend.seen(); got.Host != ours || got.Header.Get("X-Forwarded-Host") != ours {
			t.Errorf("Host %q reached the tool as %q, X-Forwarded-Host %q", host, got.Host, got.Header.Get("X-Forwarded-Host"))
		}
	}
	for _, host := range []string{headersHost + ":evil.com", headersHost + ":1;x=y"} {
		if res := w.raw("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"); res.StatusCode != http.StatusBadRequest {
			t.Errorf("Host %q: %d", host, res.StatusCode)
		}
	}
}

func TestPagesOfOtherOriginsChangeNothing(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Routes[1].UnsafeCrossOrigin = true })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	b.signIn(w.origin(notesHost)+"/", "alice")
	tests := []struct {
		name, host, method string
		header             http.Header
		status             int
	}{
		{"its own page", headersHost, "POST", http.Header{"Sec-Fetch-Site": {"same-origin"}}, 200},
		{"a program without Fetch Metadata", headersHost, "DELETE", http.Header{}, 200},
		{"a sibling tool", headersHost, "POST", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {w.origin(notesHost)}}, 403},
		{"a sibling tool in an old browser", headersHost, "PUT", http.Header{"Origin": {w.origin(notesHost)}}, 403},
		{"a sandboxed page", headersHost, "POST", http.Header{"Origin": {"null"}}, 403},
		{"a link of another site", headersHost, "GET", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 200},
		{"a sibling where that is allowed", notesHost, "POST", http.Header{"Sec-Fetch-Site": {"same-site"}, "Origin": {w.origin(headersHost)}}, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, before := w.backend.seen()
			req := b.request(test.method, w.origin(test.host)+"/", nil)
			for name, values := range test.header {
				req.Header[name] = values
			}
			res := b.do(req)
			_, after := w.backend.seen()
			if res.StatusCode != test.status || (after > before) != (test.status == 200) {
				t.Errorf("answer %d, %d requests at the backend", res.StatusCode, after-before)
			}
		})
	}
}

func TestASignOutEndsEveryStream(t *testing.T) {
	for _, accept := range []string{"*/*", "Text/Event-Stream", "application/x-ndjson"} {
		w := newWorld(t, nil)
		w.backend.mux.HandleFunc("/stream", func(rw http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintln(rw, "first")
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		})
		b := w.browser()
		b.signIn(w.origin(headersHost)+"/", "alice")
		req := b.request(http.MethodGet, w.origin(headersHost)+"/stream", nil)
		req.Header.Set("Accept", accept)
		res, err := b.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(res.Body)
		if _, err := reader.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
		if _, err := io.ReadAll(reader); err == nil {
			t.Errorf("a stream of %q is not cut", accept)
		}
		res.Body.Close()
	}
}

func TestRenewedCookiesStayOutOfSharedCaches(t *testing.T) {
	var answer http.Header
	now := newClock()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Now = now.read })
	w.backend.mux.HandleFunc("/asset", func(rw http.ResponseWriter, _ *http.Request) {
		for name, values := range answer {
			rw.Header()[name] = values
		}
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	tests := []struct {
		control, want string
		renewed       bool
	}{
		{"", "private", true},
		{"no-store", "no-store", true},
		{"Private, max-age=60", "Private, max-age=60", true},
		{"public, max-age=31536000", "public, max-age=31536000", false},
		{"max-age=60", "max-age=60", false},
	}
	for _, test := range tests {
		answer = http.Header{}
		if test.control != "" {
			answer.Set("Cache-Control", test.control)
		}
		now.pass(10 * time.Minute)
		res := b.navigate(w.origin(headersHost) + "/asset")
		if res.Header.Get("Cache-Control") != test.want || len(res.Header.Values("Set-Cookie")) > 0 != test.renewed {
			t.Errorf("%q: Cache-Control %q, cookies %v", test.control, res.Header.Get("Cache-Control"), res.Header.Values("Set-Cookie"))
		}
		if res.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("%q: no Strict-Transport-Security", test.control)
		}
	}
}

// TestAFloodAtTheDoorIsTurnedAway fills one address's share of the answers with
// bodies that do not come, and finds the next one refused at once.
func TestAFloodAtTheDoorIsTurnedAway(t *testing.T) {
	metrics := proxy.NewMetrics()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Metrics = metrics })
	b := w.browser()
	toIdP := b.navigate(b.navigate(w.origin(headersHost) + "/").Header.Get("Location")).Header.Get("Location")
	acs := w.origin(doorHost) + "/saml/acs"
	form := samlForm(t, toIdP, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const share, more = 16, 4
	turnedAway := make(chan int, share+more)
	for range share + more {
		body, writer := io.Pipe() // nothing is ever written
		defer writer.Close()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, acs, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, c := range b.client.Jar.Cookies(mustParse(t, acs)) {
			req.AddCookie(c)
		}
		go func() {
			if res, err := b.client.Transport.RoundTrip(req); err == nil {
				res.Body.Close()
				turnedAway <- res.StatusCode
			}
		}()
	}
	for range more { // when these were answered, the others hold their places
		if status := <-turnedAway; status != http.StatusServiceUnavailable {
			t.Fatalf("a body that does not come is answered %d", status)
		}
	}
	if res := b.post(acs, "cross-site", form); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "Try again in a few seconds") {
		t.Fatalf("one more answer: %d", res.StatusCode)
	}
	cancel()
	waitInFlight(t, registry, 0)
	if res := b.post(acs, "cross-site", form); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after the flood: %d", res.StatusCode)
	}
}

// waitInFlight waits until the gateway serves so many requests.
func waitInFlight(t *testing.T, metrics prometheus.Gatherer, want float64) {
	t.Helper()
	var got float64
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		families, err := metrics.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "sallyport_http_requests_in_flight" {
				got = family.GetMetric()[0].GetGauge().GetValue()
			}
		}
		if got == want {
			return
		}
	}
	t.Fatalf("%v requests in flight, want %v", got, want)
}
