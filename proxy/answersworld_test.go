package proxy_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy"
)

// TestAnswersAreGuardedOnTheirWay sends what a tool that was broken into may say, and
// looks at what the browser gets.
func TestAnswersAreGuardedOnTheirWay(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[1].Answers = proxy.Answers{Frames: proxy.FramesTool, UnsafeCookieDomain: true, Remove: []string{"Server"}}
	})
	w.backend.mux.HandleFunc("/odd", func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Add("Set-Cookie", "tossed=1; Domain=example.test; Path=/")
		h.Add("Set-Cookie", "__host-sallyport=evil; Secure; Path=/")
		h.Add("Set-Cookie", "own=1; HttpOnly")
		h.Set("Location", "https://"+w.cfg.Routes[0].Backend.Host+"/next")
		h.Set("Alt-Svc", `h3=":8443"`)
		h.Set("X-Forwarded-User", "root")
		h.Set("Www-Authenticate", "NTLM")
		h.Set("Server", "tool/1.0")
		h.Set("Clear-Site-Data", `"cookies"`)
		rw.WriteHeader(http.StatusFound)
		_, _ = io.WriteString(rw, "body")
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	b.signIn(w.origin(notesHost)+"/", "alice")
	strict, loose := b.navigate(w.origin(headersHost)+"/odd"), b.navigate(w.origin(notesHost)+"/odd")

	if got := strict.Header.Values("Set-Cookie"); !slices.Equal(got, []string{"tossed=1; Path=/", "own=1; HttpOnly"}) {
		t.Errorf("cookies %q", got)
	}
	if got := loose.Header.Values("Set-Cookie"); !slices.Contains(got, "tossed=1; Domain=example.test; Path=/") || len(got) != 2 {
		t.Errorf("cookies of a route that may %q", got)
	}
	if got := strict.Header.Get("Location"); got != w.origin(headersHost)+"/next" {
		t.Errorf("Location %q", got)
	}
	for _, res := range []answer{strict, loose} {
		for _, name := range []string{"Alt-Svc", "X-Forwarded-User", "Www-Authenticate", "Clear-Site-Data"} {
			if res.Header.Get(name) != "" {
				t.Errorf("%s: %q", name, res.Header.Get(name))
			}
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(res.Header.Get("Strict-Transport-Security"), "max-age=") || res.Header.Get("Referrer-Policy") == "" {
			t.Errorf("headers %v", res.Header)
		}
	}
	if strict.Header.Get("X-Frame-Options") != "SAMEORIGIN" || loose.Header.Get("X-Frame-Options") != "" || strict.Header.Get("Server") == "" || loose.Header.Get("Server") != "" {
		t.Errorf("headers %v and %v", strict.Header, loose.Header)
	}
}
