package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// within is what somebody who has the gateway's certificate sends to a sidecar.
type within struct {
	row, name string
	send      string
	statuses  []int
	reached   []string // the application: request line, header lines sorted, body
}

// told1 is a request as a gateway sends it, with further lines.
func told1(target string, lines ...string) string {
	return strings.Join(append([]string{"GET " + target + " HTTP/1.1", "Host: a", "X-Forwarded-User: alice"}, lines...), "\r\n") + "\r\n\r\n"
}

const (
	arrives = "GET / HTTP/1.1\nHost: a\nX-Forwarded-User: alice"
	behind  = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
)

var withinAttacks = []within{
	{"P01", "two people", told1("/", "x-forwarded-user: root"), []int{400}, nil},
	{"P01", "nobody, and somebody", strings.Replace(told1("/"), "X-Forwarded-User: alice", "X-Forwarded-User:\r\nX-Forwarded-User: root", 1), []int{400}, nil},
	{"P02", "other spellings", told1("/", "X_Forwarded_User: root", "X.Forwarded.User: root", "X~Forwarded~User: root", "X-Forwarded_Email: root", "x-forwarded.groups: root"), []int{200}, []string{arrives}},
	{"P03", "hop by hop", told1("/", "Connection: close, X-Forwarded-User", "Connection: x-forwarded-user"), []int{200}, []string{arrives}},
	{"P04", "other headers of identity", told1("/", "Remote-User: root", "X-WEBAUTH-USER: root", "X-Auth-Request-User: root", "X-SSL-Client-Verify: SUCCESS", "Client-Cert: x", "X-Client-Cert: x"), []int{200}, []string{arrives}},
	{"P04", "a list of names that no route sets", told1("/", "X-Sallyport-Set: Cookie", "Cookie: a=1"), []int{400}, nil},
	{"P05", "where it comes from, twice", told1("/", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 192.0.2.1"), []int{400}, nil},
	{"P06", "what is asked for", told1("/", "X-Original-URL: /admin", "X-Rewrite-URL: /admin", "X-HTTP-Method-Override: DELETE", "X-Forwarded-Uri: /admin", "X-Real-IP: 127.0.0.1"), []int{200}, []string{arrives}},
	{"P07", "length and chunks: the chunks count", "POST" + strings.TrimPrefix(told1("/", "Content-Length: 4", "Transfer-Encoding: chunked"), "GET") + "0\r\n\r\n" + behind, []int{200, 200}, []string{"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nX-Forwarded-User: alice\n\n0\r\n\r\n", "GET /smuggled HTTP/1.1\nHost: a"}},
	{"P08", "two lengths", told1("/", "Content-Length: 1", "Content-Length: 2") + "ab", []int{400}, nil},
	{"P08", "an encoding that nobody knows", told1("/", "Transfer-Encoding: xchunked") + behind, []int{501}, nil},
	{"P08", "a bare line feed after a chunk's size", "POST" + strings.TrimPrefix(told1("/", "Transfer-Encoding: chunked"), "GET") + "0\n\r\n" + behind, []int{502}, nil},
	{"P08", "a blank before the colon", told1("/", "X-Forwarded-User : root"), []int{400}, nil},
	{"P08", "a bare CR in a value", told1("/", "X-Odd: a\rX-Forwarded-User: root"), []int{400}, nil},
	{"P09", "a folded line", told1("/", "X-Odd: a\r\n X-Forwarded-User: root"), []int{200}, []string{"GET / HTTP/1.1\nHost: a\nX-Forwarded-User: alice\nX-Odd: a X-Forwarded-User: root"}},
	{"P10", "trailers", "POST" + strings.TrimPrefix(told1("/", "Transfer-Encoding: chunked", "Trailer: X-Forwarded-Email"), "GET") + "0\r\nX-Forwarded-Email: root\r\nX_Forwarded_User: root\r\n\r\n", []int{200}, []string{"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nX-Forwarded-User: alice\n\n0\r\n\r\n"}},
	{"P11", "an upgrade to HTTP/2", told1("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), []int{200}, []string{arrives}},
	{"P12", "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{405}, nil},
	{"P13", "CONNECT", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\nX-Forwarded-User: alice\r\n\r\n", []int{405}, nil},
	{"P13", "CONNECT with a path", "CONNECT" + strings.TrimPrefix(told1("/admin"), "GET"), []int{405}, nil},
	{"P13", "TRACE", "TRACE" + strings.TrimPrefix(told1("/"), "GET"), []int{405}, nil},
	{"P13", "a method in lower case", "get" + strings.TrimPrefix(told1("/"), "GET"), []int{405}, nil},
	{"P14", "OPTIONS for the whole server", "OPTIONS" + strings.TrimPrefix(told1("*"), "GET"), []int{400}, nil},
	{"P15", "a target without slashes", told1("https:a"), []int{400}, nil},
	{"P18", "a path that servers read differently", told1(`//a/../b/%2e%2e/%2f;a=b/%00\`), []int{200}, []string{`GET //a/../b/%2e%2e/%2f;a=b/%00%5C HTTP/1.1` + "\nHost: a\nX-Forwarded-User: alice"}},
	{"P19", "a fragment", told1("/public#/../admin"), []int{400}, nil},
	{"P20", "a query", told1("/?a;b=c&%zz&&x=%2F"), []int{200}, []string{"GET /?a;b=c&%zz&&x=%2F HTTP/1.1\nHost: a\nX-Forwarded-User: alice"}},
}

// TestAttacksFromWithin sends each of them straight to the sidecar, with the gateway's
// certificate: whoever has that may say who somebody is, and nothing in two ways.
func TestAttacksFromWithin(t *testing.T) {
	s := newStand(t, nil)
	for _, a := range withinAttacks {
		t.Run(a.row+" "+a.name, func(t *testing.T) {
			statuses := speak(t, s.sidecar, s.asGateway, a.send, len(a.statuses))
			if diff := cmp.Diff(a.statuses, statuses); diff != "" {
				t.Errorf("statuses (-want +got):\n%s", diff)
			}
			var reached []string
			for _, request := range s.tool.next() {
				if !strings.HasPrefix(request, brokenOff) {
					reached = append(reached, sorted(request))
				}
			}
			if diff := cmp.Diff(a.reached, reached); diff != "" {
				t.Errorf("at the application (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFramesFromWithin sends the sidecar what has a form of its own in HTTP/2.
func TestFramesFromWithin(t *testing.T) {
	s := newStand(t, nil)
	config := s.asGateway.Clone()
	config.NextProtos = []string{"h2"}
	asked := func(method, path string, more ...[2]string) fields {
		return append(fields{{":method", method}, {":scheme", "https"}, {":authority", "a"}, {":path", path}, {"x-forwarded-user", "alice"}}, more...)
	}
	for _, test := range []struct {
		row, name string
		message   message
		outcome   outcome
		reached   []string
	}{
		{"P01", "two people", message{header: asked("GET", "/", [2]string{"x-forwarded-user", "root"})}, "400", nil},
		{"P02", "other spellings", message{header: asked("GET", "/", [2]string{"x_forwarded_user", "root"}, [2]string{"x.forwarded.user", "root"})}, "200", []string{arrives}},
		{"P03", "hop by hop", message{header: asked("GET", "/", [2]string{"connection", "x-forwarded-user"})}, "400", nil},
		{"P08", "an encoding", message{header: asked("GET", "/", [2]string{"transfer-encoding", "chunked"})}, "400", nil},
		{"P08", "CR and LF in a value", message{header: asked("GET", "/", [2]string{"x-odd", "a\r\nx-forwarded-email: root"})}, "refused", nil},
		{"P10", "trailers", message{header: asked("POST", "/"), body: "a", trailer: fields{{"x-forwarded-email", "root"}}}, "200", []string{"POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nX-Forwarded-User: alice\n\n1\r\na\r\n0\r\n\r\n"}},
		{"P13", "CONNECT", message{header: fields{{":method", "CONNECT"}, {":authority", "127.0.0.1:22"}}}, "405", nil},
		{"P15", "an address for a path", message{header: asked("GET", "https://evil.example/")}, "400", nil},
		{"P19", "a fragment", message{header: asked("GET", "/public#/../admin")}, "400", nil},
		{"P28", "a WebSocket in a stream", message{header: append(fields{{":protocol", "websocket"}}, asked("CONNECT", "/ws")...)}, "refused", nil},
	} {
		t.Run(test.row+" "+test.name, func(t *testing.T) {
			if got := framesOver(t, s.sidecar, config, test.message); !strings.HasPrefix(string(got), string(test.outcome)) {
				t.Errorf("%s, want %s", got, test.outcome)
			}
			var reached []string
			for _, request := range s.tool.next() {
				reached = append(reached, sorted(request))
			}
			if diff := cmp.Diff(test.reached, reached); diff != "" {
				t.Errorf("at the application (-want +got):\n%s", diff)
			}
		})
	}
}

// sorted is a request with its header lines in order.
func sorted(request string) string {
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	slices.Sort(lines[1:])
	short := strings.Join(lines, "\n")
	if body != "" {
		short += "\n\n" + body
	}
	return short
}

// TestNobodyElseSpeaksToTheSidecar is what the table before takes for granted.
func TestNobodyElseSpeaksToTheSidecar(t *testing.T) {
	s := newStand(t, nil)
	stranger := s.asGateway.Clone()
	stranger.Certificates = nil
	other := s.asGateway.Clone()
	other.Certificates = []tls.Certificate{s.ca.issue(x509.ExtKeyUsageClientAuth, "gateway.test")} // of another authority
	for name, config := range map[string]*tls.Config{"nobody": stranger, "a namesake": other} {
		conn, err := tls.Dial("tcp", s.sidecar, config)
		if err == nil {
			_, _ = conn.Write([]byte(told1("/")))
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if err == nil || len(s.tool.next()) > 0 {
			t.Errorf("%s is answered", name)
		}
	}
}
