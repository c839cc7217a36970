package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"

	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/upstream"
)

// Route is one tool behind the door. It must not be changed after New.
type Route struct {
	// Name identifies the route in logs and metrics; Title and Description are
	// what people read.
	Name, Title, Description string
	// Host is the tool's own host name, lower-case; or *.DOMAIN, for every host that
	// has one label before DOMAIN and no route of its own. No route is on the portal
	// for a wildcard.
	Host string
	// Path is where at Host the tool begins, by whole segments, such as "/grafana",
	// without a slash at its end; empty or "/" for all of Host. The longest wins.
	Path string
	// Rules are parts of the route in which others may enter than Rule says; the first
	// that covers a request decides. Names are unique.
	Rules []policy.PathRule
	// StripPath takes Path from what the backend is asked for.
	StripPath bool
	// BackendHost is the Host that the backend is told; empty for the address that the
	// browser knows.
	BackendHost string
	// Redirect or Respond answers in place of a backend, for whoever may enter; with
	// one of them Backend and TLS are nil. Nil for neither.
	Redirect *Redirect
	Respond  *Respond
	// Backend is the sidecar's address, https://host:port. Required, but for Redirect
	// and Respond.
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
	// Answers is what becomes of the tool's answers, Limits how much may be asked of it.
	Answers Answers
	Limits  RouteLimits
	// QueryKeys are query parameters whose values the access log keeps for this route,
	// beside Config.QueryKeys; nil for none.
	QueryKeys []string
	// ForwardAuth lets an ingress that may ask (Config.Asks) learn who may pass.
	// Backend and TLS may be nil then: nobody gets to the tool through the gateway.
	ForwardAuth bool
}

// route is a Route with the means to serve it.
type route struct {
	Route
	places   []place          // one for each of Rules, and Rule; nil for a wildcard
	vouches  *assertion.Route // nil for none
	pool     *upstream.Pool   // nil for a route that answers itself, or an ingress does
	proxy    onward
	template *header.Template // of what the backend is told
	cards    cards            // of whom it was told last
	answers  *answers
	inHand   *atomic.Int64 // requests that it is asked now, shared with later Gateways
}

// CheckRoutes reports what of routes no [Gateway] would take, as far as it needs neither keys
// nor certificates to say so: the headers that their tools are told, those that are set in
// answers, and where they lead.
func CheckRoutes(routes []Route) error {
	g := &Gateway{cfg: Config{Routes: routes}}
	var faults []error
	for _, spec := range routes {
		var err error
		if spec.Redirect != nil || spec.Respond != nil {
			_, err = newOwnRoute(spec)
		} else if _, err = g.templateOf(spec); err == nil && spec.Backend != nil {
			if _, err = newAnswers(spec.Answers, []*url.URL{spec.Backend}); err != nil {
				err = fmt.Errorf("route %q: %w", spec.Name, err)
			}
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func (g *Gateway) newRoute(spec Route) (*route, error) {
	if spec.Redirect != nil || spec.Respond != nil {
		return newOwnRoute(spec)
	}
	template, err := g.templateOf(spec)
	if err != nil {
		return nil, err
	}
	rt := &route{Route: spec, template: template, inHand: new(atomic.Int64)}
	if rt.Limits.Requests == 0 {
		rt.Limits.Requests = (g.limits.Requests + 1) / 2
	}
	if spec.Assertion {
		if g.cfg.Assertions == nil {
			return nil, fmt.Errorf("route %q wants assertions, and there is nothing to sign them", spec.Name)
		}
		rt.vouches = g.cfg.Assertions.For(spec.Name, template.Released)
	}
	if rt.ingressOnly() {
		return rt, nil
	}
	if rt.pool, err = g.newPool(spec); err != nil {
		return nil, err
	}
	if rt.answers, err = newAnswers(spec.Answers, append([]*url.URL{spec.Backend}, spec.MoreBackends...)); err != nil {
		return nil, fmt.Errorf("route %q: %w", spec.Name, err)
	}
	rt.proxy = relay.Forwarder{Plain: &httputil.ReverseProxy{
		Rewrite:        rt.rewrite,
		Transport:      relay.SafeTrailers{Base: rt.pool},
		ModifyResponse: g.filterResponse,
		ErrorHandler:   g.backendFailed,
		BufferPool:     new(relay.Buffers),
		ErrorLog:       slog.NewLogLogger(g.cfg.Log.With("route", spec.Name).Handler(), slog.LevelDebug),
	}}
	return rt, nil
}

// onward sends a request to the backend, with that context, and the answer back.
type onward interface {
	Forward(ctx context.Context, w http.ResponseWriter, r *http.Request)
}

// ingressOnly reports whether an ingress alone passes requests on to the tool; such a
// route has no transport.
func (rt *route) ingressOnly() bool { return rt.ForwardAuth && rt.Backend == nil }
