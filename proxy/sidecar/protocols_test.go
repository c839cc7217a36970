package sidecar

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/header"
)

// h2cApp is an application that speaks HTTP/2 in the clear, and nothing else.
func h2cApp(tb testing.TB, handler http.HandlerFunc) (address string) {
	tb.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	tb.Cleanup(server.Close)
	return server.URL
}

// http2 has the gateway speak HTTP/2 to the sidecar.
func (w *world) http2(tb testing.TB) *http.Client {
	tb.Helper()
	transport := w.client.Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func overH2C(cfg *Config) { cfg.H2C = true }

// TestAnAppOfGRPC is what a call of gRPC needs of the sidecar: HTTP/2 on both sides,
// a stream that goes both ways, and the trailers that it ends with.
func TestAnAppOfGRPC(t *testing.T) {
	seen := make(chan *http.Request, 1)
	gone := make(chan struct{})
	w := newWorld(t, h2cApp(t, func(rw http.ResponseWriter, r *http.Request) {
		defer close(gone)
		seen <- r
		rw.Header().Set("Content-Type", "application/grpc")
		_ = http.NewResponseController(rw).Flush()
		words := bufio.NewScanner(r.Body)
		for words.Scan() {
			_, _ = fmt.Fprintf(rw, "heard %s\n", words.Text())
			_ = http.NewResponseController(rw).Flush()
		}
		for _, name := range []string{"Grpc-Status", "Grpc-Message", "My-Metadata", "X-Forwarded-User", "X_Forwarded_User", "Set-Cookie", "Cache-Control"} {
			rw.Header().Set(http.TrailerPrefix+name, "0")
		}
	}), overH2C)
	body, words := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+"/svc/Call", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Te", "trailers")
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set(header.User, "alice")
	res, err := w.http2(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := next(t, seen); got.ProtoMajor != 2 || got.Header.Get("Te") != "trailers" || got.Header.Get(header.User) != "alice" {
		t.Errorf("the application got %s %v", got.Proto, got.Header)
	}
	answers := bufio.NewReader(res.Body)
	for i := range 3 {
		_, _ = fmt.Fprintf(words, "%d\n", i)
		if got, err := answers.ReadString('\n'); err != nil || got != fmt.Sprintf("heard %d\n", i) {
			t.Fatalf("heard %q, %v", got, err)
		}
	}
	_ = words.Close()
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("the rest is %q, %v", rest, err)
	}
	if got, want := slices.Sorted(maps.Keys(res.Trailer)), []string{"Grpc-Message", "Grpc-Status", "My-Metadata"}; !slices.Equal(got, want) {
		t.Errorf("trailers %q, want %q", got, want)
	}
	next(t, gone)
}

// TestAnAppOfHTTP2HasOneAnswerForTheOther: an application that does not speak what it
// is said to is as good as down.
func TestAnAppOfHTTP2HasOneAnswerForTheOther(t *testing.T) {
	h2c := h2cApp(t, func(http.ResponseWriter, *http.Request) {})
	http1, _ := recorder(t)
	for name, w := range map[string]*world{"HTTP/1.1 to h2c": newWorld(t, h2c), "h2c to HTTP/1.1": newWorld(t, http1, overH2C)} {
		res := w.raw(t, wire("GET / HTTP/1.1", "Host: a", header.User+": alice"))
		if res.StatusCode != http.StatusBadGateway || res.Header.Get(header.Fault) != "app_unreachable" {
			t.Errorf("%s: %d %q", name, res.StatusCode, res.Header.Get(header.Fault))
		}
	}
}

func TestAnAnswerOvertakesTheUpload(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Connection", "close")
		rw.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	t.Cleanup(app.Close)
	w := newWorld(t, app.URL)
	conn := w.connect(t)
	_, _ = io.WriteString(conn, wire("POST / HTTP/1.1", "Host: a", header.User+": alice", "Content-Length: 1000")+"beginning")
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || !res.Close {
		t.Fatalf("answer %v, %v", res, err)
	}
	_, _ = io.WriteString(conn, wire("GET /smuggled HTTP/1.1", "Host: a", header.User+": root"))
	if res, err := http.ReadResponse(answers, nil); err == nil {
		t.Errorf("the rest of the body was answered: %d", res.StatusCode)
	}
}

func TestNobodyIsToldToContinueBeforeTheAppWantsIt(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusExpectationFailed)
	}))
	t.Cleanup(refusing.Close)
	w := newWorld(t, refusing.URL)
	if res := w.raw(t, wire("POST / HTTP/1.1", "Host: a", header.User+": alice", "Content-Length: 10", "Expect: 100-continue")); res.StatusCode != http.StatusExpectationFailed {
		t.Errorf("first %d", res.StatusCode)
	}
}

func TestEarlyBytesWaitForTheAppToAgree(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		early := buffered.Reader.Buffered()
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Early: %d\r\n\r\n", early)
		_, _ = io.CopyN(conn, buffered, 5)
	}))
	t.Cleanup(app.Close)
	w := newWorld(t, app.URL)
	conn := w.connect(t)
	_, _ = io.WriteString(conn, wire("GET / HTTP/1.1", "Host: a", header.User+": alice", "Connection: Upgrade", "Upgrade: websocket")+"early")
	answers := bufio.NewReader(conn)
	res, err := http.ReadResponse(answers, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("X-Early") != "0" {
		t.Fatalf("answer %v, %v", res, err)
	}
	if back, err := io.ReadAll(io.LimitReader(answers, 5)); err != nil || !strings.HasPrefix(string(back), "early") {
		t.Errorf("the application said back %q, %v", back, err)
	}
}
