package proxy

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/proxy/keep"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
)

// Withdraw is what Live does a minute after a replacement.
var Withdraw = (*Gateway).withdraw

// What the fuzz targets of routing call.
var (
	NormalHost = normalHost
	JudgedPath = judgedPath
)

// SentPath is the path that a backend is asked for, where the route has that path and
// takes it away.
func SentPath(r *http.Request, prefix string) string {
	at := &place{route: &route{Route: Route{Path: prefix, StripPath: true}}}
	pr := &httputil.ProxyRequest{In: r, Out: r.Clone(r.Context())}
	relay.Retarget(pr, &url.URL{Scheme: "https", Host: "backend:8443"})
	at.address(pr.Out)
	return pr.Out.URL.EscapedPath()
}

// RouteOf is the name of the route, and of the rule, that decide about a request; empty
// if none does.
func RouteOf(g *Gateway, host, method, path string) (route, rule string) {
	if p := g.placeUsed(session.Use{Host: host, Method: method, Path: path}); p != nil {
		return p.Name, p.ruleName()
	}
	return "", ""
}

// What the fuzz target of the mark calls.
var (
	CutFormMark  = cutFormMark
	WithFormMark = withFormMark
)

// BoundByAge is when a request of somebody who proved who they are at that instant
// would be cut, on the route of that host.
func BoundByAge(g *Gateway, r *http.Request, host string, authnAt time.Time) (until time.Time, bound bool) {
	ctx, stop := g.boundByAge(r.Context(), r, g.frontOf(host), &session.State{AuthnAt: authnAt.Unix()})
	defer stop()
	return ctx.Deadline()
}

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

// TargetAsked is targetAsked.
var TargetAsked = targetAsked
