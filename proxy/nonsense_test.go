package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
)

// rawBackend is a sidecar that says what a test has it say, byte for byte.
type rawBackend struct {
	listener net.Listener
	// answer is what becomes of each connection's first request, after it was read.
	answer atomic.Pointer[func(net.Conn)]
}

// newRawWorld is a world whose first route leads to a backend of raw bytes.
func newRawWorld(t *testing.T, change func(*proxy.Config)) (*world, *rawBackend) {
	t.Helper()
	raw := new(rawBackend)
	w := newWorld(t, func(cfg *proxy.Config) {
		ca := x509.NewCertPool()
		authority := newAuthority(t)
		ca.AddCert(authority.cert)
		listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{authority.issue(x509.ExtKeyUsageServerAuth, "raw.backend.test")}, MinVersion: tls.VersionTLS13,
		})
		if err != nil {
			t.Fatal(err)
		}
		raw.listener = listener
		cfg.Routes[0].Backend = &url.URL{Scheme: "https", Host: listener.Addr().String()}
		cfg.Routes[0].TLS = &tls.Config{RootCAs: ca, ServerName: "raw.backend.test", MinVersion: tls.VersionTLS13}
		cfg.Routes[0].Upstream.HeaderTimeout = 300 * time.Millisecond
		if change != nil {
			change(cfg)
		}
	})
	t.Cleanup(func() { raw.listener.Close() })
	go raw.serve()
	return w, raw
}

func (b *rawBackend) serve() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			if req.URL.Path == "/" {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
				return
			}
			(*b.answer.Load())(conn)
		}()
	}
}

// says has the backend answer with these bytes and hang up.
func says(text string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = io.WriteString(conn, text) }
}

// truncatedGzip is a compressed body without its end, in a message that is whole.
func truncatedGzip() string {
	var body bytes.Buffer
	packer := gzip.NewWriter(&body)
	_, _ = packer.Write(bytes.Repeat([]byte("text "), 1000))
	_ = packer.Close()
	half := body.Bytes()[:body.Len()/2]
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", len(half), half)
}

