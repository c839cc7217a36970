package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy"
)

// from has a browser come from another address of this machine.
func (b *browser) from(address string) *browser {
	b.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext(ctx, "tcp", b.w.addr)
	}
	return b
}

// counted is a metric with these values of its labels, or with any if there are none.
func (w *world) counted(name string, labels ...string) (sum float64) {
	w.tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.cfg.Metrics)
	families, err := registry.Gather()
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() != name {
				continue
			}
			values := []string{}
			for _, label := range metric.GetLabel() {
				values = append(values, label.GetValue())
			}
			if len(labels) == 0 || slices.Equal(values, labels) {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func TestStrangersMayAskOnlySoOften(t *testing.T) {
	metrics := proxy.NewMetrics()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.StrangersPerSecond, cfg.Metrics = 1, metrics })
	greedy, other := w.browser().from("127.0.0.2"), w.browser().from("127.0.0.3")
	metadata := w.origin(doorHost) + "/saml/metadata"
	var refused answer
	for range 30 {
		if refused = greedy.navigate(metadata); refused.StatusCode != http.StatusOK {
			break
		}
	}
	if refused.StatusCode != http.StatusTooManyRequests || refused.Header.Get("Retry-After") != "1" || !strings.Contains(refused.body, "Too many requests") {
		t.Errorf("answer %d, Retry-After %q: %s", refused.StatusCode, refused.Header.Get("Retry-After"), refused.body)
	}
	for _, address := range []string{
		w.origin(doorHost) + "/", w.origin(doorHost) + "/saml/slo", w.origin(doorHost) + "/.sallyport/sign_in?begin=x",
		w.origin(headersHost) + "/.sallyport/ticket?ticket=x",
	} {
		if res := greedy.do(background(greedy, address)); res.StatusCode != http.StatusTooManyRequests || !strings.Contains(res.body, `"error":"rate_limited"`) {
			t.Errorf("%s: %d %s", address, res.StatusCode, res.body)
		}
	}
	if res := other.signIn(w.origin(headersHost)+"/", "alice"); res.StatusCode != http.StatusOK {
		t.Errorf("another address: %d", res.StatusCode)
	}
	if n := w.counted("sallyport_requests_rate_limited_total"); n != 5 {
		t.Errorf("%v counted, want 5", n)
	}
	// It survives a replacement.
	next := w.cfg
	next.Replaces = w.gateway
	replacement, err := proxy.New(next)
	if err != nil {
		t.Fatal(err)
	}
	w.live.Replace(replacement)
	if res := greedy.navigate(w.origin(doorHost) + "/saml/slo"); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("after a replacement: %d", res.StatusCode)
	}
}

// hold makes a backend path whose requests wait until what it returns is called.
func (w *world) hold(path string) (arrived chan struct{}, release func()) {
	arrived, gate := make(chan struct{}, 100), make(chan struct{})
	w.backend.mux.HandleFunc(path, func(rw http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(rw, "late")
	})
	return arrived, sync.OnceFunc(func() { close(gate) })
}

// keepBusy has b ask for path n times at once, and waits until all have arrived.
func (w *world) keepBusy(b *browser, address string, n int, arrived chan struct{}) (wait func() []answer) {
	var group sync.WaitGroup
	answers := make([]answer, n)
	for i := range n {
		group.Go(func() { answers[i] = b.navigate(address) })
	}
	for range n {
		<-arrived
	}
	return func() []answer { group.Wait(); return answers }
}

func TestOverloadTurnsStrangersAwayFirst(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.Limits.Requests, cfg.Metrics = 8, proxy.NewMetrics()
		cfg.Routes[0].Limits.Requests = 100
	})
	arrived, release := w.hold("/slow")
	defer release()
	alice, stranger := w.browser(), w.browser()
	alice.signIn(w.origin(headersHost)+"/", "alice")
	waiting := w.keepBusy(alice, w.origin(headersHost)+"/slow", 6, arrived)

	for _, address := range []string{w.origin(headersHost) + "/", w.origin(doorHost) + "/", w.origin(doorHost) + "/.sallyport/sign_in?begin=x"} {
		if res := stranger.navigate(address); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("a stranger at %s: %d", address, res.StatusCode)
		}
	}
	if res := stranger.do(background(stranger, w.origin(headersHost)+"/")); !strings.Contains(res.body, `"error":"overloaded"`) {
		t.Errorf("a stranger's program: %s", res.body)
	}
	for _, address := range []string{w.origin(headersHost) + "/", w.origin(doorHost) + "/"} {
		if res := alice.navigate(address); res.StatusCode != http.StatusOK {
			t.Errorf("somebody who is signed in at %s: %d", address, res.StatusCode)
		}
	}
	more := w.keepBusy(alice, w.origin(headersHost)+"/slow", 2, arrived)
	if res := alice.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "Too much to do") {
		t.Errorf("one too many: %d", res.StatusCode)
	}
	if shedding, stuck := w.gateway.Overload(); !shedding || stuck {
		t.Errorf("Overload = %t, %t", shedding, stuck)
	}
	release()
	for _, res := range append(waiting(), more()...) {
		if res.StatusCode != http.StatusOK || res.body != "late" {
			t.Errorf("a request in hand: %d %s", res.StatusCode, res.body)
		}
	}
	if res := stranger.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("afterwards: %d", res.StatusCode)
	}
	if n := w.counted("sallyport_requests_shed_total", "requests"); n != 5 {
		t.Errorf("%v counted, want 5", n)
	}
}

