package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/proxy"
)

func TestHTTP3IsTheSameDoor(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser().over("3")
	res := b.signIn(w.origin(headersHost)+"/page", "alice")
	if res.StatusCode != http.StatusOK || res.body != "backend: alice@example.com" || res.ProtoMajor != 3 {
		t.Fatalf("%s %d %q", res.Proto, res.StatusCode, res.body)
	}
	got, _ := w.backend.seen()
	if got.Header.Get("X-Forwarded-For") != "127.0.0.1" || got.Header.Get("X-Forwarded-Proto") != "https" || got.Header.Get("Cookie") != "" {
		t.Errorf("the backend got %v", got.Header)
	}
	if got.ContentLength != 0 || len(got.TransferEncoding) > 0 {
		t.Errorf("a request without a body reached the backend with one: %d %v", got.ContentLength, got.TransferEncoding)
	}
	for _, line := range w.records(5) {
		if line["http.version"] != "3" || line["client.address"] != "127.0.0.1" || line["tls.version"] != "1.3" || line["client.port"] == nil {
			t.Errorf("line %v", line)
		}
	}
	if res := b.navigate(w.origin("unknown.example.test") + "/"); res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("unknown host: %d", res.StatusCode)
	}
	if res := b.navigate(w.origin(closedHost) + "/"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("a host without a session yet: %d", res.StatusCode)
	}
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	if res := b.do(b.request(http.MethodPost, w.origin(headersHost)+"/", nil)); res.StatusCode == http.StatusOK {
		t.Error("a session that has ended in HTTP/3 goes on in it")
	}
}

func TestHTTP3RefusesWhatHTTP2Does(t *testing.T) {
	w := newWorld(t, nil)
	b := w.signedIn("3")
	_, before := w.backend.seen()
	for name, test := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"a header that is too large": {func(r *http.Request) { r.Header.Set("X-Large", strings.Repeat("x", 70<<10)) }, http.StatusRequestHeaderFieldsTooLarge},
		"TRACE":                      {func(r *http.Request) { r.Method = http.MethodTrace }, http.StatusMethodNotAllowed},
		"a method in lower case":     {func(r *http.Request) { r.Method = "get" }, http.StatusMethodNotAllowed},
		"CONNECT":                    {func(r *http.Request) { r.Method = http.MethodConnect }, http.StatusMethodNotAllowed},
		"WebSocket by extended CONNECT": {func(r *http.Request) {
			r.Method, r.Proto = http.MethodConnect, "websocket"
		}, http.StatusMethodNotAllowed},
	} {
		req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
		test.change(req)
		if res := b.do(req); res.StatusCode != test.status {
			t.Errorf("%s: %d, want %d", name, res.StatusCode, test.status)
		}
	}
	if _, after := w.backend.seen(); after != before {
		t.Errorf("%d of them reached the backend", after-before)
	}
}

func TestHTTP3TakesNoEarlyData(t *testing.T) {
	w := newWorld(t, nil)
	f := w.serve3(nil)
	cache := tls.NewLRUClientSessionCache(8)
	config := &tls.Config{RootCAs: w.ca.pool, ServerName: headersHost, NextProtos: []string{"h3"}, ClientSessionCache: cache}
	for range 2 {
		conn, err := quic.DialAddrEarly(t.Context(), f.address, config, nil)
		if err != nil {
			t.Fatal(err)
		}
		client := (&http3.Transport{}).NewClientConn(conn)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.origin(headersHost)+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		state := conn.ConnectionState()
		if state.Used0RTT || state.TLS.Version != tls.VersionTLS13 {
			t.Errorf("early data %v, TLS %x", state.Used0RTT, state.TLS.Version)
		}
		_ = conn.CloseWithError(0, "")
	}
}

