package proxy

import "github.com/sallyport/sallyport/proxy/keep"

// Withdraw is what Live does a minute after a replacement.
var Withdraw = (*Gateway).withdraw

// What the fuzz target of the mark calls.
var (
	CutFormMark  = cutFormMark
	WithFormMark = withFormMark
)

// Forms are what is kept.
func Forms(g *Gateway) *keep.Store { return g.forms }
