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
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/sidecar"
	"github.com/sallyport/sallyport/proxy/upstream"
)

// second begins another sidecar of the tool, which answers with its own text.
func (w *world) second(answer http.HandlerFunc) *httptest.Server {
	w.tb.Helper()
	server := httptest.NewUnstartedServer(answer)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{w.ca.issue(x509.ExtKeyUsageServerAuth, "tool.backend.test")},
		ClientCAs:    w.ca.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	server.StartTLS()
	w.tb.Cleanup(server.Close)
	return server
}

func addressOf(server *httptest.Server) *url.URL {
	return &url.URL{Scheme: "https", Host: server.Listener.Addr().String()}
}

// closedPort is an address where nobody listens any more.
func closedPort(t *testing.T) *url.URL {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return &url.URL{Scheme: "https", Host: listener.Addr().String()}
}

func TestUpstreamThatIsDownIsNoticedByNobody(t *testing.T) {
	down := closedPort(t)
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].MoreBackends = []*url.URL{down} })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	for range 10 {
		res := b.post(w.origin(headersHost)+"/form", "same-origin", url.Values{"a": {"b"}})
		if res.StatusCode != http.StatusOK || res.body != "backend: alice@example.com" {
			t.Errorf("answer %d %q", res.StatusCode, res.body)
		}
	}
	up := w.cfg.Routes[0].Backend.Host
	attempts := 0
	for _, record := range w.records(15) {
		if record["server.address"] == nil {
			continue
		}
		if record["server.address"] != up {
			t.Errorf("the line says %v, want the upstream that answered: %s", record["server.address"], up)
		}
		if n, ok := record["sallyport.upstream.attempts"]; ok {
			if attempts++; n != 2.0 {
				t.Errorf("%v attempts, want 2", n)
			}
		}
	}
	if attempts < 1 || attempts > 4 { // then it is put aside: after one second, two and four, one request goes to see
		t.Errorf("%d requests had more than one attempt, want one at first", attempts)
	}
	upstreams := w.live.Upstreams()[0]
	if got := upstreams.Upstreams; upstreams.Route != "headers" || upstreams.Retries != int64(attempts) || !got[0].Healthy || got[1].Healthy || got[1].Faults != int64(attempts) {
		t.Errorf("known of the upstreams: %+v", upstreams)
	}
}

func TestStickySessionStaysWithItsUpstream(t *testing.T) {
	w := newWorld(t, nil)
	other := w.second(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "other") })
	w.replace(func(cfg *proxy.Config) {
		cfg.Routes[0].MoreBackends, cfg.Routes[0].Upstream.Sticky = []*url.URL{addressOf(other)}, true
	})
	homes := map[string]bool{}
	for range 12 {
		b := w.browser()
		home := b.signIn(w.origin(headersHost)+"/", "alice").body
		homes[home] = true
		for range 3 {
			if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK || res.body != home {
				t.Errorf("a session of %q got %d %q", home, res.StatusCode, res.body)
			}
		}
	}
	if len(homes) != 2 { // by chance once in two thousand times
		t.Errorf("twelve sessions of one person all go to %v", homes)
	}
}

func TestBusyToolGetsAPageAndItsReason(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].Upstream.MaxRequests = 1 })
	began, goOn := make(chan struct{}), make(chan struct{})
	w.backend.mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { close(began); <-goOn })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	slow := make(chan answer, 1)
	go func() { slow <- b.navigate(w.origin(headersHost) + "/slow") }()
	<-began
	if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "The tool is busy") || res.Header.Get("Retry-After") == "" {
		t.Errorf("one request too many: %d %s", res.StatusCode, res.body)
	}
	if last := w.lastRecord(6); last["event.reason"] != "backend_busy" {
		t.Errorf("line %v", last)
	}
	close(goOn)
	if res := <-slow; res.StatusCode != http.StatusOK {
		t.Errorf("the one before: %d", res.StatusCode)
	}
}

