package relay

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func FuzzKeepEscapes(f *testing.F) {
	f.Add("/a|b%2Fc")
	f.Add("/%2e%2E//;[]{}^")
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Path == "" {
			return
		}
		path, escaped := u.Path, strings.Count(strings.ToUpper(u.RawPath), "%2F")
		keepEscapes(u)
		got := u.EscapedPath()
		if back, err := url.PathUnescape(got); err != nil || back != path {
			t.Fatalf("%q became %q, which means %q, %v", target, got, back, err)
		}
		if n := strings.Count(strings.ToUpper(got), "%2F"); n != escaped {
			t.Fatalf("%q became %q: %d escaped slashes, want %d", target, got, n, escaped)
		}
	})
}

func TestUpgrade(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		want   string
	}{
		{"none", http.Header{}, ""},
		{"asked for", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"WebSocket"}}, "websocket"},
		{"among others", http.Header{"Connection": {"keep-alive", "close , upgrade"}, "Upgrade": {"websocket"}}, "websocket"},
		{"not asked for", http.Header{"Connection": {"keep-alive"}, "Upgrade": {"websocket"}}, ""},
		{"another name that holds it", http.Header{"Connection": {"Upgrade-Insecure"}, "Upgrade": {"websocket"}}, ""},
		{"two protocols are neither", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket", "h2c"}}, "websocket,h2c"},
	}
	for _, test := range tests {
		if got := Upgrade(&http.Request{Header: test.header}); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestBuffersAreReused(t *testing.T) {
	var b Buffers
	if allocs := testing.AllocsPerRun(100, func() { b.Put(b.Get()) }); allocs > 0 {
		t.Errorf("%v allocations for a borrowed buffer", allocs)
	}
}
