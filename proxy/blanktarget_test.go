package proxy_test

import (
	"testing"

	"golang.org/x/net/http2"
)

// TestTargetsHaveNoBlanks: HTTP/2 and HTTP/3 carry a target with a blank, and written into
// the line of a request in HTTP/1 it would end there.
func TestTargetsHaveNoBlanks(t *testing.T) {
	w := newWorld(t, overHTTP2)
	cookie := w.sessionOf(headersHost, "alice")
	_, before := w.backend.seen()
	for _, target := range []string{"/?a HTTP/1.0", "/? ", "/a b", "/a HTTP/1.1"} {
		_, framer := framesTo(t, w, headersHost)
		block := headersAs(headersHost, target, "cookie", cookie)
		if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true, EndStream: true}); err != nil {
			t.Fatal(err)
		}
		for answered := false; !answered; {
			frame, err := framer.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			_, answered = frame.(*http2.HeadersFrame)
		}
	}
	if last, hits := w.backend.seen(); hits != before {
		t.Errorf("the tool was asked for %q", last.RequestURI)
	}
}
