package proxy

import (
	"crypto/rand"
	"net/http"

	"github.com/sallyport/sallyport/proxy/relay"
)

// exchange is one request on its way through the gateway.
type exchange = relay.Exchange

// beginSpan begins the span of a request. One that is proven to have come by a trusted proxy,
// which its record names then, may belong to a trace of that proxy's.
func (g *Gateway) beginSpan(ex *exchange, r *http.Request) {
	if g.cfg.Tracer == nil {
		return
	}
	ex.Span = g.cfg.Tracer.Serve(r, ex.Record.RequestID, g.cfg.TrustTraces && ex.Record.Proxy != "")
	ex.Span.Note(&ex.Record)
}

// spoken is what request ids are written with.
const spoken = "abcdefghijklmnopqrstuvwxyz234567"

// newRequestID returns 80 random bits as 16 lower-case letters and digits
// without 0, 1, 8 and 9: it is read aloud to a help desk.
func newRequestID() string {
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	var id [16]byte
	for half := range 2 {
		var bits uint64
		for _, b := range raw[5*half : 5*half+5] {
			bits = bits<<8 | uint64(b)
		}
		for i := 7; i >= 0; i-- {
			id[8*half+i], bits = spoken[bits&31], bits>>5
		}
	}
	return string(id[:])
}
