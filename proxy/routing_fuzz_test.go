package proxy_test

import (
	"bufio"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
)

// FuzzNormalHost shows that a route is found under names alone that differ from what
// somebody wrote in case, port, or one dot at the end.
func FuzzNormalHost(f *testing.F) {
	for _, host := range []string{"a.example.com", "A.Example.COM.:8443", "x.apps.example.com", "[::1]:80", "a.example.com..", "a:b", "\u212a.apps.example.com", ""} {
		f.Add(host)
	}
	g, err := proxy.New(proxy.Config{DoorHost: doorHost, PublicPort: 443, IdPs: []proxy.IdP{{Name: "corp", SAML: new(scriptedSAML)}}, Routes: []proxy.Route{
		{Name: "exact", Host: "a.example.com", Respond: &proxy.Respond{Status: 503}},
		{Name: "wild", Host: "*.apps.example.com", Respond: &proxy.Respond{Status: 503}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	written := regexp.MustCompile(`^([aA]|[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.[aA][pP][pP][sS])\.[eE][xX][aA][mM][pP][lL][eE]\.[cC][oO][mM]\.?(:[0-9]{1,5})?$`)
	f.Fuzz(func(t *testing.T, host string) {
		name, ok := proxy.NormalHost(host)
		if again, same := proxy.NormalHost(name); ok && (again != strings.TrimSuffix(name, ".") || !same) {
			t.Errorf("%q becomes %q, and that %q", host, name, again)
		}
		route, _ := proxy.RouteOf(g, name, "GET", "/")
		if found := ok && route != ""; found != written.MatchString(host) {
			t.Errorf("%q is found as route %q under the name %q", host, route, name)
		}
	})
}

// FuzzPathJudge shows of every target that Go's server takes, and that is not refused:
// what was judged is what is sent, to the byte; no server that decodes, resolves or
// folds the path comes to another; and so a rule covers it to them if it does to us.
func FuzzPathJudge(f *testing.F) {
	for _, target := range []string{"/", "/a/b?c", "/admin/%2e%2e/x", "/%61dmin", "/a//b", "/a;b", `/a\b`, "/a%2Fb|c", "/caf%C3%A9/%7C|", "/...", "/a/.", "/%c0%af", "/a%", "https://h/x/../y"} {
		f.Add(target, "/admin")
	}
	plain := regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
	f.Fuzz(func(t *testing.T, target, prefix string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n")))
		if err != nil || r.URL.Path == "" || r.URL.Path[0] != '/' || strings.Contains(r.RequestURI, "#") {
			return // refused before
		}
		judged, ok := proxy.JudgedPath(r.URL)
		if sent := proxy.SentPath(r, "/"); sent != judged {
			t.Fatalf("%q: judged %q, sent %q", target, judged, sent)
		}
		if !ok {
			return
		}
		decoded, err := url.PathUnescape(judged)
		if err != nil || decoded != r.URL.Path {
			t.Fatalf("%q: judged %q, which is %q (%v), expected %q", target, judged, decoded, err, r.URL.Path)
		}
		if cleaned := path.Clean(decoded); cleaned != decoded && cleaned+"/" != decoded || strings.ContainsAny(decoded, "\\;\x00") {
			t.Errorf("%q: a server may read %q as %q", target, decoded, cleaned)
		}
		if !plain.MatchString(prefix) || path.Clean(prefix) != prefix {
			return
		}
		if policy.Under(judged, prefix) != policy.Under(decoded, prefix) {
			t.Errorf("%q lies under %q to the one and not to the other", target, prefix)
		}
		if sent := proxy.SentPath(r, prefix); policy.Under(judged, prefix) && sent != judged[len(prefix):] && judged != prefix {
			t.Errorf("%q without %q is sent as %q", judged, prefix, sent)
		}
	})
}

func TestRoutingAllocatesNothing(t *testing.T) {
	w := ruledWorld(t, nil)
	u := &url.URL{Path: "/admin/users/with a blank/1", RawPath: ""}
	plain := &url.URL{Path: "/api/dashboards/uid/abc123"}
	if n := testing.AllocsPerRun(100, func() {
		host, _ := proxy.NormalHost(headersHost + ".:8443")
		path, _ := proxy.JudgedPath(plain)
		if route, _ := proxy.RouteOf(w.gateway, host, http.MethodGet, path); route != "headers" {
			t.Fatal(route)
		}
	}); n != 0 {
		t.Errorf("%v allocations to find a route", n)
	}
	if path, ok := proxy.JudgedPath(u); !ok || path != "/admin/users/with%20a%20blank/1" {
		t.Errorf("judged %q, %v", path, ok)
	}
}
