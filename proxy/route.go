package proxy

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/relay"
)

// Route is one tool behind the door. It must not be changed after New.
type Route struct {
	// Name identifies the route in logs and metrics; Title and Description are
	// what people read.
	Name, Title, Description string
	// Host is the tool's own host name, lower-case.
	Host string
	// Backend is the sidecar's address, https://host:port.
	Backend *url.URL
	// TLS is how to speak to it: our client certificate, and the sidecar's name
	// pinned. It must not be changed any more; the same value again, in a Gateway
	// that replaces this one, lets the connections go on. Required.
	TLS *tls.Config
	// Rule says who may open the tool; the zero Rule lets nobody in.
	Rule policy.Rule
	// StepUp is how the person has to have signed in besides; the zero value leaves
	// it to the identity provider.
	StepUp policy.StepUp
	// IdPs are the names of the identity providers whose people may open the tool;
	// nil for all.
	IdPs []string
	// Identity is what the tool is told of a person, and how.
	Identity Identity
	// PassAuthorization lets the client's own Authorization header through. It cannot
	// stand beside a credential of Identity's.
	PassAuthorization bool
	// WebSocket lets connections be upgraded to WebSocket, and to nothing else.
	WebSocket bool
	// Assertion sends along a signed assertion of who asks, made by
	// Config.Assertions.
	Assertion bool
	// UnsafeCrossOrigin lets pages of other origins send requests that change
	// something.
	UnsafeCrossOrigin bool
}

// route is a Route with the means to serve it.
type route struct {
	Route
	origin    string            // as browsers write it
	authority string            // host and port of origin
	vouches   *assertion.Issuer // nil for none
	transport backend
	proxy     *httputil.ReverseProxy
	template  *header.Template // of what the backend is told
	// inherited is set once the transport is a later Gateway's.
	inherited atomic.Bool
}

func (g *Gateway) newRoute(spec Route) (*route, error) {
	if spec.TLS == nil {
		return nil, fmt.Errorf("route %q has no TLS configuration: a backend is never reached in the clear", spec.Name)
	}
	if spec.Backend == nil || spec.Backend.Scheme != "https" {
		return nil, fmt.Errorf("route %q has backend %v, expected https://host:port", spec.Name, spec.Backend)
	}
	template, err := g.templateOf(spec)
	if err != nil {
		return nil, err
	}
	origin := g.origin(spec.Host)
	rt := &route{
		template: template,
		Route:    spec, origin: origin, authority: strings.TrimPrefix(origin, "https://"), transport: newTransport(spec.TLS),
	}
	if spec.Assertion {
		if g.cfg.Assertions == nil {
			return nil, fmt.Errorf("route %q wants assertions, and there is nothing to sign them", spec.Name)
		}
		rt.vouches = g.cfg.Assertions
	}
	rt.proxy = &httputil.ReverseProxy{
		Rewrite:        rt.rewrite,
		Transport:      relay.WithoutTrailers{Base: rt.transport},
		ModifyResponse: filterResponse,
		ErrorHandler:   g.backendFailed,
		BufferPool:     new(relay.Buffers),
		ErrorLog:       slog.NewLogLogger(g.cfg.Log.With("route", spec.Name).Handler(), slog.LevelDebug),
	}
	return rt, nil
}
