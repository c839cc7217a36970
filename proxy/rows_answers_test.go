package proxy_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// hostileAnswer is what an application answers, byte for byte. Whatever must not pass has
// "evil" in it, and what must has "good", so many times.
type hostileAnswer struct {
	row, name, method, answer string
	status, good              int
}

// says1 is an answer of HTTP/1.1 with these header lines, and a body.
func says1(status, body string, lines ...string) string {
	lines = append([]string{"HTTP/1.1 " + status}, lines...)
	return strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(body))), "\r\n") + "\r\n\r\n" + body
}

func chunked1(trailers string, lines ...string) string {
	return strings.Join(append([]string{"HTTP/1.1 200 OK", "Transfer-Encoding: chunked"}, lines...), "\r\n") + "\r\n\r\n4\r\ngood\r\n0\r\n" + trailers + "\r\n"
}

var hostileAnswers = []hostileAnswer{
	{"P22", "our cookies, in every spelling", "GET", says1("200 OK", "good", "Set-Cookie: __Host-sallyport=evil; Path=/; Secure", "Set-Cookie: __host-SALLYPORT-link=evil", "set-cookie: =__Host-sallyport=evil", "Set-Cookie:\t = __Host-sallyport-signon-evil", "Set-Cookie: a=good"), 200, 2},
	{"P22", "a cookie for all siblings", "GET", says1("200 OK", "good", "Set-Cookie: a=good; Domain=evil.test; Path=/", "Set-Cookie: b=good; domain = .evil.test"), 200, 3},
	{"P22", "in early hints", "GET", "HTTP/1.1 103 Early Hints\r\nSet-Cookie: __Host-sallyport=evil\r\nLink: </evil.css>; rel=preload\r\n\r\n" + says1("200 OK", "good"), 200, 1},
	{"P22", "in other interim answers", "GET", "HTTP/1.1 102 Processing\r\nSet-Cookie: a=evil\r\n\r\nHTTP/1.1 100 Continue\r\nX-Forwarded-User: evil\r\n\r\nHTTP/1.1 199 Odd\r\nA: evil\r\n\r\n" + says1("200 OK", "good"), 200, 1},
	{"P22", "in trailers that are announced", "GET", chunked1("Set-Cookie: __Host-sallyport=evil\r\nSet-Cookie: a=evil\r\nX-Forwarded-User: evil\r\n", "Trailer: Set-Cookie, X-Forwarded-User"), 200, 1},
	{"P22", "in trailers that are not", "GET", chunked1("Set-Cookie: a=evil\r\nX_Forwarded_User: evil\r\nLocation: https://evil\r\nStrict-Transport-Security: evil\r\n"), 200, 1},
	{"P22", "in trailers of gRPC", "GET", chunked1("Set-Cookie: a=evil\r\nX-Forwarded-User: evil\r\nContent-Type: evil\r\nAccess-Control-Allow-Origin: evil\r\nGrpc-Message: good\r\n", "Content-Type: application/grpc"), 200, 2},
	{"P23", "our own headers", "GET", says1("200 OK", "good", "X-Forwarded-User: evil", "X_Forwarded_User: evil", "X-Sallyport-Assertion: evil", "Remote-User: evil", "X-Sallyport-Fault: evil", "x-sallyport_fault: evil", "Server: good"), 200, 2},
	{"P23", "what proxies act upon", "GET", says1("200 OK", "good", "X-Accel-Redirect: /evil", "X-Accel-Buffering: evil", "X-Sendfile: /evil", "Alt-Svc: h3=\"evil:443\"", "Proxy-Authenticate: Basic realm=evil", "Keep-Alive: evil", "Connection: X-Odd", "X-Odd: evil", "Trailer: evil", "Upgrade: evil"), 200, 1},
	{"P23", "a challenge for the connection", "GET", says1("401 No", "good", "WWW-Authenticate: Negotiate evil", "WWW-Authenticate: NTLM evil", "WWW-Authenticate: Basic realm=good"), 401, 2},
	{"P24", "an upgrade that nobody asked for", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nevil", 502, 0},
	{"P25", "length and chunks: the chunks count", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\ngood\r\n0\r\n\r\nevil", 200, 1},
	{"P25", "two lengths", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 8\r\n\r\nevilevil", 502, 0},
	{"P25", "a header of 2 MB", "GET", says1("200 OK", "evil", "A: "+strings.Repeat("b", 2<<20)), 502, 0},
	{"P25", "NUL in a value", "GET", says1("200 OK", "evil", "A: evil\x00"), 502, 0},
	{"P25", "a second answer behind the first", "GET", says1("200 OK", "good") + says1("200 OK", "evil"), 200, 1},
	{"P25", "an answer to HEAD with a body", "HEAD", says1("200 OK", "evil", "Server: good"), 200, 1},
	{"P25", "no content, and a body", "GET", says1("204 No Content", "evil", "Server: good"), 204, 1},
	{"P25", "not modified, and a body", "GET", says1("304 Not Modified", "evil", "ETag: \"good\""), 304, 1},
	{"P25", "HTTP/1.0 without a length", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: evil\r\nConnection: close\r\n\r\ngood", 200, 1},
	{"P34", "a bare CR in a value", "GET", says1("200 OK", "evil", "Location: /a\rSet-Cookie: a=evil"), 502, 0},
	{"P34", "a folded line", "GET", says1("200 OK", "good", "Server: a\r\n X-Forwarded-User: good"), 200, 2},
}

// TestHostileAnswers has the application give each of them, and looks at all that reaches
// the client: the very bytes in HTTP/1.1, and everything that a client can see in the
// other versions. The request after it gets an answer of its own.
func TestHostileAnswers(t *testing.T) {
	for inward, change := range inwards {
		s := newStand(t, change)
		b := s.browser()
		b.signIn(s.origin(headersHost)+"/", "alice")
		clients := map[string]*browser{"2": b.over("2"), "3": b.over("3")}
		for _, test := range hostileAnswers {
			s.tool.says("/hostile", test.answer)
			for _, version := range versions {
				t.Run(test.row+" "+test.name+" in HTTP/"+version+", "+inward+" inwards", func(t *testing.T) {
					status, seen := s.hostile(t, test.method, clients[version])
					if status != test.status || strings.Contains(seen, "evil") || strings.Count(seen, "good") != test.good {
						t.Errorf("status %d, want %d; %d times good, want %d: %.2000q", status, test.status, strings.Count(seen, "good"), test.good, seen)
					}
				})
			}
			if res := b.navigate(s.origin(headersHost) + "/"); res.StatusCode != http.StatusOK || res.body != "ok" {
				t.Fatalf("after %s: %d %q", test.name, res.StatusCode, res.body)
			}
		}
	}
}

// hostile asks for the answer: with a client, or without one in bytes.
func (s *stand) hostile(t *testing.T, method string, client *browser) (status int, seen string) {
	t.Helper()
	if client == nil {
		return s.bytesOf(t, method)
	}
	return client.everything(t, method, s.origin(headersHost)+"/hostile")
}

// bytesOf is the final status, and all bytes that a client of HTTP/1.1 is sent. Most of
// these have no end of their own but that of the connection.
func (s *stand) bytesOf(t *testing.T, method string) (status int, seen string) {
	t.Helper()
	conn, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: s.ca.pool, ServerName: headersHost})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, s.fill(method+strings.TrimPrefix(get("/hostile", "TE: trailers", "Connection: close, TE"), "GET"))); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Sscanf(string(text), "HTTP/1.1 %d", &status)
	return status, string(text)
}

// everything is the status, and all that a client sees of an answer: its interim ones,
// header, body and trailers.
func (b *browser) everything(t *testing.T, method, address string) (status int, seen string) {
	t.Helper()
	var all bytes.Buffer
	req := b.request(method, address, nil)
	req.Header.Set("Te", "trailers")
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error { fmt.Fprintln(&all, code, h); return nil },
	}))
	res := b.do(req)
	fmt.Fprintln(&all, res.Header, res.body, res.Trailer)
	return res.StatusCode, all.String()
}
