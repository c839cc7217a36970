package proxy

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const toolOrigin = "https://tool.example.test:8443"

// toolPlace is where the tool is, for browsers.
func toolPlace() *place {
	return &place{Host: "tool.example.test", origin: toolOrigin, authority: "tool.example.test:8443"}
}

func answersOf(t *testing.T, spec Answers) *answers {
	t.Helper()
	a, err := newAnswers(spec, []*url.URL{{Scheme: "https", Host: "tool-sidecar:8443"}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLocationsOfTheToolItselfBecomePublic(t *testing.T) {
	plain := answersOf(t, Answers{Origins: []string{"http://tool.internal:3000", "https://Old.Example.test"}})
	behind := answersOf(t, Answers{Prefix: "/wiki"})
	tests := []struct {
		name, in, out string
		of            *answers
	}{
		{"a path", "/login?next=%2Fa", "/login?next=%2Fa", plain},
		{"the sidecar's address", "https://tool-sidecar:8443/a%2Fb?c=d#e", toolOrigin + "/a%2Fb?c=d#e", plain},
		{"the public host in the clear", "http://tool.example.test/a", toolOrigin + "/a", plain},
		{"the public host and port in the clear", "http://TOOL.example.test:8443/a", toolOrigin + "/a", plain},
		{"a listed origin", "http://tool.internal:3000", toolOrigin, plain},
		{"a listed origin without its port", "https://old.example.test?a", toolOrigin + "?a", plain},
		{"without a scheme", "//old.example.test/a", toolOrigin + "/a", plain},
		{"a listed host at another port", "http://tool.internal:3001/", "http://tool.internal:3001/", plain},
		{"another site", "https://evil.example/", "https://evil.example/", plain},
		{"a site that begins the same", "http://tool.internal:3000.evil.example/", "http://tool.internal:3000.evil.example/", plain},
		{"a name before the host", "http://tool.internal:3000@evil.example/", "http://tool.internal:3000@evil.example/", plain},
		{"a user at our host", "http://a:b@tool.internal:3000/", "http://a:b@tool.internal:3000/", plain},
		{"the public origin itself", toolOrigin + "/a", toolOrigin + "/a", plain},
		{"no address", "http://[::1", "http://[::1", plain},
		{"a path behind a prefix", "/login", "/wiki/login", behind},
		{"a path that has the prefix", "/wiki/login", "/wiki/login", behind},
		{"the prefix itself", "/wiki?a", "/wiki?a", behind},
		{"a path that begins like the prefix", "/wikis", "/wiki/wikis", behind},
		{"a relative path behind a prefix", "login", "login", behind},
		{"the sidecar's address behind a prefix", "https://tool-sidecar:8443", toolOrigin + "/wiki/", behind},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Location": {test.in}, "Content-Location": {test.in}, "Refresh": {"5; URL=" + test.in}}
			test.of.relocate(h, toolPlace())
			want := http.Header{"Location": {test.out}, "Content-Location": {test.out}, "Refresh": {"5; URL=" + test.out}}
			if diff := cmp.Diff(want, h); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCookiesOfAToolStayAtItsHost(t *testing.T) {
	strict, loose, behind := answersOf(t, Answers{}), answersOf(t, Answers{UnsafeCookieDomain: true}), answersOf(t, Answers{Prefix: "/wiki"})
	tests := []struct {
		name, in, out string
		of            *answers
	}{
		{"its own", "a=b; Path=/; HttpOnly", "a=b; Path=/; HttpOnly", strict},
		{"for the whole domain", "a=b; Domain=example.test; Path=/", "a=b; Path=/", strict},
		{"in capitals, with blanks, twice", "a=b;\tDOMAIN =.example.test ;Secure; domain=test", "a=b;Secure", strict},
		{"with controls around the name", "a=b; \x0bDomain\x0c=example.test; Secure", "a=b; Secure", strict},
		{"without a value", "a=b; Domain; Secure", "a=b; Secure", strict},
		{"a value that is called so", "domain=example.test; Secure", "domain=example.test; Secure", strict},
		{"as the operator allows", "a=b; Domain=example.test", "a=b; Domain=example.test", loose},
		{"behind a prefix", "a=b; path=/admin/", "a=b; Path=/wiki/admin", behind},
		{"with the prefix", "a=b; Path=/wiki/admin", "a=b; Path=/wiki/admin", behind},
		{"at the root behind a prefix", "a=b; Path=/; Secure", "a=b; Path=/wiki; Secure", behind},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Set-Cookie": {"first=1", test.in}}
			test.of.confine(h)
			if diff := cmp.Diff(http.Header{"Set-Cookie": {"first=1", test.out}}, h); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSecurityHeaders(t *testing.T) {
	defaults := map[string]string{
		"Strict-Transport-Security": "max-age=31536000", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "strict-origin-when-cross-origin",
	}
	with := func(changes ...string) http.Header {
		h := http.Header{}
		for name, value := range defaults {
			h.Set(name, value)
		}
		for i := 0; i < len(changes); i += 2 {
			h.Del(changes[i])
			if changes[i+1] != "" {
				h.Set(changes[i], changes[i+1])
			}
		}
		return h
	}
	tests := []struct {
		name     string
		spec     Answers
		in, want http.Header
	}{
		{"a tool that says nothing", Answers{}, http.Header{}, with()},
		{"a tool that says all itself", Answers{}, with("Strict-Transport-Security", "max-age=60", "X-Frame-Options", "DENY", "Referrer-Policy", "no-referrer"),
			with("Strict-Transport-Security", "max-age=60", "X-Frame-Options", "DENY", "Referrer-Policy", "no-referrer")},
		{"a tool that switches TLS off", Answers{}, http.Header{"Strict-Transport-Security": {"includeSubDomains; MAX-AGE = \"0\""}}, with()},
		{"a policy about frames", Answers{}, http.Header{"Content-Security-Policy": {"Frame-Ancestors https://a.example"}},
			with("X-Frame-Options", "", "Content-Security-Policy", "Frame-Ancestors https://a.example")},
		{"a policy about something else", Answers{}, http.Header{"Content-Security-Policy": {"default-src 'self'"}}, with("Content-Security-Policy", "default-src 'self'")},
		{"frames are the tool's affair", Answers{Frames: FramesTool}, http.Header{}, with("X-Frame-Options", "")},
		{"no frames at all", Answers{Frames: FramesNobody}, http.Header{"X-Frame-Options": {"SAMEORIGIN"}},
			with("X-Frame-Options", "", "Content-Security-Policy", "frame-ancestors 'none'")},
		{"set and removed", Answers{Set: []HeaderLine{{"permissions-policy", "camera=()"}, {"Referrer-Policy", "no-referrer"}}, Remove: []string{"server", "X-Content-Type-Options"}},
			http.Header{"Server": {"old/1.0"}, "Permissions-Policy": {"camera=*"}},
			with("Permissions-Policy", "camera=()", "Referrer-Policy", "no-referrer", "X-Content-Type-Options", "")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answersOf(t, test.spec).protect(test.in)
			if diff := cmp.Diff(test.want, test.in); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for name := range defaults {
		if !strings.EqualFold(defaults[name], with().Get(name)) {
			t.Errorf("%s was changed for all answers", name)
		}
	}
}

func TestFrameOriginsReplaceWhatTheToolSays(t *testing.T) {
	h := http.Header{
		"X-Frame-Options":         {"DENY"},
		"Content-Security-Policy": {"default-src 'self'; frame-ancestors 'none', script-src 'self'", "frame-ancestors *"},
	}
	answersOf(t, Answers{FrameOrigins: []string{"https://wiki.example.test"}}).protect(h)
	want := []string{"default-src 'self'", "script-src 'self'", "frame-ancestors 'self' https://wiki.example.test"}
	if diff := cmp.Diff(want, h["Content-Security-Policy"]); diff != "" || h["X-Frame-Options"] != nil {
		t.Errorf("X-Frame-Options %v, policy (-want +got):\n%s", h["X-Frame-Options"], diff)
	}
}

func TestHeadersThatCannotBeSet(t *testing.T) {
	for _, name := range []string{
		"Set-Cookie", "content-length", "Transfer-Encoding", "Connection", "Trailer", "X-Forwarded-User", "X_Forwarded_User",
		"X-Sallyport-Fault", "Location", "Alt-Svc", "Clear-Site-Data", "", "a b", "a:b", "a\r\nb",
	} {
		if _, err := newAnswers(Answers{Set: []HeaderLine{{name, "x"}}}, []*url.URL{{Host: "a:1"}}); err == nil {
			t.Errorf("%q can be set", name)
		}
		if _, err := newAnswers(Answers{Remove: []string{name}}, []*url.URL{{Host: "a:1"}}); err == nil {
			t.Errorf("%q can be removed", name)
		}
	}
	if _, err := newAnswers(Answers{Set: []HeaderLine{{"X-A", "b\r\nSet-Cookie: c"}}}, []*url.URL{{Host: "a:1"}}); err == nil {
		t.Error("a value can hold another header")
	}
}

func TestConnectionsAreNobodys(t *testing.T) {
	h := http.Header{"Www-Authenticate": {"NTLM", "negotiate abc", `Basic realm="a"`, "Negotiate"}}
	cleanseAnswer(h)
	if diff := cmp.Diff(http.Header{"Www-Authenticate": {`Basic realm="a"`}}, h); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// FuzzConfine: whatever a tool writes, no attribute that some browser takes for Domain
// is left.
func FuzzConfine(f *testing.F) {
	f.Add("a=b; Domain=example.test; Path=/")
	f.Add("a=b;;;DOMAIN\t=x;domain")
	a, err := newAnswers(Answers{}, []*url.URL{{Host: "a:1"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line string) {
		out := a.confined(line)
		for _, attribute := range strings.Split(out, ";")[1:] {
			name, _, _ := strings.Cut(attribute, "=")
			if strings.EqualFold(strings.TrimSpace(name), "domain") {
				t.Fatalf("%q became %q", line, out)
			}
		}
		if before, _, _ := strings.Cut(line, ";"); !strings.HasPrefix(out, before) {
			t.Fatalf("%q became %q", line, out)
		}
	})
}