func TestStuckIsWhoLetsNobodyInForTenSeconds(t *testing.T) {
	now := newClock()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.Memory, cfg.Now = 1, now.read })
	b := w.browser()
	expect := func(when string, wantShedding, wantStuck bool) {
		t.Helper()
		if shedding, stuck := w.gateway.Overload(); shedding != wantShedding || stuck != wantStuck {
			t.Errorf("%s: Overload = %t, %t", when, shedding, stuck)
		}
	}
	expect("at first", false, false)
	if res := b.navigate(w.origin(doorHost) + "/saml/metadata"); res.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("with no memory: %d", res.StatusCode)
	}
	expect("at the first", true, false)
	now.pass(9 * time.Second)
	b.navigate(w.origin(doorHost) + "/saml/metadata")
	expect("after nine seconds", true, false)
	now.pass(2 * time.Second)
	b.navigate(w.origin(doorHost) + "/saml/metadata")
	expect("after eleven seconds", true, true)
	now.pass(11 * time.Second)
	expect("when nobody comes any more", false, false)
}

func TestOneToolThatHangsTakesNoPlaceOfOthers(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Routes[0].Limits.Requests, cfg.Metrics = 2, proxy.NewMetrics() })
	arrived, release := w.hold("/slow")
	defer release()
	alice := w.browser()
	alice.signIn(w.origin(headersHost)+"/", "alice")
	alice.signIn(w.origin(notesHost)+"/", "alice")
	waiting := w.keepBusy(alice, w.origin(headersHost)+"/slow", 2, arrived)

	// Those under way count for whoever takes its place.
	next := w.cfg
	next.Replaces = w.gateway
	replacement, err := proxy.New(next)
	if err != nil {
		t.Fatal(err)
	}
	w.live.Replace(replacement)
	if res := alice.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many for the tool: %d", res.StatusCode)
	}
	if res := alice.navigate(w.origin(notesHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("another tool: %d", res.StatusCode)
	}
	release()
	waiting()
	if res := alice.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", res.StatusCode)
	}
	if n := w.counted("sallyport_requests_shed_total", "route"); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

func TestRequestsThatAreTooLarge(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[0].Limits = proxy.RouteLimits{BodyBytes: 1000, HeaderBytes: 8192}
	})
	w.backend.mux.HandleFunc("/upload", func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(rw, "got %d", n)
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	upload := func(body io.Reader) *http.Request {
		req := background(b, w.origin(headersHost)+"/upload")
		req.Method, req.Body = http.MethodPut, io.NopCloser(body)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		return req
	}
	sized := func(n int64) *http.Request {
		req := upload(strings.NewReader(strings.Repeat("a", int(n))))
		req.ContentLength = n
		return req
	}
	with := func(header func(http.Header)) *http.Request {
		req := background(b, w.origin(headersHost)+"/")
		header(req.Header)
		return req
	}
	tests := []struct {
		name   string
		req    *http.Request
		status int
		body   string
	}{
		{"a body at the limit", sized(1000), 200, "got 1000"},
		{"a body of unknown length at the limit", upload(strings.NewReader(strings.Repeat("a", 1000))), 200, "got 1000"},
		{"a body beyond it", sized(1001), 413, "body_too_large"},
		{"a body of unknown length beyond it", upload(strings.NewReader(strings.Repeat("a", 100_000))), 413, "body_too_large"},
		{"an address of 20 KiB", background(b, w.origin(headersHost)+"/?"+strings.Repeat("a", 20<<10)), 414, "url_too_long"},
		{"101 headers", with(func(h http.Header) {
			for i := range 101 {
				h.Set(fmt.Sprintf("X-Name-%d", i), "x")
			}
		}), 431, "headers_too_large"},
		{"more bytes of headers than the route takes", with(func(h http.Header) { h.Set("X-Large", strings.Repeat("a", 9000)) }), 431, "headers_too_large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if res := b.do(test.req); res.StatusCode != test.status || !strings.Contains(res.body, test.body) {
				t.Errorf("answer %d %s", res.StatusCode, res.body)
			}
		})
	}
}

