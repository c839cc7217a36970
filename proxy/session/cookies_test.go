package session

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStripRequest(t *testing.T) {
	tests := []struct {
		name string
		give []string
		want []string
	}{
		{name: "no cookies"},
		{name: "none of ours", give: []string{"a=1; b=2"}, want: []string{"a=1; b=2"}},
		{name: "ours alone", give: []string{"__Host-sallyport=x"}},
		{name: "ours alone, with an empty pair", give: []string{"__Host-sallyport=x; ;"}},
		{name: "ours in front", give: []string{"__Host-sallyport=x; a=1"}, want: []string{"a=1"}},
		{name: "ours between", give: []string{"a=1; __Host-sallyport=x; b=2"}, want: []string{"a=1; b=2"}},
		{name: "ours last", give: []string{"a=1; __Host-sallyport=x"}, want: []string{"a=1"}},
		{name: "all of ours", give: []string{"__Host-sallyport=x; __Host-sallyport-link=y; __Host-sallyport-signon-1=z; __Host-sallyport-return-1=z; a=1"}, want: []string{"a=1"}},
		{name: "twice", give: []string{"__Host-sallyport=x; a=1; __Host-sallyport=y"}, want: []string{"a=1"}},
		{name: "other case", give: []string{"__host-SALLYPORT=x; a=1"}, want: []string{"a=1"}},
		{name: "nameless", give: []string{"=__Host-sallyport=x; a=1"}, want: []string{"a=1"}},
		{name: "nameless, blank and twice", give: []string{" = =__Host-sallyport=x;a=1"}, want: []string{"a=1"}},
		{name: "tab and blanks", give: []string{"a=1;\t __Host-sallyport =x"}, want: []string{"a=1"}},
		{name: "no value", give: []string{"__Host-sallyport; a=1"}, want: []string{"a=1"}},
		{name: "no blanks, kept without", give: []string{"a=1;__Host-sallyport=x;b=2;c=3"}, want: []string{"a=1;b=2;c=3"}},
		{name: "quoted value of ours", give: []string{`__Host-sallyport="x y"; a=1`}, want: []string{"a=1"}},
		{name: "ours in another's quotes", give: []string{`a="1; __Host-sallyport=x; b=2"`}, want: []string{`a="1; b=2"`}},
		{name: "values that only mention ours", give: []string{"a=__Host-sallyport=x; x__Host-sallyport=1"}, want: []string{"a=__Host-sallyport=x; x__Host-sallyport=1"}},
		{name: "a shorter name", give: []string{"__Host-sallypor=1"}, want: []string{"__Host-sallypor=1"}},
		{
			name: "several lines", give: []string{"a=1", "__Host-sallyport=x", "b=2; __Host-sallyport-link=y", "c=3"},
			want: []string{"a=1", "b=2", "c=3"},
		},
		{name: "odd bytes stay", give: []string{"__Host-sallyport=x; a=\u00a0\"\xff , ;; b = \u00a0"}, want: []string{"a=\u00a0\"\xff , ;; b = \u00a0"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{"Accept": {"*/*"}}
			want := h.Clone()
			if test.give != nil {
				h["Cookie"] = test.give
			}
			if test.want != nil {
				want["Cookie"] = test.want
			}
			StripRequest(h)
			if diff := cmp.Diff(want, h); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStripResponse(t *testing.T) {
	tests := []struct {
		name       string
		give, want http.Header
	}{
		{name: "nothing set", give: http.Header{"Server": {"x"}}, want: http.Header{"Server": {"x"}}},
		{name: "the tool's own", give: http.Header{"Set-Cookie": {"a=1; Path=/"}}, want: http.Header{"Set-Cookie": {"a=1; Path=/"}}},
		{name: "planted", give: http.Header{"Set-Cookie": {"__Host-sallyport=x; Path=/; Secure"}}, want: http.Header{}},
		{name: "taken away", give: http.Header{"Set-Cookie": {"a=1", "__Host-sallyport=; Max-Age=0", "b=2"}}, want: http.Header{"Set-Cookie": {"a=1", "b=2"}}},
		{
			name: "every spelling",
			give: http.Header{"Set-Cookie": {
				"__HOST-SALLYPORT-link=x", "=__Host-sallyport=x", " \t=  __Host-sallyport=x", "\x0b__Host-sallyport=x",
				"__Host-sallyport", "__Host-sallyport-return-1=x", "==__Host-sallyport=x",
			}},
			want: http.Header{},
		},
		{name: "clears the cache", give: http.Header{"Clear-Site-Data": {`"cache", "storage"`}}, want: http.Header{"Clear-Site-Data": {`"cache", "storage"`}}},
		{name: "clears every tool's cookies", give: http.Header{"Clear-Site-Data": {`"cookies"`}}, want: http.Header{}},
		{name: "clears cookies among others", give: http.Header{"Clear-Site-Data": {`"cache","cookies"`, `"storage"`}}, want: http.Header{"Clear-Site-Data": {`"cache", "storage"`}}},
		{name: "clears everything", give: http.Header{"Clear-Site-Data": {`"*"`}}, want: http.Header{"Clear-Site-Data": {`"cache", "storage"`}}},
		{name: "clears in an odd spelling", give: http.Header{"Clear-Site-Data": {`"cook\ies", cookies;`}}, want: http.Header{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			StripResponse(test.give)
			if diff := cmp.Diff(test.want, test.give); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzStripCookies: however a Cookie header is written, no server reads a cookie
// of ours out of what is left, and all others are left as they came.
func FuzzStripCookies(f *testing.F) {
	f.Add("__Host-sallyport=x; a=1", "b=2")
	f.Add("a=1;=__host-Sallyport=x; ; b", "\t__Host-sallyport-link=\"x; c=3\"")
	f.Add(";;  ;", "")
	f.Fuzz(func(t *testing.T, first, second string) {
		give := []string{first, second}
		h := http.Header{"Cookie": {first, second}}
		StripRequest(h)
		var want, got []string
		for _, line := range give {
			for pair := range strings.SplitSeq(line, ";") {
				name := strings.ToLower(strings.TrimLeft(pair, "= \t"))
				if !ours(pair) {
					want = append(want, strings.Trim(pair, " \t"))
				}
				if strings.HasPrefix(name, "__host-sallyport") && !ours(pair) {
					t.Fatalf("%q is not known to be ours", pair)
				}
			}
		}
		for _, line := range h["Cookie"] {
			for pair := range strings.SplitSeq(line, ";") {
				if ours(pair) {
					t.Fatalf("StripRequest(%q) left %q", give, line)
				}
				got = append(got, strings.Trim(pair, " \t"))
			}
		}
		if left, right := strings.Join(nonEmpty(want), ";"), strings.Join(nonEmpty(got), ";"); left != right {
			t.Fatalf("StripRequest(%q) left %q, want %q", give, right, left)
		}
		for _, c := range (&http.Request{Header: h}).Cookies() {
			if ours(c.Name) {
				t.Fatalf("StripRequest(%q) left the cookie %q", give, c.Name)
			}
		}
	})
}

func nonEmpty(pairs []string) []string {
	var kept []string
	for _, pair := range pairs {
		if pair != "" {
			kept = append(kept, pair)
		}
	}
	return kept
}

func BenchmarkStripRequest(b *testing.B) {
	line := "_ga=GA1.1.1234567890.1700000000; theme=dark; __Host-sallyport=" + strings.Repeat("A", 700) + "; grafana_session=0123456789abcdef0123456789abcdef; lang=en"
	h := make(http.Header)
	b.ReportAllocs()
	for b.Loop() {
		h["Cookie"] = []string{line}
		StripRequest(h)
	}
}
