package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// testPrometheusScrapes has real Prometheus servers, one with native histograms and one
// without, scrape a gateway, a sidecar and a secret driver with the rules that we ship:
// every documented metric is there, every rule and every panel can be reckoned, and with
// either kind of buckets to the same end.
func testPrometheusScrapes(t *testing.T, s *stand) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("hello " + r.Header.Get("X-Forwarded-User")))
	}))
	t.Cleanup(app.Close)
	p := startPairBefore(t, s, app.URL, `tracing: {endpoint: "http://127.0.0.1:1", sample: 100%}
access_log: {sinks: [{name: siem, syslog: {address: "`+takesAll(t)+`", unsafe_cleartext: true}, spool: {directory: `+t.TempDir()+`/spool, size_mib: 16}}]}
`, func(string) []string { return nil })
	roleID, socket, driver := s.addDriver(t), filepath.Join(socketDir(t), "plugins", "sallyport.sock"), free(t)
	d := s.start(t, "secret-driver", "--config", driverYAML(t, socket, driver), "--role-id", roleID, "--wrapping-token-file", s.introduce(t, driverRole).file)
	d.ready(t, driver)
	p.haveTraffic(t)
	askDriver(t, socket, "edge_other", "task1")

	jobs := map[string]string{"gateway": p.admin, "sidecar": p.probes, "secret-driver": driver}
	native := startPrometheus(t, jobs, "--enable-feature=native-histograms,exemplar-storage")
	classic := startPrometheus(t, jobs)
	for name, server := range map[string]*prometheusServer{"native": native, "classic": classic} {
		p.gateway.eventually(t, name+" Prometheus has reckoned what is slow", func() (string, bool) {
			p.haveTraffic(t)
			value := server.ask(t, `sallyport:upstream_slow:ratio_rate5m{route="notes"} < 0.5`)
			return value, value != "[]"
		})
		server.checkRules(t)
		server.checkPanels(t)
	}
	checkScraped(t, classic)
	examples := url.Values{"query": {`{__name__=~"sallyport_http_request_duration_seconds.*"}`}, "start": {"0"}, "end": {strconv.FormatInt(time.Now().Unix()+60, 10)}}
	if raw := native.get(t, "query_exemplars", examples); !strings.Contains(string(raw), `"trace_id"`) {
		t.Errorf("no duration has a trace as its example: %s", raw)
	}
	if buckets := native.ask(t, `sallyport_upstream_duration_seconds_bucket`); buckets != "[]" {
		t.Errorf("with native histograms there are classic buckets: %s", buckets)
	}
	if share := native.ask(t, `histogram_count(sallyport_upstream_duration_seconds{route="notes"}) > 0 and histogram_quantile(0.5, sallyport_upstream_duration_seconds) < 5`); share == "[]" {
		t.Error("there is no native histogram of what the tool takes")
	}
}

// takesAll is the address of a collector that takes whatever comes.
func takesAll(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// haveTraffic asks for the tool signed in, and for what is refused.
func (p *pair) haveTraffic(t *testing.T) {
	t.Helper()
	live := &liveGatewayTest{stand: p.stand, p: p.gateway, https: p.https, admin: p.admin}
	transport := live.client(t).Transport
	for range 3 {
		if fault := askSignedIn(t.Context(), transport, p.stand.signIn(t)); fault != "" {
			t.Fatal(fault)
		}
	}
	browser := p.stand.browser(t, p.https)
	browser("POST", "/saml/acs", strings.NewReader("SAMLResponse=x"))
	browser("GET", "/nowhere", nil)
}

// prometheusServer is one that runs.
type prometheusServer struct{ address string }

// startPrometheus has one scrape these addresses every second, by the names of their jobs.
func startPrometheus(t *testing.T, jobs map[string]string, flags ...string) *prometheusServer {
	t.Helper()
	program, err := filepath.Abs("../../.build/debian/prometheus/usr/bin/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v: run `make .build/debian/prometheus` once", err)
	}
	dir, address := t.TempDir(), free(t)
	for _, name := range []string{"recording.yml", "alerts.yml"} {
		writeFile(t, dir, name, read(t, observability+name))
	}
	config := "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [recording.yml, alerts.yml]\nscrape_configs:\n"
	for job, at := range jobs {
		config += fmt.Sprintf("- {job_name: sallyport-%s, static_configs: [{targets: [%q]}]}\n", job, at)
	}
	said := &buffer{}
	cmd := exec.Command(program, append([]string{
		"--config.file=" + writeFile(t, dir, "prometheus.yml", config), "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--log.level=warn",
	}, flags...)...)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus: %s", said)
		}
	})
	return &prometheusServer{address}
}