// TestBackendThatAnswersNonsense tries what a backend may do to an answer. There is our
// page, or, once an answer has begun, a cut that no client takes for its end; the cause
// is in the log alone.
func TestBackendThatAnswersNonsense(t *testing.T) {
	const cut, either = -1, 0 // either: 502 or 504, whichever limit is met first
	tests := []struct {
		name   string
		answer func(net.Conn)
		status int // cut: the answer begins, and breaks off
		reason string
		cause  string
	}{
		{"hangs up at once", says(""), 502, "backend_broke_off", "EOF"},
		{"resets the connection", reset, 502, "backend_broke_off", "reset"},
		{"says nothing in time", func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, 504, "backend_timeout", "in time"},
		{"stops in the status line", says("HTTP/1.1 20"), 502, "backend_", "malformed"},
		{"stops in the header", says("HTTP/1.1 200 OK\r\nContent-Le"), 502, "backend_", "malformed"},
		{"garbage", says("\x16\x03\x01\x02\x00secret garbage\r\n\r\n"), 502, "backend_nonsense", "malformed"},
		{"HTTP/0.9", says("<html>secret</html>"), 502, "backend_nonsense", "malformed"},
		{"a preface of HTTP/2", says("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 502, "backend_nonsense", "malformed"},
		{"a status that is no number", says("HTTP/1.1 abc OK\r\n\r\n"), 502, "backend_nonsense", "malformed"},
		{"a status of two digits", says("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"), 502, "backend_nonsense", "malformed"},
		{"a header of 2 MB", says("HTTP/1.1 200 OK\r\nX-Large: " + strings.Repeat("a", 2<<20) + "\r\n\r\n"), 502, "backend_nonsense", "exceeded"},
		{"100,000 headers", says("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 100_000) + "\r\n"), 502, "backend_nonsense", ""}, // what it exceeds, or where it was cut
		{"two lengths", says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"), 502, "backend_nonsense", "Content-Length"},
		{"a length below zero", says("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nabc"), 502, "backend_nonsense", "Content-Length"},
		{"a length with a sign", says("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab"), 502, "backend_nonsense", "Content-Length"},
		{"an encoding that nobody knows", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 502, "backend_nonsense", "transfer encoding"},
		{"a header without a colon", says("HTTP/1.1 200 OK\r\nsecret\r\n\r\n"), 502, "backend_nonsense", "malformed"},
		{"NUL in a value", says("HTTP/1.1 200 OK\r\nX-Odd: a\x00b\r\nContent-Length: 0\r\n\r\n"), 502, "backend_nonsense", ""},
		{"a bare CR in a value", says("HTTP/1.1 200 OK\r\nX-Odd: a\rSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n"), 502, "backend_nonsense", ""},
		{"a blank in a name", says("HTTP/1.1 200 OK\r\nX Odd: a\r\nContent-Length: 0\r\n\r\n"), 502, "backend_nonsense", ""},
		{"an upgrade that nobody asked for", says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), 502, "backend_nonsense", ""},
		{"endless interim answers", func(conn net.Conn) {
			for range 100_000 {
				if _, err := io.WriteString(conn, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
					return
				}
			}
		}, either, "backend_", ""},
		{"less than its length", says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), cut, "backend_cut", "unexpected EOF"},
		{"no last chunk", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"), cut, "backend_cut", "unexpected EOF"},
		{"a chunk that is cut", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf"), cut, "backend_cut", "unexpected EOF"},
		{"a chunk of no size", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n"), cut, "backend_cut", "chunk"},
		{"a chunk size of 17 digits", says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n10000000000000000\r\n"), cut, "backend_cut", "chunk"},
		{"length and chunks: the chunks count", says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"), 200, "group_allowed", ""},
		{"more than its length: the rest is dropped", says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nwholeHTTP/1.1 200 OK\r\n\r\nsecret"), 200, "group_allowed", ""},
		{"half of a gzip, as it came", says(truncatedGzip()), 200, "group_allowed", ""},
	}
	w, raw := newRawWorld(t, nil)
	b := w.browser()
	b.client.Transport.(*http.Transport).DisableCompression = true
	b.signIn(w.origin(headersHost)+"/", "alice")
	lines := 5
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw.answer.Store(&test.answer)
			lines++
			req := b.request(http.MethodPost, w.origin(headersHost)+"/odd", nil) // never sent twice
			req.Header.Set("Sec-Fetch-Site", "same-origin")
			res, err := b.client.Do(req)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(res.Body)
				res.Body.Close()
			} else {
				res = &http.Response{StatusCode: http.StatusOK} // the header was not sent on yet
			}
			switch {
			case test.status == cut && (res.StatusCode != http.StatusOK || err == nil):
				t.Errorf("half an answer looks whole: %d %q", res.StatusCode, body)
			case test.status > 0 && (res.StatusCode != test.status || err != nil):
				t.Errorf("answer %d, %v, want %d: %.100q", res.StatusCode, err, test.status, body)
			case test.status == either && res.StatusCode < 500:
				t.Errorf("answer %d", res.StatusCode)
			case (test.status == either || test.status > 500) && (!strings.Contains(string(body), "The tool does not answer") || strings.Contains(string(body), "secret")):
				t.Errorf("page %s", body)
			}
			line := w.lastRecord(lines)
			cause, _ := line["error.message"].(string)
			if reason, _ := line["event.reason"].(string); !strings.HasPrefix(reason, test.reason) || !strings.Contains(cause, test.cause) || cause == "" && test.status != 200 {
				t.Errorf("line %v, want the reason %s and the cause %q", line, test.reason, test.cause)
			}
		})
	}
	if res := b.navigate(w.origin(headersHost) + "/"); res.body != "ok" {
		t.Errorf("the route does not recover: %d %s", res.StatusCode, res.body)
	}
}

// reset ends a connection so that its peer gets a TCP reset.
func reset(conn net.Conn) {
	tcp, ok := conn.(*tls.Conn).NetConn().(*net.TCPConn)
	if ok {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}

// TestTimeOfAnAnswerIsNotThatOfItsBody: a stream may go on for longer than a route's
// answer may be waited for.
func TestTimeOfAnAnswerIsNotThatOfItsBody(t *testing.T) {
	w, raw := newRawWorld(t, nil)
	stream := func(conn net.Conn) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
		<-time.After(600 * time.Millisecond)
		_, _ = io.WriteString(conn, "5\r\nwhole\r\n0\r\n\r\n")
	}
	raw.answer.Store(&stream)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	if res := b.navigate(w.origin(headersHost) + "/stream"); res.body != "halfwhole" {
		t.Errorf("answer %d %q", res.StatusCode, res.body)
	}
}

// TestProgramsGetNoPages: whoever does not want HTML gets JSON for whatever goes wrong
// with a backend.
func TestProgramsGetNoPages(t *testing.T) {
	w, raw := newRawWorld(t, nil)
	hangUp := says("")
	raw.answer.Store(&hangUp)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	for _, accept := range []string{"application/json", "*/*", "application/grpc", "text/event-stream", ""} {
		req := background(b, w.origin(headersHost)+"/odd")
		req.Header.Set("Accept", accept)
		res := b.do(req)
		if res.StatusCode != http.StatusBadGateway || res.Header.Get("Content-Type") != "application/json" || !strings.Contains(res.body, `"error":"backend_broke_off"`) {
			t.Errorf("Accept %q: %d %s %s", accept, res.StatusCode, res.Header.Get("Content-Type"), res.body)
		}
	}
}
