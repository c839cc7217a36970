package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
)

func TestBackendThatFailsGetsAPageAndItsCauseALine(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	tests := []struct {
		name   string
		change func(*testing.T, *world, *proxy.Config)
		cause  string
	}{
		{"nobody listens", func(_ *testing.T, _ *world, cfg *proxy.Config) {
			cfg.Routes[0].Backend = &url.URL{Scheme: "https", Host: address}
		}, "connection refused"},
		{"another name than the pinned one", func(_ *testing.T, _ *world, cfg *proxy.Config) {
			cfg.Routes[0].TLS.ServerName = "other.backend.test"
		}, "not other.backend.test"},
		{"another authority", func(t *testing.T, _ *world, cfg *proxy.Config) {
			cfg.Routes[0].TLS.RootCAs = newAuthority(t).pool
		}, "unknown authority"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var w *world
			w = newWorld(t, func(cfg *proxy.Config) { test.change(t, w, cfg) })
			b := w.browser()
			res := b.signIn(w.origin(headersHost)+"/", "alice")
			if res.StatusCode != http.StatusBadGateway || strings.Contains(res.body, test.cause) || strings.Contains(res.body, "127.0.0.1") {
				t.Errorf("answer %d: %s", res.StatusCode, res.body)
			}
			records := w.records(5)
			last := records[len(records)-1]
			if cause, _ := last["error.message"].(string); !strings.Contains(cause, test.cause) || last["event.reason"] != "backend_unreachable" {
				t.Errorf("line %v, want the cause %q", last, test.cause)
			}
		})
	}
}

func TestFaultOfASidecarBecomesOurPage(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/down", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X-Sallyport-Fault", "app_unreachable")
		http.Error(rw, "raw text of the sidecar", http.StatusBadGateway)
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	res := b.navigate(w.origin(headersHost) + "/down")
	if res.StatusCode != http.StatusBadGateway || !strings.Contains(res.body, "The tool does not answer") || strings.Contains(res.body, "raw text") {
		t.Errorf("answer %d: %s", res.StatusCode, res.body)
	}
}

func TestBackendThatBreaksOffIsCutAndRecorded(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/half", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(rw, "half")
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	res, err := b.client.Do(b.request(http.MethodGet, w.origin(headersHost)+"/half", nil))
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("half an answer looks whole")
	}
	if last := w.lastRecord(6); last["error.message"] == nil || last["url.path"] != "/half" {
		t.Errorf("line %v, want a cause", last)
	}
}

func TestNobodyEntersWithoutARecord(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	w.records(5) // are written before
	w.log.setBroken(true)
	b.navigate(w.origin(headersHost) + "/") // its line is the first that has to wait
	w.recordable(false)
	_, before := w.backend.seen()
	for _, address := range []string{w.origin(headersHost) + "/", w.origin(doorHost) + "/", w.origin(doorHost) + "/saml/metadata"} {
		if res := b.navigate(address); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s answers %d while nothing can be recorded", address, res.StatusCode)
		}
	}
	if _, after := w.backend.seen(); after != before {
		t.Error("a request reached the backend while nothing could be recorded")
	}
	w.log.setBroken(false)
	w.recordable(true) // by itself, without a request that it refuses
	if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("the gateway does not recover: %d", res.StatusCode)
	}
	var statuses []any
	for _, record := range w.records(10)[5:] {
		statuses = append(statuses, record["http.response.status_code"])
	}
	if diff := cmp.Diff([]any{200.0, 503.0, 503.0, 503.0, 200.0}, statuses); diff != "" {
		t.Errorf("records from the failure on, none of which is lost (-want +got):\n%s", diff)
	}
}

func TestSessionLivesWhileItIsUsedAndEndsAtItsLimits(t *testing.T) {
	now := newClock()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Now = now.read })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	if res := b.navigate(w.origin(headersHost) + "/"); len(res.Header.Values("Set-Cookie")) > 0 {
		t.Errorf("a fresh session is renewed at once: %v", res.Header.Values("Set-Cookie"))
	}
	for range 11 { // each step is shorter than the idle limit of an hour; all are longer than it
		now.pass(50 * time.Minute)
		res := b.navigate(w.origin(headersHost) + "/")
		if res.StatusCode != http.StatusOK || len(res.Header.Values("Set-Cookie")) != 1 {
			t.Fatalf("a session in use: %d, cookies %v", res.StatusCode, res.Header.Values("Set-Cookie"))
		}
	}
	now.pass(50 * time.Minute) // ten hours after sign-on
	if res := b.do(background(b, w.origin(headersHost)+"/")); !strings.Contains(res.body, "session_expired") {
		t.Errorf("after the absolute limit: %s", res.body)
	}

	b.signIn(w.origin(headersHost)+"/", "alice")
	now.pass(61 * time.Minute)
	if res := b.do(background(b, w.origin(headersHost)+"/")); !strings.Contains(res.body, "session_idle") {
		t.Errorf("after the idle limit: %s", res.body)
	}
}