// An upstream is drained and taken out while people work: no request fails, what is
// under way goes on, and the other keeps its connections.
func TestUpstreamIsTakenOutUnderLoad(t *testing.T) {
	w := newWorld(t, nil)
	leaving := w.second(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echo(rw, r)
			return
		}
		_, _ = io.WriteString(rw, "leaving")
	})
	w.backend.mux.HandleFunc("/ws", echo)
	stays := w.cfg.Routes[0].Backend
	two := func(cfg *proxy.Config) { cfg.Routes[0].MoreBackends = []*url.URL{addressOf(leaving)} }
	w.replace(two)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var streams []*websocket.Conn
	for range 4 { // two of them at least are there
		conn, _, err := b.dial(ctx, "wss"+w.origin(headersHost)[len("https"):]+"/ws", w.origin(headersHost))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		streams = append(streams, conn)
	}
	var asking sync.WaitGroup
	end := make(chan struct{})
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
					t.Errorf("answer %d %s", res.StatusCode, res.body)
				}
			}
		})
	}
	w.replace(func(cfg *proxy.Config) {
		two(cfg)
		cfg.Routes[0].Upstream.Draining = []string{addressOf(leaving).Host}
	})
	drained := w.live.Upstreams()[0].Upstreams[1]
	if !drained.Draining || drained.InFlight < 2 {
		t.Errorf("the draining upstream: %+v, want WebSockets under way", drained)
	}
	if res := b.navigate(w.origin(headersHost) + "/"); res.body == "leaving" {
		t.Error("a new request went to a draining upstream")
	}
	w.replace(nil)
	for i, conn := range streams {
		if err := conn.Write(ctx, websocket.MessageText, []byte("still")); err != nil {
			t.Fatal(err)
		}
		if _, message, err := conn.Read(ctx); err != nil || string(message) != "still" {
			t.Errorf("WebSocket %d after the removal: %q, %v", i, message, err)
		}
	}
	close(end)
	asking.Wait()
	if got := w.live.Upstreams()[0].Upstreams; len(got) != 1 || got[0].Address != stays.Host {
		t.Errorf("what is left: %+v", got)
	}
}

// What is known of an upstream, and its probes, outlive a change that does not
// concern it; and the probes end with the process.
func TestProbesGoOnThroughReplacements(t *testing.T) {
	var w *world
	bad := make(chan string, 64)
	w = newWorld(t, nil)
	sick := w.second(func(rw http.ResponseWriter, r *http.Request) {
		select {
		case bad <- r.Host + r.URL.Path + r.Header.Get("X-Forwarded-User") + r.Header.Get("Cookie"):
		default:
		}
		rw.WriteHeader(http.StatusInternalServerError)
	})
	probed := func(cfg *proxy.Config) {
		cfg.Routes[0].MoreBackends = []*url.URL{addressOf(sick)}
		cfg.Routes[0].Upstream.Health = upstream.Health{Path: "/healthz", Interval: 20 * time.Millisecond, Timeout: 5 * time.Second, Unhealthy: 1, Healthy: 1}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.live.Run(ctx) }()
	for range 5 {
		w.replace(probed)
		if got, want := <-bad, strings.TrimPrefix(w.origin(headersHost), "https://")+"/healthz"; got != want {
			t.Errorf("a probe asks for %q, want %q and nothing of anybody", got, want)
		}
	}
	for w.live.Upstreams()[0].Upstreams[1].Healthy {
		<-time.After(time.Millisecond)
	}
	since := w.live.Upstreams()[0].Upstreams[1].Since
	w.replace(func(cfg *proxy.Config) { probed(cfg); cfg.Routes[0].Title = "Another" })
	if got := w.live.Upstreams()[0].Upstreams[1]; got.Healthy || got.Since != since {
		t.Errorf("after a change elsewhere: %+v, want what was known since %s", got, since)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("a stop that was asked for: %v", err)
	}
}

