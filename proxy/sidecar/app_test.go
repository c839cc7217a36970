package sidecar

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/header"
)

// TestHostileApp answers in every way that an application should not.
func TestHostileApp(t *testing.T) {
	tests := []struct {
		name, answer string
		status       int
		want         http.Header
		body         string
	}{
		{
			name: "managed headers", status: http.StatusOK, body: "ok",
			answer: wire("HTTP/1.1 200 OK", "X-Sallyport-Fault: app_unreachable", "x_sallyport_fault: x", "X-Forwarded-User: root", "X-Accel-Redirect: /etc", "Content-Length: 2", "A: b") + "ok",
			want:   http.Header{"A": {"b"}, "Content-Length": {"2"}},
		},
		{
			name: "early hints", status: http.StatusOK,
			answer: wire("HTTP/1.1 103 Early Hints", "Set-Cookie: __Host-sallyport=x", "Link: </a.css>; rel=preload") + wire("HTTP/1.1 200 OK", "Content-Length: 0"),
			want:   http.Header{"Content-Length": {"0"}},
		},
		{
			name: "announced trailers", status: http.StatusOK, body: "ok",
			answer: wire("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: X-Forwarded-User, Set-Cookie") + "2\r\nok\r\n0\r\n" + wire("X-Forwarded-User: root", "Set-Cookie: a=b"),
			want:   http.Header{},
		},
		{
			name: "trailers that nobody announced", status: http.StatusOK, body: "ok",
			answer: wire("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "2\r\nok\r\n0\r\n" + wire("X-Forwarded-User: root", "Set-Cookie: a=b"),
			want:   http.Header{},
		},
		{
			name: "an upgrade that nobody asked for", status: http.StatusBadGateway, body: "Bad Gateway\n",
			answer: wire("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"),
			want:   http.Header{"X-Sallyport-Fault": {"app_unreachable"}, "Content-Length": {"12"}, "Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
		},
		{
			name: "no HTTP at all", status: http.StatusBadGateway, body: "Bad Gateway\n",
			answer: "SSH-2.0-OpenSSH_9.2\r\n",
			want:   http.Header{"X-Sallyport-Fault": {"app_unreachable"}, "Content-Length": {"12"}, "Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
		},
		{
			name: "headers without end", status: http.StatusBadGateway, body: "Bad Gateway\n",
			answer: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 300) + "\r\n",
			want:   http.Header{"X-Sallyport-Fault": {"app_unreachable"}, "Content-Length": {"12"}, "Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			app, _ := rawApp(t, test.answer)
			res := newWorld(t, app).raw(t, wire("GET / HTTP/1.1", "Host: a"))
			body, err := io.ReadAll(res.Body)
			if err != nil || string(body) != test.body || res.StatusCode != test.status {
				t.Errorf("status %d, body %q (%v), want %d, %q", res.StatusCode, body, err, test.status, test.body)
			}
			delete(res.Header, "Date")
			if diff := cmp.Diff(test.want, res.Header); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			if len(res.Trailer) != 0 {
				t.Errorf("trailers: %v", res.Trailer)
			}
		})
	}
}

// TestAnswerThatBreaksOff: half an answer must not look like a whole one.
func TestAnswerThatBreaksOff(t *testing.T) {
	for name, answer := range map[string]string{
		"with a length": wire("HTTP/1.1 200 OK", "Content-Length: 100") + "half",
		"chunked":       wire("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "4\r\nhalf\r\n",
	} {
		app, _ := rawApp(t, answer)
		w := newWorld(t, app)
		res, err := w.client.Get(w.server.URL)
		var body []byte
		if err == nil { // else it was cut before the first byte
			body, err = io.ReadAll(res.Body)
			_ = res.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: the gateway read %q and saw no error", name, body)
		}
		if line := w.line(t); line["error.message"] != "connection to the client or the backend broke off" || line["http.response.status_code"] != float64(http.StatusOK) {
			t.Errorf("%s: line: %v", name, line)
		}
	}
}

func TestClientTrailersAreDropped(t *testing.T) {
	app, requests := recorder(t)
	w := newWorld(t, app)
	w.raw(t, wire("POST / HTTP/1.1", "Host: a", "X-Forwarded-User: alice", "Transfer-Encoding: chunked", "Trailer: X-Forwarded-User, A")+
		"2\r\nok\r\n0\r\n"+wire("X-Forwarded-User: root", "A: b"))
	got := next(t, requests)
	if len(got.Trailer) != 0 || len(got.Header["Trailer"]) != 0 || got.Header.Get(header.User) != "alice" {
		t.Errorf("trailers %v, headers %v", got.Trailer, got.Header)
	}
}

func TestOnlyWebSocketIsUpgraded(t *testing.T) {
	app, requests := recorder(t)
	w := newWorld(t, app)
	for _, upgrade := range []string{"h2c", "h2c, websocket", "TLS/1.0", "connect-udp"} {
		w.raw(t, wire("GET / HTTP/1.1", "Host: a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: "+upgrade, "HTTP2-Settings: AAMAAABkAAQAAP__"))
		h := next(t, requests).Header
		for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
			if v, ok := h[name]; ok {
				t.Errorf("upgrade to %s: %s: %q reached the application", upgrade, name, v)
			}
		}
	}
}

func TestWebSocketPasses(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.CloseNow() }()
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			t.Error(err)
			return
		}
		if err := conn.Write(r.Context(), kind, append([]byte(r.Header.Get(header.User)+" said "), message...)); err != nil {
			t.Error(err)
		}
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}))
	defer server.Close()
	w := newWorld(t, server.URL)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, strings.Replace(w.server.URL, "https", "wss", 1), &websocket.DialOptions{
		HTTPClient: w.client, HTTPHeader: http.Header{header.User: {"alice"}, "X_forwarded_user": {"root"}},
	})
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	defer func() { _ = conn.CloseNow() }()
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := conn.Read(ctx); err != nil || string(message) != "alice said hello" {
		t.Errorf("read %q, %v", message, err)
	}
	_, _, _ = conn.Read(ctx) // the closing handshake
	if begin := w.line(t); begin["event.action"] != "stream_begin" || begin["sallyport.stream"] != "upgrade" {
		t.Errorf("first line: %v", begin)
	}
	line := w.line(t)
	if line["http.response.status_code"] != float64(http.StatusSwitchingProtocols) || line["http.request.body.bytes"].(float64) < 5 || line["http.response.body.bytes"].(float64) < 16 {
		t.Errorf("line: %v", line)
	}
}

