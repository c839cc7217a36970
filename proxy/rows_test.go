package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
)

// attack is what somebody who is signed in sends over a connection, byte for byte, and
// what becomes of it.
type attack struct {
	row, name string
	send      string   // {host} and {cookie} are filled in
	statuses  []int    // of the answers, in order
	reasons   []string // of the lines in the gateway's log; what net/http refuses has none
	reached   []string // the application, beside what it is told of alice
}

// get is a request of alice, with further lines.
func get(target string, lines ...string) string {
	return strings.Join(append([]string{"GET " + target + " HTTP/1.1", "Host: {host}", "Cookie: {cookie}"}, lines...), "\r\n") + "\r\n\r\n"
}

func post(target string, lines ...string) string {
	return "POST" + strings.TrimPrefix(get(target, lines...), "GET")
}

const (
	passes   = "group_allowed"
	smuggled = "GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
)

var upgrades = []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}

// framing are rows about where a request ends.
var framing = []attack{
	{"P07", "length and chunks: the chunks count", post("/", "Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n" + smuggled, []int{200, 401}, []string{passes, "no_session"}, []string{"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n0\r\n\r\n"}},
	{"P08", "two lengths", post("/", "Content-Length: 5", "Content-Length: 6") + "hello", []int{400}, nil, nil},
	{"P08", "one length twice", post("/", "Content-Length: 5", "Content-Length: 5") + "hello", []int{200}, []string{passes}, []string{"POST / HTTP/1.1\nContent-Length: 5\n\nhello"}},
	{"P08", "a list of lengths", post("/", "Content-Length: 5, 5") + "hello", []int{400}, nil, nil},
	{"P08", "a length with a sign", post("/", "Content-Length: +5") + "hello", []int{400}, nil, nil},
	{"P08", "a length below zero", post("/", "Content-Length: -1"), []int{400}, nil, nil},
	{"P08", "a length in hexadecimal", post("/", "Content-Length: 0x5") + "hello", []int{400}, nil, nil},
	{"P08", "a length without end", post("/", "Content-Length: 99999999999999999999"), []int{400}, nil, nil},
	{"P08", "an encoding that nobody knows", post("/", "Transfer-Encoding: xchunked") + smuggled, []int{501}, nil, nil},
	{"P08", "two encodings", post("/", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + "0\r\n\r\n", []int{501}, nil, nil},
	{"P08", "two encodings in a line", post("/", "Transfer-Encoding: chunked, identity") + "0\r\n\r\n", []int{501}, nil, nil},
	{"P08", "a control before the encoding", post("/", "Transfer-Encoding: \x0bchunked") + "0\r\n\r\n", []int{400}, nil, nil},
	{"P08", "a blank before the colon", post("/", "Transfer-Encoding : chunked") + "0\r\n\r\n", []int{400}, nil, nil},
	{"P08", "an encoding that is folded", post("/", "Transfer-Encoding:\r\n chunked") + "0\r\n\r\n", []int{200}, []string{passes}, []string{"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n0\r\n\r\n"}},
	{"P08", "an encoding under another name", post("/", "Transfer_Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", []int{200}, []string{passes}, []string{"POST / HTTP/1.1\nContent-Length: 5\n\n0\r\n\r\n"}},
	{"P08", "a bare line feed after a chunk's size (CVE-2025-22871)", post("/", "Transfer-Encoding: chunked") + "0\n\r\n" + smuggled, []int{400}, []string{"body_malformed"}, nil},
	{"P08", "a chunk of no size", post("/", "Transfer-Encoding: chunked") + "zz\r\n\r\n" + smuggled, []int{400}, []string{"body_malformed"}, nil},
	{"P08", "a chunk size without end", post("/", "Transfer-Encoding: chunked") + "fffffffffffffffff\r\n" + smuggled, []int{400}, []string{"body_malformed"}, nil},
	{"P08", "a chunk that is longer than its size", post("/", "Transfer-Encoding: chunked") + "1\r\nab\r\n0\r\n\r\n" + smuggled, []int{400}, []string{"body_malformed"}, nil},
	{"P08", "NUL in a value", get("/", "X-Odd: a\x00b"), []int{400}, nil, nil},
	{"P08", "a bare CR in a value", get("/", "X-Odd: a\rX-Forwarded-User: root"), []int{400}, nil, nil},
	{"P08", "a name without end", get("/", "X-Odd"), []int{400}, nil, nil},
	{"P08", "no name", get("/", ": a"), []int{400}, nil, nil},
	{"P08", "two hosts", get("/", "Host: {other}"), []int{400}, nil, nil},
	{"P08", "no host", "GET / HTTP/1.1\r\nCookie: {cookie}\r\n\r\n", []int{400}, nil, nil},
	{"P08", "an encoding in HTTP/1.0: the body is none", "POST / HTTP/1.0\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, []int{200, 401}, []string{passes, "no_session"}, []string{"POST / HTTP/1.1\nContent-Length: 0"}},
	{"P09", "a folded line is joined", get("/", "X-Odd: a\r\n b\r\n\tX-Forwarded-User: root"), []int{200}, []string{passes}, []string{"GET / HTTP/1.1\nX-Odd: a b X-Forwarded-User: root"}},
	{"P09", "a first line that is folded", "GET / HTTP/1.1\r\n X-Forwarded-User: root\r\nHost: {host}\r\n\r\n", []int{400}, nil, nil},
	{"P09", "bare line feeds", strings.ReplaceAll(get("/", "X-Odd: a"), "\r\n", "\n"), []int{200}, []string{passes}, []string{"GET / HTTP/1.1\nX-Odd: a"}},
	{"P09", "HTTP/1.2", strings.Replace(get("/"), "HTTP/1.1", "HTTP/1.2", 1), []int{200}, []string{passes}, []string{"GET / HTTP/1.1"}},
	{"P09", "HTTP/2.0 in letters", strings.Replace(get("/"), "HTTP/1.1", "HTTP/2.0", 1), []int{505}, nil, nil},
	{"P09", "HTTP/0.9", "GET /\r\n\r\n", []int{400}, nil, nil},
	{"P09", "a method in lower case", "get" + strings.TrimPrefix(get("/"), "GET"), []int{405}, []string{"method"}, nil},
	{"P09", "a method that is none", "GE(T" + strings.TrimPrefix(get("/"), "GET"), []int{400}, nil, nil},
	{"P09", "GET with a body", get("/", "Content-Length: 5") + "hello", []int{200}, []string{passes}, []string{"GET / HTTP/1.1\nContent-Length: 5\n\nhello"}},
	{"P09", "two requests at once", get("/a") + get("/b"), []int{200, 200}, []string{passes, passes}, []string{"GET /a HTTP/1.1", "GET /b HTTP/1.1"}},
	{"P10", "trailers", post("/", "Transfer-Encoding: chunked", "Trailer: X-Forwarded-User") + "1\r\na\r\n0\r\nX-Forwarded-User: root\r\nContent-Length: 9\r\n\r\n", []int{200}, []string{passes}, []string{"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n1\r\na\r\n0\r\n\r\n"}},
	{"P10", "a trailer that frames", post("/", "Transfer-Encoding: chunked", "Trailer: Content-Length") + "0\r\n\r\n", []int{400}, nil, nil},
}

// targets are rows about what is asked for, of whom and how.
var targets = []attack{
	{"P11", "an upgrade to HTTP/2", get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), []int{200}, []string{passes}, []string{"GET / HTTP/1.1"}},
	{"P11", "an upgrade to two protocols", get("/", "Connection: Upgrade", "Upgrade: h2c, websocket"), []int{200}, []string{passes}, []string{"GET / HTTP/1.1"}},
	{"P11", "an upgrade that nobody connects", get("/", "Upgrade: websocket"), []int{200}, []string{passes}, []string{"GET / HTTP/1.1"}},
	{"P12", "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{405}, []string{"method"}, nil},
	{"P12", "its method alone", "PRI" + strings.TrimPrefix(get("/"), "GET"), []int{405}, []string{"method"}, nil},
	{"P13", "CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n\r\n", []int{405}, []string{"method"}, nil},
	{"P13", "CONNECT with a path", "CONNECT" + strings.TrimPrefix(get("/admin"), "GET"), []int{405}, []string{"method"}, nil},
	{"P13", "TRACE", "TRACE" + strings.TrimPrefix(get("/"), "GET"), []int{405}, []string{"method"}, nil},
	{"P14", "OPTIONS for the whole server", "OPTIONS" + strings.TrimPrefix(get("*"), "GET"), []int{400}, []string{"path"}, nil},
	{"P14", "another method for it", get("*"), []int{400}, []string{"path"}, nil},
	{"P15", "another host in the target", get("https://{other}/"), []int{421}, []string{"sni_mismatch"}, nil},
	{"P15", "another host beside the target", strings.Replace(get("http://{host}/a%2Fb"), "Host: {host}", "Host: evil.example", 1), []int{200}, []string{passes}, []string{"GET /a%2Fb HTTP/1.1"}},
	{"P15", "somebody in the target", get("https://root@{host}/"), []int{200}, []string{passes}, []string{"GET / HTTP/1.1"}},
	{"P15", "a target without slashes", get("https:{host}"), []int{400}, []string{"path"}, nil},
	{"P16", "another case, a dot, a port", strings.Replace(get("/"), "{host}", "HEADERS.example.test.:8443", 1), []int{200}, []string{passes}, []string{"GET / HTTP/1.1"}},
	{"P16", "two dots", strings.Replace(get("/"), "{host}", headersHost+"..", 1), []int{421}, []string{"sni_mismatch"}, nil},
	{"P16", "somebody at the host", strings.Replace(get("/"), "{host}", "root@"+headersHost, 1), []int{400}, nil, nil},
	{"P16", "a path in the host", strings.Replace(get("/"), "{host}", headersHost+"/x", 1), []int{400}, nil, nil},
	{"P16", "an address", strings.Replace(get("/"), "{host}", "127.0.0.1", 1), []int{421}, []string{"sni_mismatch"}, nil},
	{"P16", "an empty host", strings.Replace(get("/"), "{host}", "", 1), []int{421}, []string{"sni_mismatch"}, nil},
	{"P17", "another host than the connection's", strings.Replace(get("/"), "{host}", "{other}", 1), []int{421}, []string{"sni_mismatch"}, nil},
	{"P18", "a path that servers read differently", get(`//a/../b/%2e%2e/%2f;a=b/%00\`), []int{200}, []string{passes}, []string{"GET //a/../b/%2e%2e/%2f;a=b/%00%5C HTTP/1.1"}},
	{"P18", "a path without its slash", get("admin"), []int{400}, nil, nil},
	{"P18", "a path with a control", get("/a\x7fb"), []int{400}, nil, nil},
	{"P18", "a path with a blank", get("/a b"), []int{400}, nil, nil},
	{"P18", "half of an escape", get("/%zz"), []int{400}, nil, nil},
	{"P19", "a fragment", get("/public#/../admin"), []int{400}, []string{"path"}, nil},
	{"P19", "a fragment in the query", get("/?a#b"), []int{400}, []string{"path"}, nil},
	{"P20", "a query that servers read differently", get("/?a;b=c&%zz&&=&x=%2F&a[]=1?"), []int{200}, []string{passes}, []string{"GET /?a;b=c&%zz&&=&x=%2F&a[]=1? HTTP/1.1"}},
	{"P20", "1,500 parameters", get("/?" + strings.Repeat("a=1&", 1500)), []int{200}, []string{passes}, []string{"GET /?" + strings.Repeat("a=1&", 1500) + " HTTP/1.1"}},
	{"P20", "10,000 parameters", get("/?" + strings.Repeat("a=1&", 10_000)), []int{414}, []string{"url_too_long"}, nil},
	{"P21", "our cookies among others", strings.Replace(get("/"), "{cookie}", "a=1; {cookie}; __host-SALLYPORT-link=x; b=\"2; c\"", 1), []int{200}, []string{passes}, []string{"GET / HTTP/1.1\nCookie: a=1; b=\"2; c\""}},
	{"P26", "a WebSocket that forges, as the tool gets it", get("/ws", slices.Concat(upgrades, []string{"X-Forwarded-User: root", "X_Forwarded_User: root", "X-Forwarded-For: 192.0.2.1", "Origin: https://{host}"})...), []int{200}, []string{passes}, []string{"GET /ws HTTP/1.1\nConnection: Upgrade\nOrigin: https://{host}\nSec-Websocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-Websocket-Version: 13\nUpgrade: websocket"}},
	{"P26", "a WebSocket of another page", get("/ws", slices.Concat(upgrades, []string{"Origin: https://{other}"})...), []int{403}, []string{"websocket_origin"}, nil},
	{"P26", "a WebSocket of two pages", get("/ws", slices.Concat(upgrades, []string{"Origin: https://{host}", "Origin: https://evil.example"})...), []int{403}, []string{"websocket_origin"}, nil},
	{"P26", "a WebSocket of nobody", strings.Replace(get("/ws", slices.Concat(upgrades, []string{"Origin: https://{host}", "X-Forwarded-User: root"})...), "Cookie: {cookie}", "A: b", 1), []int{401}, []string{"no_session"}, nil},
	{"P29", "our cookie twice", get("/", "Cookie: {cookie}"), []int{401}, []string{"two_cookies"}, nil},
	{"P29", "and another's before it", strings.Replace(get("/"), "{cookie}", "{othercookie}; {cookie}", 1), []int{401}, []string{"two_cookies"}, nil},
	{"P31", "the session of another tool", strings.Replace(get("/"), "{cookie}", "{othercookie}", 1), []int{401}, []string{"session_invalid"}, nil},
	{"P42", "what probes and operators ask for", strings.ReplaceAll(strings.Join([]string{
		get("/metrics", "User-Agent: GoogleHC/1.0"), get("/healthz", "User-Agent: kube-probe/1.29"), get("/readyz"), get("/debug/pprof/"), get("/ping"),
	}, ""), "Cookie: {cookie}\r\n", ""), []int{401, 401, 401, 401, 401}, []string{"no_session", "no_session", "no_session", "no_session", "no_session"}, nil},
}

// inwards are the versions of HTTP that a gateway speaks to sidecars. What reaches the
// application is the same, but for blanks between cookies, which HTTP/2 does not carry.
var inwards = map[string]func(*proxy.Config){"HTTP/1.1": nil, "HTTP/2": overHTTP2}

// TestAttacksInHTTP1 sends each of them to the gateway, and looks at the bytes that reach
// the application behind the sidecar.
func TestAttacksInHTTP1(t *testing.T) {
	for inward, change := range inwards {
		s := newStand(t, change)
		for _, a := range slices.Concat(framing, targets) {
			t.Run(a.row+" "+a.name+", "+inward+" inwards", func(t *testing.T) { s.attack(t, a) })
		}
	}
}

func (s *stand) attack(t *testing.T, a attack) {
	t.Helper()
	statuses := speak(t, s.addr, &tls.Config{RootCAs: s.ca.pool, ServerName: headersHost}, s.fill(a.send), len(a.statuses))
	if diff := cmp.Diff(a.statuses, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(a.reasons, s.reasons(len(a.reasons))); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
	var reached []string
	for _, want := range a.reached {
		reached = append(reached, s.fill(want))
	}
	if diff := cmp.Diff(reached, s.reached(headersHost)); diff != "" {
		t.Errorf("at the application (-want +got):\n%s", diff)
	}
}

// TestStrangersLeadNobodyAstray is rows P05, P33 and P35: what a stranger says of where
// they come from leads nobody anywhere else, no cache keeps what they get, and nothing
// that they write stands in the log as they wrote it.
func TestStrangersLeadNobodyAstray(t *testing.T) {
	s := newStand(t, func(cfg *proxy.Config) { cfg.QueryKeys = []string{"page"} })
	odd := []string{
		"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Port: 1", "Forwarded: host=evil.example", "X-Original-URL: https://evil.example/",
		"User-Agent: a\xe2\x80\xae\xff\xe2\x80\xa8b\"}", "Authorization: Bearer canary", "Cookie: a=canary", "Referer: https://canary.example/",
	}
	navigation := append(slices.Clone(odd), "Accept: text/html", "Sec-Fetch-Mode: navigate")
	tests := map[string]struct {
		request string
		status  int
	}{
		"who opens a page":      {get("/%0a%1b[2J%e2%80%ae?page=%0a1&token=canary", navigation...), 303},
		"a program":             {get("/%0a?token=canary", odd...), 401},
		"who opens no tool":     {strings.Replace(get("/", navigation...), "{host}", "127.0.0.1", 1), 421},
		"who asks what nobody":  {get("/.sallyport/unknown", navigation...), 404},
		"who does what nobody":  {"TRACE" + strings.TrimPrefix(get("/", navigation...), "GET"), 405},
		"who forges a session":  {get("/", append(navigation, "Cookie: __Host-sallyport=canary")...), 303},
		"who shows two of them": {get("/", append(navigation, "Cookie: __Host-sallyport=canary; __Host-sallyport=canary")...), 303},
	}
	for name, test := range tests {
		request := strings.Replace(test.request, "Cookie: {cookie}\r\n", "", 1)
		res := s.raw(s.fill(request))
		if res.StatusCode != test.status || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Vary") != "Cookie" {
			t.Errorf("%s: %d %v", name, res.StatusCode, res.Header)
		}
		body, err := io.ReadAll(res.Body)
		if text := fmt.Sprint(res.Header, string(body)); err != nil || strings.Contains(text, "evil") || strings.Contains(text, "canary") {
			t.Errorf("%s: %v, %s", name, err, text)
		}
		if location := res.Header.Get("Location"); test.status == http.StatusSeeOther && !strings.HasPrefix(location, s.origin(doorHost)+"/") {
			t.Errorf("%s is sent to %q", name, location)
		}
	}
	s.records(s.said + len(tests))
	if text := s.log.text(); strings.Contains(text, "canary") || strings.ContainsFunc(text, func(c rune) bool { return c != '\n' && !unicode.IsPrint(c) }) {
		t.Errorf("log %q", text)
	}
	if got := s.tool.next(); len(got) > 0 {
		t.Errorf("at the application: %q", got)
	}
}