func TestHTTP3AsksAboutEveryConnection(t *testing.T) {
	w := newWorld(t, nil)
	left := make(chan net.Addr, 1)
	taken := make(chan struct{}, 1)
	f := w.serve3(func(cfg *proxy.Server3Config) {
		cfg.Admit = func(from net.Addr) (func(), bool) {
			select {
			case taken <- struct{}{}:
				return func() { left <- from }, true
			default:
				return nil, false
			}
		}
		cfg.TLS.VerifyConnection = func(cs tls.ConnectionState) error {
			if cs.ServerName == "unknown.example.test" {
				return errors.New("there is no such name")
			}
			return nil
		}
	})
	dial := func(name string) (*quic.Conn, error) {
		return quic.DialAddr(t.Context(), f.address, &tls.Config{RootCAs: w.ca.pool, ServerName: name, NextProtos: []string{"h3"}}, nil)
	}
	conn, err := dial(headersHost)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(headersHost); err == nil {
		t.Error("a second connection was let in")
	}
	_ = conn.CloseWithError(0, "")
	<-left
	<-taken
	if conn, err := dial("unknown.example.test"); err == nil {
		_, err = conn.AcceptStream(t.Context()) // the refusal comes after our half of the handshake
		if err == nil {
			t.Error("a name that the TLS configuration refuses was answered for")
		}
	}
}

func TestAnUnusedHTTP3ConnectionIsClosed(t *testing.T) {
	t.Parallel() // it takes as long as a request may
	w := newWorld(t, nil)
	f := w.serve3(nil)
	conn, err := quic.DialAddr(t.Context(), f.address, &tls.Config{RootCAs: w.ca.pool, ServerName: headersHost, NextProtos: []string{"h3"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte{1, 100}); err != nil { // a HEADERS frame that never comes whole
		t.Fatal(err)
	}
	begun := time.Now()
	select {
	case <-conn.Context().Done():
		if took := time.Since(begun); took < 5*time.Second {
			t.Errorf("closed after %v", took)
		}
	case <-time.After(15 * time.Second):
		t.Error("still open")
	}
}

func TestHTTP3IsAdvertisedByUsAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/alt", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Alt-Svc", `h3="elsewhere.example:443"`)
	})
	b := w.signedIn("1.1")
	if got := b.navigate(w.origin(headersHost) + "/alt").Header.Values("Alt-Svc"); len(got) > 0 {
		t.Errorf("a backend says %q", got)
	}
	for major, want := range map[int]string{1: `h3=":8443"; ma=86400`, 2: `h3=":8443"; ma=86400`, 3: ""} {
		header := http.Header{}
		proxy.Advertise(http.NotFoundHandler(), 8443).ServeHTTP(headers(header), &http.Request{ProtoMajor: major})
		if got := header.Get("Alt-Svc"); got != want {
			t.Errorf("HTTP/%d: %q, want %q", major, got, want)
		}
	}
}

// headers is a ResponseWriter of which only the headers matter.
type headers http.Header

func (h headers) Header() http.Header         { return http.Header(h) }
func (h headers) Write(p []byte) (int, error) { return len(p), nil }
func (h headers) WriteHeader(int)             {}

