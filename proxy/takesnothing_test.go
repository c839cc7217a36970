package proxy_test

import (
	"bytes"
	"net/http"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/sallyport/sallyport/proxy"
)

// headersAs is headersFor with further headers.
func headersAs(host, path string, more ...string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := []string{":method", "GET", ":scheme", "https", ":authority", host, ":path", path}
	for fields = append(fields, more...); len(fields) > 0; fields = fields[2:] {
		_ = encoder.WriteField(hpack.HeaderField{Name: fields[0], Value: fields[1]})
	}
	return block.Bytes()
}

// takeNothing has strangers ask over connections on which no answer's body can be sent,
// and waits until all of them have been answered, as far as a head can tell.
func takeNothing(t *testing.T, w *world, host string, connections int, block func() []byte) {
	t.Helper()
	const streams = 100
	framers := make([]*http2.Framer, connections)
	for i := range framers {
		_, framers[i] = framesTo(t, w, host)
		if err := framers[i].WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
			t.Fatal(err)
		}
		for stream := range uint32(streams) {
			if err := framers[i].WriteHeaders(http2.HeadersFrameParam{StreamID: 2*stream + 1, BlockFragment: block(), EndHeaders: true, EndStream: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, framer := range framers {
		awaitHeads(t, framer, streams)
	}
}

// awaitHeads reads until as many requests have been answered, or the connection takes no
// more of them: who comes in a crowd is told so, and to come back over another.
func awaitHeads(t *testing.T, framer *http2.Framer, want int) {
	t.Helper()
	for got := 0; got < want; {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("%d heads of %d: %v", got, want, err)
		}
		switch frame.(type) {
		case *http2.HeadersFrame:
			got++
		case *http2.GoAwayFrame:
			return
		}
	}
}

// TestStrangersWhoTakeNothingKeepNobodyOut: whoever was refused, and does not take what
// is said, is not in anybody's way.
func TestStrangersWhoTakeNothingKeepNobodyOut(t *testing.T) {
	for name, ask := range map[string]struct{ host, path, accept string }{
		"a tool, in the background": {headersHost, "/", "*/*"},
		"nowhere":                   {doorHost, "/nowhere", "text/html"}, "metadata": {doorHost, "/saml/metadata", "*/*"},
		"an answer of an identity provider": {doorHost, "/saml/acs", "text/html"}, "a logout": {doorHost, "/saml/slo", "text/html"},
		"another host": {headersHost, "/.sallyport/ticket?ticket=x", "text/html"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.Requests, cfg.Limits.StrangersPerSecond = 100, 10000 })
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			takeNothing(t, w, ask.host, 3, func() []byte { return headersAs(ask.host, ask.path, "accept", ask.accept) })
			if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
				t.Errorf("somebody who has signed in: %d", res.StatusCode)
			}
			if res := w.browser().signIn(w.origin(headersHost)+"/", "alice"); res.StatusCode != http.StatusOK {
				t.Errorf("somebody who signs in: %d", res.StatusCode)
			}
		})
	}
}

// TestWhatStrangersDoNotTakeIsGivenUp is about answers that are short enough to be written
// at once: it is net/http then that waits, after the gateway has done its part.
func TestWhatStrangersDoNotTakeIsGivenUp(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.Stall = time.Second })
	goroutines := runtime.NumGoroutine()
	takeNothing(t, w, headersHost, 3, func() []byte { return headersAs(headersHost, "/") })
	settle(t, goroutines+20)
}