// TestLocalhostIsNotLookedUp: whoever answers for names may not choose who gets requests with
// identities in them.
func TestLocalhostIsNotLookedUp(t *testing.T) {
	address, _ := recorder(t)
	target, err := url.Parse(strings.Replace(address, "127.0.0.1", "localhost", 1))
	if err != nil {
		t.Fatal(err)
	}
	app, err := applicationOf(target, "http")
	if err != nil {
		t.Fatal(err)
	}
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		DNSStart: func(asked httptrace.DNSStartInfo) { t.Errorf("a resolver is asked for %s", asked.Host) },
	})
	conn, err := app.dial(ctx, "", "")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestEventStreamPasses(t *testing.T) {
	proceed := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: one\n\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		select { // the first event must arrive while the answer is open
		case <-proceed:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "data: two\n\n")
	}))
	defer server.Close()
	w := newWorld(t, server.URL)
	res := w.raw(t, wire("GET / HTTP/1.1", "Host: a", "Accept: text/event-stream"))
	first := make([]byte, len("data: one\n\n"))
	if _, err := io.ReadFull(res.Body, first); err != nil {
		t.Fatalf("first event: %v", err)
	}
	close(proceed)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "data: two\n\n" {
		t.Errorf("then %q, %v", rest, err)
	}
}