func TestHTTP3StopsInTwoPhases(t *testing.T) {
	w := newWorld(t, nil)
	b := w.signedIn("1.1")
	leaks := goleak.IgnoreCurrent()
	f := w.serve3(nil)
	arrived, answer := make(chan struct{}), make(chan struct{})
	w.backend.mux.HandleFunc("/slow", func(rw http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-answer
		_, _ = io.WriteString(rw, strings.Repeat("x", 1<<20))
	})
	transport := f.transport(t)
	client := *b.client
	client.Transport = transport
	through := &browser{w: w, client: &client}
	ended := make(chan answer3, 1)
	go func() {
		res, err := client.Do(through.request(http.MethodGet, w.origin(headersHost)+"/slow", nil))
		if err != nil {
			ended <- answer3{err: err}
			return
		}
		defer res.Body.Close()
		n, err := io.Copy(io.Discard, res.Body)
		ended <- answer3{n, err}
	}()
	<-arrived
	stopped := make(chan error, 1)
	go func() { stopped <- f.stop() }()
	// A new request on the same connection is not taken any more, sooner or later.
	for deadline := time.Now().Add(5 * time.Second); ; {
		req := through.request(http.MethodGet, w.origin(headersHost)+"/", nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		res, err := client.Do(req.WithContext(ctx))
		if err == nil {
			_ = res.Body.Close()
		}
		cancel()
		if err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("requests are taken for ever")
		}
	}
	close(answer)
	if got := <-ended; got.err != nil || got.n != 1<<20 {
		t.Errorf("the request in flight: %d bytes, %v", got.n, got.err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopping: %v", err)
	}
	_ = transport.Close()
	goleak.VerifyNone(t, leaks, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
}

// answer3 is how much of an answer came.
type answer3 struct {
	n   int64
	err error
}

func TestHTTP3CutsWhatOutlivesTheDrain(t *testing.T) {
	w := newWorld(t, nil)
	b := w.signedIn("1.1")
	f := w.serve3(func(cfg *proxy.Server3Config) { cfg.Drain = 100 * time.Millisecond })
	arrived := make(chan struct{})
	w.backend.mux.HandleFunc("/forever", func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	client := *b.client
	client.Transport = f.transport(t)
	failed := make(chan error, 1)
	go func() {
		res, err := client.Do(b.request(http.MethodGet, w.origin(headersHost)+"/forever", nil))
		if err == nil {
			_ = res.Body.Close()
		}
		failed <- err
	}()
	<-arrived
	if err := f.stop(); !errors.Is(err, proxy.ErrDrain) {
		t.Errorf("stopping: %v, want ErrDrain", err)
	}
	if err := <-failed; err == nil {
		t.Error("the request that was cut has an answer")
	}
	found := false
	for _, line := range w.records(6) {
		found = found || line["url.path"] == "/forever" && line["http.response.status_code"] == 499.0
	}
	if !found {
		t.Error("the request that was cut has no line")
	}
}

// TestAnHTTP3ClientThatTakesNothingIsCut, as one of TCP is, though its connection lives.
func TestAnHTTP3ClientThatTakesNothingIsCut(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.Stall = time.Second })
	gone := make(chan struct{})
	w.backend.mux.HandleFunc("/endless", func(rw http.ResponseWriter, _ *http.Request) {
		defer close(gone)
		for {
			if _, err := rw.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	b := w.signedIn("3")
	res := b.begin(b.request(http.MethodGet, w.origin(headersHost)+"/endless", nil))
	receive(t, gone, "the end at the backend")
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("the answer ends as if it were whole")
	}
	if line := w.lastRecord(6); line["event.reason"] != "client_too_slow" || line["http.version"] != "3" {
		t.Errorf("line %v", line)
	}
}

// TestHTTP3GoesOnWhileTheStopIsAnnounced: whoever does not know of it yet is served.
func TestHTTP3GoesOnWhileTheStopIsAnnounced(t *testing.T) {
	w := newWorld(t, nil)
	b := w.signedIn("1.1")
	f := w.serve3(func(cfg *proxy.Server3Config) { cfg.Announce = 2 * time.Second })
	stopped := make(chan error, 1)
	go func() { stopped <- f.stop() }()
	client := *b.client
	client.Transport = f.transport(t)
	late := &browser{w: w, client: &client}
	if res := late.do(late.request(http.MethodGet, w.origin(headersHost)+"/", nil)); res.StatusCode != http.StatusOK || res.ProtoMajor != 3 {
		t.Errorf("a new connection: %s %d", res.Proto, res.StatusCode)
	}
	if err := receive(t, stopped, "the end"); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// TestHTTP3EndsEventStreamsInAStop, whose clients come back by themselves: they use up
// no time of it.
func TestHTTP3EndsEventStreamsInAStop(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/events", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	b := w.signedIn("1.1")
	f := w.serve3(func(cfg *proxy.Server3Config) { cfg.Drain = time.Hour })
	client := *b.client
	client.Transport = f.transport(t)
	through := &browser{w: w, client: &client}
	req := through.request(http.MethodGet, w.origin(headersHost)+"/events", nil)
	req.Header.Set("Accept", "text/event-stream")
	stream := through.begin(req)
	if err := f.stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if _, err := io.Copy(io.Discard, stream.Body); err == nil {
		t.Error("a stream that was cut looks whole")
	}
}
