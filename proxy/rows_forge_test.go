package proxy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNoFieldForgesIdentity sends in frames what TestNoRequestForgesIdentity sends in
// lines: rows P01 to P06 of docs/proxy-attacks.md.
func TestNoFieldForgesIdentity(t *testing.T) {
	s := newStand(t, nil)
	front := s.serve3(nil)
	malformed := map[string]bool{"a blank before the colon": true, "a folded line": true} // as names
	for name, forgery := range forgeries {
		header, trailer := linesOf(forgery)
		for _, host := range []string{headersHost, notesHost, openHost} {
			m := message{header: s.asked(host, "POST", "/", header...), body: "a", trailer: trailer}
			for version, got := range map[string]outcome{"2": frames2(t, s, host, m), "3": frames3(t, s, front, host, m)} {
				if got != "200" && (!got.refused() || !malformed[name]) {
					t.Errorf("%s at %s in HTTP/%s: %s", name, host, version, got)
				}
			}
			s.unforged(t, name)
		}
	}
}

// unforged holds what has reached the application to what the gateway tells of alice at
// the host that it is for. A request that was refused in its midst may come late.
func (s *stand) unforged(t *testing.T, name string) {
	t.Helper()
	for _, request := range s.tool.next() {
		if !strings.Contains(request, "\r\n\r\n") {
			continue // not even its header is whole
		}
		_, after, _ := strings.Cut(request, "\r\nHost: ")
		host, _, _ := strings.Cut(after, ":")
		if diff := cmp.Diff(s.expected(host), s.told(request)); diff != "" {
			t.Errorf("%s at %s (-want +got):\n%s", name, host, diff)
		}
	}
}

// FuzzNoFieldForgesIdentity holds the same for any fields and trailers of HTTP/2: no
// request makes a name that is the gateway's reach an application with a value that it
// has not set.
func FuzzNoFieldForgesIdentity(f *testing.F) {
	s := newStand(f, nil)
	for _, forgery := range forgeries {
		header, trailer, _ := strings.Cut(forgery, "\r\n\r\n")
		f.Add(strings.ToLower(header), trailer)
	}
	f.Add(":path:/admin\nhost:evil.example\ncookie:__Host-sallyport=x", ":status:200\nx-forwarded-user:root")
	f.Fuzz(func(t *testing.T, header, trailer string) {
		if len(header)+len(trailer) > 4096 {
			return
		}
		for _, host := range []string{headersHost, notesHost} {
			m := message{header: s.asked(host, "POST", "/", anyFields(header)...), body: "a", trailer: anyFields(trailer)}
			_ = frames2(t, s, host, m)
			s.unforged(t, "any")
		}
	})
}

// anyFields takes lines for fields, with whatever they hold. What a server would wait for
// is left out.
func anyFields(text string) (list fields) {
	for line := range strings.SplitSeq(text, "\n") {
		at := strings.LastIndexByte(line[:min(len(line), 80)], ':') // a pseudo-header begins with one, too
		if at < 0 || strings.EqualFold(line[:at], "expect") || strings.EqualFold(line[:at], "content-length") {
			continue
		}
		list = append(list, [2]string{line[:at], line[at+1:]})
	}
	return list
}
