package proxy_test

import (
	"net/http"
	"strings"
	"testing"
)

// Nobody is sent to an identity provider inside another page, and such a page takes
// no sign-on that is under way away; who is signed in already sees the tool there.
func TestNobodySignsInInAFrame(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	framed := func(address, destination string) answer {
		req := b.request(http.MethodGet, address, nil)
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", destination)
		return b.do(req)
	}
	door, tool := w.origin(doorHost)+"/", w.origin(headersHost)+"/"
	for _, destination := range []string{"iframe", "frame", "fencedframe", "embed", "object"} {
		res := framed(framed(tool, destination).Header.Get("Location"), destination)
		line := w.last(b)
		if res.StatusCode != http.StatusUnauthorized || line["event.reason"] != "in_a_frame" || line["sallyport.decision"] != "deny" {
			t.Errorf("tool in an %s: %d, line %v", destination, res.StatusCode, line)
		}
		if res := framed(door, destination); res.StatusCode != http.StatusUnauthorized || len(res.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("door in an %s: %d, cookies %v", destination, res.StatusCode, res.Header.Values("Set-Cookie"))
		}
	}
	if res := framed(door, "document"); res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), idpSignOn) {
		t.Errorf("in a window: %d to %q", res.StatusCode, res.Header.Get("Location"))
	}
	b.signIn(door, "alice")
	res := framed(tool, "iframe")
	for res.StatusCode == http.StatusSeeOther {
		res = framed(res.Header.Get("Location"), "iframe")
	}
	if res.StatusCode != http.StatusOK || !strings.Contains(res.body, "alice@example.com") {
		t.Errorf("a tool in a frame, signed in: %d %q", res.StatusCode, res.body)
	}
}