// background is a request that a page's script makes.
func background(b *browser, address string) *http.Request {
	req := b.request(http.MethodGet, address, nil)
	req.Header.Set("Sec-Fetch-Mode", "cors")
	return req
}

func TestNewRefusesWhatCannotBeServed(t *testing.T) {
	good := func() *url.URL { return &url.URL{Scheme: "https", Host: "127.0.0.1:1"} }
	route := proxy.Route{Name: "a", Host: "a.example.test", Backend: good(), TLS: &tls.Config{MinVersion: tls.VersionTLS13}, Rule: policy.Rule{}}
	tests := []struct {
		name   string
		change func(*proxy.Config)
		want   string
	}{
		{"a backend in the clear", func(c *proxy.Config) { c.Routes[0].Backend.Scheme = "http" }, `route "a" has backend http://127.0.0.1:1, expected https://`},
		{"a backend without TLS", func(c *proxy.Config) { c.Routes[0].TLS = nil }, `route "a" has no TLS configuration`},
		{"the door's host twice", func(c *proxy.Config) { c.Routes[0].Host = doorHost }, `has host "door.example.test", which is empty or the door's`},
		{"a host twice", func(c *proxy.Config) { c.Routes = append(c.Routes, c.Routes[0]) }, `has host "a.example.test" and path "/", which are taken by "a"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := proxy.Config{DoorHost: doorHost, PublicPort: 443, Routes: []proxy.Route{route}}
			cfg.Routes[0].Backend = good()
			test.change(&cfg)
			if _, err := proxy.New(cfg); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("New: %v, want %q", err, test.want)
			}
		})
	}
}

// serveOne starts Serve over TLS with the given handler.
func serveOne(t *testing.T, handler http.Handler, drain time.Duration) (address string, client *http.Client, stop func() error) {
	t.Helper()
	ca := newAuthority(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- proxy.Serve(ctx, proxy.ServerConfig{
			Listener: listener, Handler: handler, Drain: drain,
			TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue(x509.ExtKeyUsageServerAuth, "localhost")}},
		})
	}()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool, ServerName: "localhost"}}
	t.Cleanup(transport.CloseIdleConnections)
	return "https://" + listener.Addr().String(), &http.Client{Transport: transport}, func() error { cancel(); return <-done }
}

func TestStopLetsRequestsInFlightFinish(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	address, client, stop := serveOne(t, http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(rw, "done")
	}), time.Minute)
	got := make(chan string, 1)
	go func() {
		res, err := client.Get(address)
		if err != nil {
			got <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		got <- string(body)
	}()
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // new connections are refused while the old request is served
		conn, err := net.Dial("tcp", strings.TrimPrefix(address, "https://"))
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if body := <-got; body != "done" {
		t.Errorf("the request in flight got %q", body)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve = %v, want nil after a clean stop", err)
	}
}

func TestStopCutsWhatDoesNotFinish(t *testing.T) {
	arrived := make(chan struct{})
	address, client, stop := serveOne(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}), 50*time.Millisecond)
	go func() {
		if res, err := client.Get(address); err == nil {
			res.Body.Close()
		}
	}()
	<-arrived
	if err := stop(); !errors.Is(err, proxy.ErrDrain) {
		t.Errorf("Serve = %v, want ErrDrain", err)
	}
}

func TestStopWaitsForTheLinesOfWhatItCuts(t *testing.T) {
	for name, upgrade := range map[string]bool{"request": false, "upgraded connection": true} {
		arrived, line := make(chan struct{}), make(chan struct{}, 1)
		address, client, stop := serveOne(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if upgrade {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
				}
				defer conn.Close()
			}
			close(arrived)
			<-r.Context().Done()
			<-time.After(100 * time.Millisecond) // a disk that is slow
			line <- struct{}{}
		}), 50*time.Millisecond)
		go func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
			if err != nil {
				t.Error(err)
			}
			if upgrade {
				req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
			}
			if res, err := client.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		<-arrived
		if err := stop(); errors.Is(err, proxy.ErrDrain) == upgrade {
			t.Errorf("%s: Serve = %v", name, err)
		}
		if len(line) == 0 {
			t.Errorf("%s: Serve returned before the handler", name)
		}
	}
}

func TestAdminTellsReadinessWithReasons(t *testing.T) {
	reasons, remarks := []string{"stopping", "access log: disk is full"}, []string(nil)
	metrics := proxy.NewMetrics()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	server := httptest.NewServer(proxy.Admin(proxy.AdminConfig{
		Readiness: func() ([]string, []string) { return reasons, remarks }, Metrics: registry,
		More: map[string]http.Handler{"GET /more": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "more") })},
	}))
	defer server.Close()
	get := func(path string) (int, string) {
		res, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(body)
	}
	if status, body := get("/readyz"); status != http.StatusServiceUnavailable || body != "not ready:\n- stopping\n- access log: disk is full\n" {
		t.Errorf("readyz %d %q", status, body)
	}
	if status, _ := get("/livez"); status != http.StatusOK {
		t.Errorf("livez %d", status)
	}
	reasons = nil
	if status, body := get("/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("readyz %d %q", status, body)
	}
	remarks = []string{"vault token: lost"}
	if status, body := get("/readyz"); status != http.StatusOK || body != "ready, serving with what is held:\n- vault token: lost\n" {
		t.Errorf("readyz %d %q", status, body)
	}
	reasons = []string{"stopping"}
	if status, body := get("/readyz"); status != http.StatusServiceUnavailable || body != "not ready:\n- stopping\n- vault token: lost\n" {
		t.Errorf("readyz %d %q", status, body)
	}
	if status, body := get("/more"); status != http.StatusOK || body != "more" {
		t.Errorf("more %d %q", status, body)
	}
	if status, body := get("/metrics"); status != http.StatusOK || !strings.Contains(body, "sallyport_http_requests_in_flight 0") {
		t.Errorf("metrics %d %q", status, body)
	}
	for header, want := range map[[2]string]int{
		{"Origin", "https://evil.example"}: http.StatusForbidden, {"Sec-Fetch-Site", "cross-site"}: http.StatusForbidden,
		{"Sec-Fetch-Site", "same-origin"}: http.StatusForbidden, {"Sec-Fetch-Site", "none"}: http.StatusOK,
	} {
		for _, path := range []string{"/metrics", "/more", "/livez"} {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
			req.Header.Set(header[0], header[1])
			res, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s with %s: status %d, expected %d", path, header, res.StatusCode, want)
			}
		}
	}
}

func TestRecordsOfASignOn(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	line := w.records(4)[2]
	for name, want := range map[string]any{
		"event.action": "signin", "sallyport.decision": "allow", "event.reason": "assertion_verified", "user.name": "alice@example.com",
		"sallyport.idp": "https://idp.example.org", "sallyport.idp_certificate": "5d41", "sallyport.route": "headers",
	} {
		if line[name] != want {
			t.Errorf("%s = %v, want %v", name, line[name], want)
		}
	}

	w.saml.broken = errors.New("metadata expired")
	res := w.browser().navigate(w.origin(doorHost) + "/")
	if res.StatusCode != http.StatusInternalServerError || strings.Contains(res.body, "metadata expired") {
		t.Errorf("no request can be made: %d %s", res.StatusCode, res.body)
	}
	line = w.lastRecord(6)
	for name, want := range map[string]any{
		"event.action": "signin_begin", "sallyport.decision": "deny", "event.reason": "authn_request", "error.message": "metadata expired",
	} {
		if line[name] != want {
			t.Errorf("%s = %v, want %v", name, line[name], want)
		}
	}
}

func TestRecordOfAnAllowedRequest(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.QueryKeys = []string{"page"} })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	req := b.request(http.MethodPost, w.origin(headersHost)+"/save?page=2&token=secret", strings.NewReader("12345"))
	req.Header.Set("User-Agent", "test")
	b.do(req)
	got := w.lastRecord(6)
	for name, want := range map[string]any{
		"event.action": "access", "event.outcome": "success", "sallyport.decision": "allow", "event.reason": "group_allowed",
		"rule.name": "group:engineers", "user.name": "alice@example.com", "sallyport.route": "headers",
		"http.request.method": "POST", "url.domain": headersHost, "url.path": "/save", "url.query": "page=2",
		"http.response.status_code": 200.0, "http.request.body.bytes": 5.0, "http.response.body.bytes": 26.0,
		"client.address": "127.0.0.1", "tls.version": "1.3", "user_agent.original": "test", "http.version": "1.1",
	} {
		if got[name] != want {
			t.Errorf("%s = %v, want %v", name, got[name], want)
		}
	}
	for _, name := range []string{"@timestamp", "http.request.id", "sallyport.session.id", "event.duration", "server.address", "sallyport.upstream.duration"} {
		if got[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if text := w.log.text(); strings.Contains(text, "secret") || strings.Contains(text, "__Host-") {
		t.Errorf("the log holds a query value or a cookie:\n%s", text)
	}
}
