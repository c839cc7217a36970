package proxy_test

import (
	"cmp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// framed is what somebody who is signed in sends in frames, and what becomes of it: in
// HTTP/3 the same, unless third says otherwise.
type framed struct {
	row, name string
	message   message
	second    outcome  // its beginning
	third     outcome  // "" for the same, "-" for a row of its own
	reached   []string // where it is answered 200
}

// framedAttacks are the rows that have a form of their own where requests come in frames.
func framedAttacks(s *stand) []framed {
	get := func(path string, more ...[2]string) message {
		return message{header: s.asked(headersHost, "GET", path, more...)}
	}
	with := func(change func(fields) fields) message {
		return message{header: change(s.asked(headersHost, "GET", "/"))}
	}
	set := func(name, value string) message {
		return with(func(list fields) fields {
			for i := range list {
				if list[i][0] == name {
					list[i][1] = value
				}
			}
			return list
		})
	}
	without := func(name string) message {
		return with(func(list fields) fields {
			var kept fields
			for _, f := range list {
				if f[0] != name {
					kept = append(kept, f)
				}
			}
			return kept
		})
	}
	passed := []string{"GET / HTTP/1.1"}
	return []framed{
		{"P08", "a length that is not the body's", message{header: s.asked(headersHost, "POST", "/", [2]string{"content-length", "9"}), body: "hello"}, "400", "", nil},
		{"P08", "less of a length than the body", message{header: s.asked(headersHost, "POST", "/", [2]string{"content-length", "1"}), body: "hello"}, "refused", "-", nil},
		{"P08", "an encoding", get("/", [2]string{"transfer-encoding", "chunked"}), "400", "refused", nil},
		{"P08", "CR and LF in a value", get("/", [2]string{"x-odd", "a\r\nx-forwarded-user: root"}), "refused", "", nil},
		{"P08", "NUL in a value", get("/", [2]string{"x-odd", "a\x00b"}), "refused", "", nil},
		{"P08", "a colon in a name", get("/", [2]string{"x-odd: a\r\nx-forwarded-user", "root"}), "refused", "", nil},
		{"P08", "a blank in a name", get("/", [2]string{"x-forwarded-user ", "root"}), "refused", "", nil},
		{"P08", "a name in upper case", get("/", [2]string{"X-Forwarded-User", "root"}), "refused", "", nil},
		{"P08", "no name", get("/", [2]string{"", "root"}), "refused", "", nil},
		{"P08", "another host beside the authority", get("/", [2]string{"host", "evil.example"}), "200", "refused", passed},
		{"P08", "a host in place of the authority", with(func(list fields) fields {
			list[2][0] = "host"
			return append(fields{list[0], list[1], list[3]}, append(fields{list[2]}, list[4:]...)...)
		}), "200", "", passed},
		{"P08", "no authority", without(":authority"), "421", "refused", nil},
		{"P08", "two paths", get("/", [2]string{":path", "/admin"}), "refused", "", nil},
		{"P08", "a pseudo-header behind the others", with(func(list fields) fields { return append(list[1:], list[0]) }), "refused", "", nil},
		{"P08", "a pseudo-header that nobody knows", with(func(list fields) fields { return append(fields{{":user", "root"}}, list...) }), "refused", "", nil},
		{"P08", "a pseudo-header of answers", with(func(list fields) fields { return append(fields{{":status", "200"}}, list...) }), "refused", "", nil},
		{"P08", "no method", without(":method"), "refused", "", nil},
		{"P08", "no path", without(":path"), "refused", "", nil},
		{"P08", "no scheme", without(":scheme"), "refused", "200", passed},
		{"P09", "a method that is a request", set(":method", "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"), "refused", "", nil},
		{"P09", "a method in lower case", set(":method", "get"), "405", "", nil},
		{"P10", "trailers", message{header: s.asked(headersHost, "POST", "/", [2]string{"trailer", "x-forwarded-user"}), body: "a", trailer: fields{{"x-forwarded-user", "root"}, {"x_forwarded_user", "root"}}}, "200", "", []string{"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n1\r\na\r\n0\r\n\r\n"}},
		{"P10", "a pseudo-header among the trailers", message{header: s.asked(headersHost, "POST", "/"), body: "a", trailer: fields{{":path", "/admin"}}}, "refused", "400", nil},
		{"P10", "a trailer that frames", message{header: s.asked(headersHost, "POST", "/"), body: "a", trailer: fields{{"content-length", "9"}}}, "200", "400", []string{"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n1\r\na\r\n0\r\n\r\n"}},
		{"P11", "connection", get("/", [2]string{"connection", "x-forwarded-user"}), "400", "refused", nil},
		{"P11", "upgrade", get("/", [2]string{"upgrade", "h2c"}), "400", "refused", nil},
		{"P11", "settings of HTTP/2", get("/", [2]string{"http2-settings", "AAMAAABkAAQAAP__"}), "200", "", passed},
		{"P11", "te", get("/", [2]string{"te", "gzip"}), "400", "refused", nil},
		{"P13", "CONNECT", message{header: fields{{":method", "CONNECT"}, {":authority", "127.0.0.1:22"}}}, "405", "", nil},
		{"P13", "CONNECT with a path", set(":method", "CONNECT"), "refused", "", nil},
		{"P13", "TRACE", set(":method", "TRACE"), "405", "", nil},
		{"P14", "OPTIONS for the whole server", message{header: s.asked(headersHost, "OPTIONS", "*")}, "400", "", nil},
		{"P15", "an address for a path", set(":path", "https://evil.example/"), "400", "refused", nil},
		{"P15", "a scheme in the clear", set(":scheme", "http"), "200", "", passed},
		{"P16", "somebody at the authority", set(":authority", "root@"+headersHost), "refused", "", nil},
		{"P16", "a path in the authority", set(":authority", headersHost+"/x"), "421", "", nil},
		{"P17", "another authority than the connection's", set(":authority", notesHost), "421", "", nil},
		{"P18", "a path that servers read differently", get(`//a/../b/%2e%2e/%2f;a=b/%00\`), "200", "", []string{`GET //a/../b/%2e%2e/%2f;a=b/%00%5C HTTP/1.1`}},
		{"P18", "a path without its slash", get("admin"), "refused", "", nil},
		{"P18", "CR and LF in a path", get("/a\r\nX-Forwarded-User: root"), "refused", "", nil},
		{"P18", "a blank in a path", get("/a HTTP/1.1\r\n"), "refused", "", nil},
		{"P18", "an empty path", get(""), "refused", "", nil},
		{"P19", "a fragment", get("/public#/../admin"), "400", "", nil},
		{"P28", "a WebSocket in a stream", message{header: append(fields{{":protocol", "websocket"}}, s.asked(headersHost, "CONNECT", "/ws")...)}, "refused", "405", nil},
		{"P29", "our cookie twice", get("/", [2]string{"cookie", s.cookies[headersHost]}), "401", "", nil},
		{"P31", "the session of another tool", with(func(list fields) fields { return append(list[:4], [2]string{"cookie", s.cookies[notesHost]}) }), "401", "", nil},
	}
}

// TestAttacksInFrames sends each of them in HTTP/2 and HTTP/3, and looks at the bytes
// that reach the application behind the sidecar.
func TestAttacksInFrames(t *testing.T) {
	for inward, change := range inwards {
		s := newStand(t, change)
		front := s.serve3(nil)
		for _, a := range framedAttacks(s) {
			t.Run(a.row+" "+a.name+" in HTTP/2, "+inward+" inwards", func(t *testing.T) {
				s.framed(t, a, a.second, frames2(t, s, headersHost, a.message))
			})
			if a.third == "-" {
				continue
			}
			t.Run(a.row+" "+a.name+" in HTTP/3, "+inward+" inwards", func(t *testing.T) {
				s.framed(t, a, cmp.Or(a.third, a.second), frames3(t, s, front, headersHost, a.message))
			})
		}
	}
}

// framed holds what became of an attack to what is wanted.
func (s *stand) framed(t *testing.T, a framed, want, got outcome) {
	t.Helper()
	if !strings.HasPrefix(string(got), string(want)) {
		t.Errorf("%s, want %s", got, want)
	}
	var reached []string
	if want == "200" {
		reached = a.reached
	}
	if diff := gocmp.Diff(reached, s.reached(headersHost)); diff != "" {
		t.Errorf("at the application (-want +got):\n%s", diff)
	}
}

// TestHTTP3EndsABodyWithItsLength is row P08 where quic-go differs: what is more than the
// length ends the stream, and is nobody's request.
func TestHTTP3EndsABodyWithItsLength(t *testing.T) {
	s := newStand(t, nil)
	long := message{header: s.asked(headersHost, "POST", "/", [2]string{"content-length", "1"}), body: "hello"}
	if got := frames3(t, s, s.serve3(nil), headersHost, long); !got.refused() {
		t.Errorf("outcome %s", got)
	}
	for _, got := range s.reached(headersHost) {
		if got != "POST / HTTP/1.1\nContent-Length: 1\n\nh" {
			t.Errorf("at the application: %q", got)
		}
	}
}