// A real sidecar in front of an application, over HTTP/2 and mutual TLS.
func TestSidecarIsReachedOverHTTP2(t *testing.T) {
	w := newWorld(t, nil)
	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			echo(rw, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(rw, r.Header.Get("X-Forwarded-User")+" "+string(body))
	}))
	defer app.Close()
	at, log := w.sidecar(app.URL)
	w.replace(func(cfg *proxy.Config) {
		cfg.Routes[0].Backend = at
		cfg.Routes[0].Upstream = upstream.Options{Protocol: upstream.HTTP2, Health: upstream.Health{Path: "/", Interval: time.Hour, Timeout: 5 * time.Second, Unhealthy: 1, Healthy: 1}}
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	res := b.post(w.origin(headersHost)+"/form", "same-origin", url.Values{"a": {"b"}})
	if res.StatusCode != http.StatusOK || res.body != "alice@example.com a=b" {
		t.Errorf("answer %d %q", res.StatusCode, res.body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := b.dial(ctx, "wss"+w.origin(headersHost)[len("https"):]+"/ws", w.origin(headersHost))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Write(ctx, websocket.MessageText, []byte("hello"))
	if _, message, err := conn.Read(ctx); string(message) != "hello" {
		t.Errorf("a WebSocket: %q, %v", message, err)
	}
	conn.CloseNow()
	run, stop := context.WithCancel(t.Context())
	go func() { _ = w.live.Run(run) }()
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(log.text(), `"url.path":"/"`) || !strings.Contains(log.text(), `"url.path":"/ws"`); {
		if time.Now().After(deadline) {
			t.Fatal("no line of the probe or of the WebSocket")
		}
		<-time.After(time.Millisecond)
	}
	stop()
	for line := range strings.Lines(log.text()) {
		want := `"http.version":"2"`
		if strings.Contains(line, "/ws") {
			want = `"http.version":"1.1"`
		}
		if !strings.Contains(line, want) {
			t.Errorf("the sidecar's line %s does not have %s", line, want)
		}
	}
	if !w.live.Upstreams()[0].Upstreams[0].Healthy {
		t.Error("a probe through the sidecar does not succeed")
	}
}

// sidecar is a real one in front of an application, and its access log.
func (w *world) sidecar(app string) (*url.URL, *lines) {
	w.tb.Helper()
	behind, err := url.Parse(app)
	if err != nil {
		w.tb.Fatal(err)
	}
	log := new(lines)
	s, err := sidecar.New(sidecar.Config{App: behind, Access: accesslog.New(log, "sidecar"), PeerName: func(state tls.ConnectionState) (string, error) {
		if len(state.VerifiedChains) == 0 {
			return "", errors.New("nobody")
		}
		return state.PeerCertificates[0].DNSNames[0], nil
	}})
	if err != nil {
		w.tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- proxy.Serve(ctx, proxy.ServerConfig{Listener: listener, Handler: s, Drain: 5 * time.Second, TLS: &tls.Config{
			Certificates: []tls.Certificate{w.ca.issue(x509.ExtKeyUsageServerAuth, "tool.backend.test")}, NextProtos: []string{"h2", "http/1.1"},
			ClientCAs: w.ca.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		}})
	}()
	w.tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.tb.Errorf("stopping the sidecar: %v", err)
		}
	})
	return &url.URL{Scheme: "https", Host: listener.Addr().String()}, log
}

func TestUpstreamsAreMetrics(t *testing.T) {
	down := closedPort(t)
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].MoreBackends = []*url.URL{down} })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	b.navigate(w.origin(headersHost) + "/")
	registry := prometheus.NewRegistry()
	registry.MustRegister(proxy.NewUpstreamMetrics(w.live.Upstreams))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			key := family.GetName()
			for _, label := range m.GetLabel() {
				key += " " + label.GetValue()
			}
			got[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	up := w.cfg.Routes[0].Backend.Host
	for key, want := range map[string]float64{
		"sallyport_upstream_healthy headers " + up:             1,
		"sallyport_upstream_healthy headers " + down.Host:      0,
		"sallyport_upstream_faults_total headers " + down.Host: 1,
		"sallyport_upstream_faults_total headers " + up:        0,
		"sallyport_upstream_requests_in_flight headers " + up:  0,
		"sallyport_upstream_retries_total headers":             1,
		"sallyport_upstream_healthy notes " + up:               1,
	} {
		if value, ok := got[key]; !ok || value != want {
			t.Errorf("%s is %v, want %v", key, value, want)
		}
	}
}
