package proxy

import (
	"net/http"

	"github.com/sallyport/sallyport/proxy/keep"
)

// Withdraw is what Live does a minute after a replacement.
var Withdraw = (*Gateway).withdraw

// What the fuzz target of the mark calls.
var (
	CutFormMark  = cutFormMark
	WithFormMark = withFormMark
)

// Forms are what is kept.
func Forms(g *Gateway) *keep.Store { return g.forms }

// AddTrace remembers a message that the client at that address brought.
func AddTrace(ts *Traces, t Traced, from string) {
	t.from = networkOf(from)
	ts.add(t)
}

// Choose is which of the identity providers a sign-on goes to, by name; empty if the
// person has to say.
func Choose(r *http.Request, allowed []*IdP) string {
	if c := choose(r, allowed); c.idp != nil {
		return c.idp.Name
	}
	return ""
}