// get asks the API, and returns the data of its answer; nil if it does not answer yet.
func (p *prometheusServer) get(t *testing.T, path string, query url.Values) json.RawMessage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/api/v1/"+path+"?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext}}
	res, err := client.Do(req)
	if err != nil || res.StatusCode == http.StatusServiceUnavailable {
		return nil
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Errorf("%s %s: %v, %s", path, query, err, answer.Error)
	}
	return answer.Data
}

// ask evaluates an expression, and returns its samples as JSON.
func (p *prometheusServer) ask(t *testing.T, expression string) string {
	t.Helper()
	var data struct{ Result json.RawMessage }
	if raw := p.get(t, "query", url.Values{"query": {expression}}); raw == nil || json.Unmarshal(raw, &data) != nil {
		return "[]"
	}
	return string(data.Result)
}

// checkRules looks whether every rule was evaluated without a fault, and that nobody is
// woken by a system that is well.
func (p *prometheusServer) checkRules(t *testing.T) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct {
				Name, Type, Health, LastError, State string
			}
		}
	}
	if err := json.Unmarshal(p.get(t, "rules", nil), &data); err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, group := range data.Groups {
		for _, r := range group.Rules {
			rules++
			if r.Health != "ok" {
				t.Errorf("rule %s: %s %s", r.Name, r.Health, r.LastError)
			}
			if r.State == "firing" && r.Name != "SallyportIntroductionsRefused" {
				t.Errorf("%s fires, and nothing is wrong", r.Name)
			}
		}
	}
	if want := len(rulesIn(t, "recording.yml")) + len(rulesIn(t, "alerts.yml")); rules != want {
		t.Errorf("%d rules, expected %d", rules, want)
	}
}

// checkPanels evaluates each query of the dashboard.
func (p *prometheusServer) checkPanels(t *testing.T) {
	t.Helper()
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			p.ask(t, strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$instance", ".*", "$route", ".*").Replace(target.Expr))
		}
	}
}

// quietMetrics are documented metrics that show nothing until something has happened, or
// without what these processes are not configured for; other tests have those.
var quietMetrics = []string{
	"sallyport_http2_errors_total", "sallyport_trace_spans_total",
	"sallyport_access_log_unsigned_records", "sallyport_access_log_signed_seconds", "sallyport_access_log_checkpoints_total", "sallyport_access_log_checkpoint_failures_total",
}

// checkScraped looks for each metric of docs/metrics.md at each process that it is of.
func checkScraped(t *testing.T, server *prometheusServer) {
	t.Helper()
	rows := regexp.MustCompile("(?m)^\\| `(sallyport_[a-z0-9_]+)` \\| ([^|]+) \\|[^|]*\\|(?: (Histogram):)?").FindAllStringSubmatch(readPage(t, "metrics.md"), -1)
	if len(rows) != len(documentedMetrics(t)) {
		t.Fatalf("%d rows of docs/metrics.md are understood, of %d", len(rows), len(documentedMetrics(t)))
	}
	for _, row := range rows {
		name := row[1]
		if row[3] != "" {
			name += "_count"
		}
		of, _, _ := strings.Cut(row[2], ";")
		if of == "all" {
			of = "gateway, sidecar, secret driver"
		}
		for job := range strings.SplitSeq(of, ", ") {
			query := fmt.Sprintf("%s{job=\"sallyport-%s\"}", name, strings.ReplaceAll(job, " ", "-"))
			ofApp := strings.HasPrefix(name, "sallyport_app_") // this sidecar runs none; see TestSidecarRunsItsApp
			if server.ask(t, query) == "[]" && !ofApp && !slices.Contains(quietMetrics, name) {
				t.Errorf("there is no %s, which docs/metrics.md has", query)
			}
		}
	}
}
