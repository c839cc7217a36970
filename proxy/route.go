package proxy

import (
	"crypto/tls"
	"log/slog"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/upstream"
)

// Route is one tool behind the door. It must not be changed after New.
type Route struct {
	// Name identifies the route in logs and metrics; Title and Description are
	// what people read.
	Name, Title, Description string
	// Host is the tool's own host name, lower-case.
	Host string
	// Backend is the sidecar's address, https://host:port. Required.
	Backend *url.URL
	// MoreBackends are further sidecars of the same tool, with the same name in
	// their certificates; nil for none.
	MoreBackends []*url.URL
	// TLS is how to speak to them: our client certificate, and the sidecar's name
	// pinned. It must not be changed any more; the same value again, in a Gateway
	// that replaces this one, lets the connections go on. Required.
	TLS *tls.Config
	// Upstream is how they are reached, chosen and watched.
	Upstream upstream.Options
	// Rule says who may open the tool; the zero Rule lets nobody in.
	Rule policy.Rule
	// StepUp is how the person has to have signed in besides; the zero value leaves
	// it to the identity provider.
	StepUp policy.StepUp
	// IdPs are the names of the identity providers whose people may open the tool;
	// nil for all.
	IdPs []string
	// PassAuthorization lets the client's own Authorization header through.
	PassAuthorization bool
	// WebSocket lets connections be upgraded to WebSocket, and to nothing else.
	WebSocket bool
	// UnsafeCrossOrigin lets pages of other origins send requests that change
	// something.
	UnsafeCrossOrigin bool
}

// route is a Route with the means to serve it.
type route struct {
	Route
	origin    string // as browsers write it
	authority string // host and port of origin
	pool      *upstream.Pool
	proxy     *httputil.ReverseProxy
}

func (g *Gateway) newRoute(spec Route) (*route, error) {
	origin := g.origin(spec.Host)
	authority := strings.TrimPrefix(origin, "https://")
	pool, err := g.newPool(spec, authority)
	if err != nil {
		return nil, err
	}
	rt := &route{Route: spec, origin: origin, authority: authority, pool: pool}
	rt.proxy = &httputil.ReverseProxy{
		Rewrite:        rt.rewrite,
		Transport:      relay.WithoutTrailers{Base: pool},
		ModifyResponse: filterResponse,
		ErrorHandler:   g.backendFailed,
		BufferPool:     new(relay.Buffers),
		ErrorLog:       slog.NewLogLogger(g.cfg.Log.With("route", spec.Name).Handler(), slog.LevelDebug),
	}
	return rt, nil
}
