package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sallyport/sallyport/proxy"
)

// echo is a WebSocket backend that says back what it hears.
func echo(rw http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the gateway checks Origin
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if conn.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// dial opens a WebSocket with the browser's cookies.
func (b *browser) dial(ctx context.Context, address, origin string) (*websocket.Conn, *http.Response, error) {
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	client := *b.client
	client.Timeout = 0
	return websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: &client, HTTPHeader: header})
}

func TestWebSocketLivesAsLongAsItsSession(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/ws", echo)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	conn, _, err := b.dial(ctx, w.origin(headersHost)+"/ws", w.origin(headersHost))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := conn.Read(ctx); err != nil || string(message) != "hello" {
		t.Fatalf("echo %q, %v", message, err)
	}
	if got, _ := w.backend.seen(); got.Header.Get("X-Forwarded-User") != "alice@example.com" || got.Header.Get("Cookie") != "" {
		t.Errorf("the upgrade reached the backend with %v", got.Header)
	}
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Fatalf("the connection outlives the sign-out: %v", err)
	}
	for _, record := range w.records(7) {
		if record["url.path"] != "/ws" {
			continue
		}
		if record["http.response.status_code"] != 101.0 || record["event.reason"] != "session_ended" || record["http.response.body.bytes"].(float64) == 0 {
			t.Errorf("line of the connection: %v", record)
		}
	}
}

func TestWebSocketIsRefused(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Routes[1].WebSocket = false })
	w.backend.mux.HandleFunc("/ws", echo)
	alice, nobody := w.browser(), w.browser()
	alice.signIn(w.origin(headersHost)+"/", "alice")
	alice.signIn(w.origin(notesHost)+"/", "alice")
	tests := []struct {
		name    string
		browser *browser
		host    string
		origin  string
		status  int
	}{
		{"from a page of another site", alice, headersHost, "https://evil.example", http.StatusForbidden},
		{"from a page of another tool", alice, headersHost, w.origin(notesHost), http.StatusForbidden},
		{"from a sandboxed page", alice, headersHost, "null", http.StatusForbidden},
		{"where the route has none", alice, notesHost, w.origin(notesHost), http.StatusForbidden},
		{"without a session", nobody, headersHost, w.origin(headersHost), http.StatusUnauthorized},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			conn, res, err := test.browser.dial(t.Context(), w.origin(test.host)+"/ws", test.origin)
			if err == nil {
				_ = conn.CloseNow()
				t.Fatal("the connection was let in")
			}
			if res == nil || res.StatusCode != test.status {
				t.Errorf("answer %v, want status %d", res, test.status)
			}
		})
	}
}

func TestOnlyWebSocketUpgradesPass(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
	req.Header.Set("Connection", "Upgrade, HTTP2-Settings")
	req.Header.Set("Upgrade", "h2c")
	req.Header.Set("Http2-Settings", "AAMAAABkAAQAAP__")
	if res := b.do(req); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	got, _ := w.backend.seen()
	for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
		if got.Header.Get(name) != "" {
			t.Errorf("%s: %q reached the backend", name, got.Header.Get(name))
		}
	}
}

func TestEventStreamIsFlushedAndEndsWithItsSession(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/events", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(rw, "data: one\n\n")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	req := b.request(http.MethodGet, w.origin(headersHost)+"/events", nil)
	req.Header.Set("Accept", "text/event-stream")
	res, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil || line != "data: one\n" {
		t.Fatalf("first event %q, %v", line, err)
	}
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("the stream ended as if it were complete, want it cut")
	}
}

func TestInterimAnswersAndTrailersOfABackendAreDropped(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/early", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Set-Cookie", "__Host-sallyport=evil; Path=/; Secure")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Set("Trailer", "Set-Cookie")
		rw.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(rw, "body")
		rw.Header().Set("Set-Cookie", "__Host-sallyport=evil; Path=/; Secure")
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	res := b.navigate(w.origin(headersHost) + "/early")
	if res.body != "body" || len(res.Trailer) > 0 || len(res.Header.Values("Set-Cookie")) > 0 {
		t.Errorf("answer %q, trailer %v, cookies %v", res.body, res.Trailer, res.Header.Values("Set-Cookie"))
	}
}

func TestUnannouncedTrailersAreDropped(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/late", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, "body")
		_ = http.NewResponseController(rw).Flush()
		rw.Header().Set(http.TrailerPrefix+"Set-Cookie", "__Host-sallyport=evil; Path=/; Secure")
		rw.Header().Set(http.TrailerPrefix+"X-Forwarded-User", "root")
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	if res := b.navigate(w.origin(headersHost) + "/late"); res.body != "body" || len(res.Trailer) > 0 {
		t.Errorf("answer %q, trailer %v", res.body, res.Trailer)
	}
}

func TestAnswersPassAsTheyAre(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/untyped", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header()["Content-Type"] = nil
		_, _ = io.WriteString(rw, "<script>")
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	if res := b.navigate(w.origin(headersHost) + "/untyped"); len(res.Header.Values("Content-Type")) > 0 {
		t.Errorf("a content type was guessed: %v", res.Header)
	}
	req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
	req.URL.Opaque = "//" + req.URL.Host + "/a|b%2Fc//d"
	b.do(req)
	if got, _ := w.backend.seen(); got.RequestURI != "/a%7Cb%2Fc//d" {
		t.Errorf("backend got %q, want an escaped slash to stay one", got.RequestURI)
	}
}

func TestRequestTrailersAreDropped(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/upload", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	req := b.request(http.MethodPost, w.origin(headersHost)+"/upload", io.NopCloser(strings.NewReader("data")))
	req.Trailer = http.Header{"X-Forwarded-User": {"root"}}
	b.do(req)
	if got, _ := w.backend.seen(); len(got.Trailer) > 0 || got.Header.Get("Trailer") != "" {
		t.Errorf("trailers reached the backend: %v %q", got.Trailer, got.Header.Get("Trailer"))
	}
}