// slowWorld is a world in which nobody may stand still for long.
func slowWorld(t *testing.T) (*world, *browser) {
	t.Helper()
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.Stall, cfg.Metrics = 400*time.Millisecond, proxy.NewMetrics() })
	w.backend.mux.HandleFunc("/upload", func(rw http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(rw, "got %d, %v", n, err)
	})
	w.backend.mux.HandleFunc("/endless", func(rw http.ResponseWriter, r *http.Request) {
		for piece := make([]byte, 64<<10); r.Context().Err() == nil; {
			if _, err := rw.Write(piece); err != nil {
				return
			}
		}
	})
	w.backend.mux.HandleFunc("/events", func(rw http.ResponseWriter, _ *http.Request) {
		for range 2 {
			_, _ = io.WriteString(rw, "data: x\n\n")
			_ = http.NewResponseController(rw).Flush()
			<-time.After(1200 * time.Millisecond)
		}
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	return w, b
}

// overHTTP2 makes a browser speak HTTP/2.
func (b *browser) overHTTP2() *browser {
	b.client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	return b
}

// rawUpload begins an upload of HTTP/1.1 as b, of which the body is still to come.
func rawUpload(t *testing.T, w *world, b *browser) net.Conn {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: w.ca.pool, ServerName: headersHost}}).DialContext(t.Context(), "tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	req := b.request(http.MethodPut, w.origin(headersHost)+"/upload", nil)
	for _, cookie := range b.client.Jar.Cookies(req.URL) {
		req.AddCookie(cookie)
	}
	_, _ = fmt.Fprintf(conn, "PUT /upload HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 100000\r\n\r\n",
		req.URL.Host, req.Header.Get("Cookie"))
	return conn
}

func TestSlowWritersAreCut(t *testing.T) {
	w, b := slowWorld(t)
	stop := func(out io.Writer) { _, _ = io.WriteString(out, "a") }
	trickle := func(out io.Writer) {
		for { // until it is cut
			if _, err := io.WriteString(out, "a"); err != nil {
				return
			}
			<-time.After(50 * time.Millisecond)
		}
	}
	for name, write := range map[string]func(io.Writer){"that stop": stop, "that trickle": trickle} {
		t.Run(name, func(t *testing.T) {
			conn := rawUpload(t, w, b)
			go write(conn)
			// The tool may be faster to notice, and to say so, until it is hung up on.
			answer, err := io.ReadAll(conn)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("it is not cut")
			}
			res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusRequestTimeout && !strings.Contains(string(body), "unexpected EOF") {
				t.Errorf("answer %d: %.100s", res.StatusCode, body)
			}
		})
	}
	t.Run("that stop, over HTTP/2", func(t *testing.T) {
		client := w.browser().overHTTP2()
		client.client.Jar = b.client.Jar
		body, out := io.Pipe()
		defer out.Close()
		go stop(out)
		req := background(client, w.origin(headersHost)+"/upload")
		req.Method, req.Body = http.MethodPut, body
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		if res := client.do(req); res.StatusCode != http.StatusRequestTimeout && !strings.Contains(res.body, "unexpected EOF") || res.ProtoMajor != 2 {
			t.Errorf("answer %d over %s: %.100s", res.StatusCode, res.Proto, res.body)
		}
	})
	if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("others meanwhile: %d", res.StatusCode)
	}
	for _, record := range w.records(8)[5:8] {
		if record["event.reason"] != "body_too_slow" {
			t.Errorf("line %v", record)
		}
	}
}

func TestSlowReadersAreCut(t *testing.T) {
	w, b := slowWorld(t)
	for i, http2 := range []bool{false, true} {
		client := w.browser()
		client.client.Jar = b.client.Jar
		if http2 {
			client.overHTTP2()
		}
		res, err := client.client.Do(client.request(http.MethodGet, w.origin(headersHost)+"/endless", nil))
		if err != nil {
			t.Fatal(err)
		}
		if http2 != (res.ProtoMajor == 2) {
			t.Errorf("over %s", res.Proto)
		}
		line := w.lastRecord(6 + i) // written although nobody has read
		if line["event.reason"] != "client_too_slow" {
			t.Errorf("line %v", line)
		}
		if _, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Error("a cut answer looks whole")
		}
		res.Body.Close()
	}
	if n := w.counted("sallyport_slow_clients_cut_total", "slow_reader"); n != 2 {
		t.Errorf("%v counted, want 2", n)
	}
}

func TestStreamsMayStandStill(t *testing.T) {
	w, b := slowWorld(t)
	w.backend.mux.HandleFunc("/ws", echo)
	for _, http2 := range []bool{false, true} {
		client := w.browser()
		client.client.Jar = b.client.Jar
		if http2 {
			client.overHTTP2()
		}
		if res := client.navigate(w.origin(headersHost) + "/events"); res.body != "data: x\n\ndata: x\n\n" {
			t.Errorf("events over HTTP/2 %t: %q", http2, res.body)
		}
	}
	conn, _, err := b.dial(t.Context(), w.origin(headersHost)+"/ws", w.origin(headersHost))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	<-time.After(1200 * time.Millisecond)
	if err := conn.Write(t.Context(), 1, []byte("still there")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := conn.Read(t.Context()); err != nil || string(message) != "still there" {
		t.Errorf("echo %q, %v", message, err)
	}
}
