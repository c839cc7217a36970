package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
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
	transport *http.Transport
	proxy     *httputil.ReverseProxy
	// inherited is set once the transport is a later Gateway's.
	inherited atomic.Bool
}

const (
	backendDialTimeout   = 10 * time.Second
	backendHeaderTimeout = 5 * time.Minute // long polls answer late
	backendHeaderBytes   = 256 << 10
	backendIdleTimeout   = 90 * time.Second
	backendIdleConns     = 256
)

func (g *Gateway) newRoute(spec Route) (*route, error) {
	if spec.TLS == nil {
		return nil, fmt.Errorf("route %q has no TLS configuration: a backend is never reached in the clear", spec.Name)
	}
	if spec.Backend == nil || spec.Backend.Scheme != "https" {
		return nil, fmt.Errorf("route %q has backend %v, expected https://host:port", spec.Name, spec.Backend)
	}
	origin := g.origin(spec.Host)
	rt := &route{
		Route: spec, origin: origin, authority: strings.TrimPrefix(origin, "https://"), transport: newTransport(spec.TLS),
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

// newTransport is HTTP/1.1 over mutual TLS, which WebSockets need.
func newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: backendDialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    backendDialTimeout,
		ResponseHeaderTimeout:  backendHeaderTimeout,
		MaxResponseHeaderBytes: backendHeaderBytes,
		MaxIdleConnsPerHost:    backendIdleConns,
		IdleConnTimeout:        backendIdleTimeout,
		DisableCompression:     true,
	}
}

// CloseIdleConnections makes new requests shake hands anew with every backend.
// Call it after the client certificate was renewed.
func (g *Gateway) CloseIdleConnections() {
	for _, rt := range g.order {
		rt.transport.CloseIdleConnections()
	}
}

// forward sends the request on as state, and the answer back. However long that
// takes, it ends with the session: a download, a long poll and a stream as much
// as a WebSocket.
func (g *Gateway) forward(ex *exchange, r *http.Request, rt *route, state *session.State) {
	if rf := g.refuseForeign(r, rt); rf != nil {
		ex.Record.Decision = accesslog.DecisionDeny
		g.refuse(ex, r, *rf)
		return
	}
	if r.ContentLength != 0 {
		ex.ExpectBody(0)
	}
	ctx, release := g.cfg.Sessions.Revocations().Bind(r.Context(), rt.Host, state)
	defer release()
	ctx, stop := g.boundByAge(ctx, r, rt, state)
	defer stop()
	defer func() {
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, session.ErrEnded):
			ex.Record.Reason, ex.Record.Cause = "session_ended", "session ended while the connection was open"
		case errors.Is(cause, session.ErrWithdrawn):
			ex.Record.Reason, ex.Record.Cause = "access_withdrawn", "access was withdrawn while the connection was open"
		case errors.Is(cause, errAuthnAge):
			ex.Record.Reason, ex.Record.Cause = policy.ReasonTooOld, "sign-on became too old while the connection was open"
		}
	}()
	out := &outgoing{exchange: ex, state: state}
	if renewed := g.cfg.Sessions.Refresh(state); renewed != nil {
		out.renewal = g.sealedCookies(ex, r, rt.Host, renewed)
	}
	ex.Record.Upstream = rt.Backend.Host
	ctx = context.WithValue(ex.Trace(ctx, g.cfg.Now), outgoingKey{}, out)
	rt.proxy.ServeHTTP(ex, r.WithContext(ctx))
	if cause := context.Cause(ctx); errors.Is(cause, session.ErrEnded) || errors.Is(cause, session.ErrWithdrawn) || errors.Is(cause, errAuthnAge) {
		// The backend was hung up on, and may have had time to end its answer
		// as if it were whole.
		panic(http.ErrAbortHandler)
	}
}

// outgoing is what the steps of forwarding need to know of one exchange.
type outgoing struct {
	exchange *exchange
	state    *session.State
	renewal  []string // Set-Cookie lines that renew the session; nil for none
}

type outgoingKey struct{}

func outgoingOf(ctx context.Context) *outgoing {
	out, _ := ctx.Value(outgoingKey{}).(*outgoing)
	return out
}

// sealedCookies are the Set-Cookie lines that save s. They are added to the
// backend's answer only after that has been filtered.
func (g *Gateway) sealedCookies(ex *exchange, r *http.Request, host string, s *session.State) []string {
	sink := headerSink{}
	if err := g.cfg.Sessions.Save(sink, r, host, s); err != nil {
		ex.Fail(err)
	}
	return sink["Set-Cookie"]
}

// headerSink is a ResponseWriter of which only the headers matter.
type headerSink http.Header

func (h headerSink) Header() http.Header         { return http.Header(h) }
func (h headerSink) Write(p []byte) (int, error) { return len(p), nil }
func (h headerSink) WriteHeader(int)             {}

// refuseForeign refuses what a page of another origin asks for in this person's
// name: WebSockets, with which browsers send cookies along (cross-site WebSocket
// hijacking), and requests that change something. SameSite cookies keep other
// sites out, but not a sibling: another tool of the same company.
func (g *Gateway) refuseForeign(r *http.Request, rt *route) *refusal {
	if relay.Upgrade(r) != relay.WebSocket {
		if err := g.crossSite.Check(r); err != nil && !rt.UnsafeCrossOrigin {
			return crossOrigin(err)
		}
		return nil
	}
	switch origins := r.Header["Origin"]; {
	case !rt.WebSocket:
		return &refusal{status: http.StatusForbidden, reason: "websocket_off", title: "Not allowed", message: "This tool does not take WebSocket connections."}
	case len(origins) > 1 || len(origins) == 1 && !strings.EqualFold(origins[0], rt.origin):
		return &refusal{status: http.StatusForbidden, reason: "websocket_origin", title: "Not allowed", message: "A page of another site asked for this connection."}
	}
	return nil
}

// crossOrigin refuses what a page of another origin wants changed.
func crossOrigin(cause error) *refusal {
	return &refusal{
		status: http.StatusForbidden, reason: "cross_origin", cause: cause, title: "Not allowed",
		message: "A page of another address sent this, which could act in your name. Do it from the tool itself.",
	}
}

// rewrite makes the request that the backend gets. It is a Rewrite and never a
// Director: hop-by-hop headers are gone before it runs, so a client cannot name
// our headers in Connection to have them removed.
func (rt *route) rewrite(pr *httputil.ProxyRequest) {
	relay.Retarget(pr, rt.Backend)
	h := pr.Out.Header
	header.Strip(h)
	session.StripRequest(h)
	if !rt.PassAuthorization {
		delete(h, "Authorization")
	}
	pr.SetXForwarded()
	pr.Out.Host = rt.authority // not the client's spelling, which may hold a port of its own
	h.Set(header.ForwardedHost, rt.authority)
	with := outgoingOf(pr.Out.Context())
	h.Set(header.RequestID, with.exchange.Record.RequestID)
	header.Set(h, header.Identity{
		User: with.state.User, Email: with.state.Email, Name: with.state.Name, Groups: with.state.Groups,
	})
}

// filterResponse takes from a backend's answer what is not the backend's to
// say: our cookies, identity headers, and where this host is served otherwise.
func filterResponse(res *http.Response) error {
	h := res.Header
	if fault := h.Get(header.Fault); fault != "" {
		return sidecarFault(fault)
	}
	session.StripResponse(h)
	header.StripResponse(h)
	delete(h, "Alt-Svc")
	if h["Strict-Transport-Security"] == nil {
		h.Set("Strict-Transport-Security", portal.StrictTransport)
	}
	if out := outgoingOf(res.Request.Context()); out != nil && len(out.renewal) > 0 && private(h) {
		h["Set-Cookie"] = append(h["Set-Cookie"], out.renewal...)
	}
	return nil
}

// private makes sure that no shared cache keeps an answer that a cookie is
// added to, and reports false for one that is meant to be kept: the cookie can
// wait for another.
func private(h http.Header) bool {
	control := strings.ToLower(strings.Join(h["Cache-Control"], ","))
	if control == "" {
		h.Set("Cache-Control", "private")
		return true
	}
	return strings.Contains(control, "no-store") || strings.Contains(control, "private") || strings.Contains(control, "no-cache")
}

// sidecarFault is an answer of the sidecar itself: the reason why the
// application has not answered.
type sidecarFault string

func (f sidecarFault) Error() string {
	return fmt.Sprintf("sidecar answers for the application: %q", string(f))
}

// backendFailed answers for a backend that did not. The cause is for the log.
func (g *Gateway) backendFailed(_ http.ResponseWriter, r *http.Request, err error) {
	ex := outgoingOf(r.Context()).exchange
	if r.Context().Err() != nil {
		// The client has gone, the session has ended, or we are stopping: an
		// empty answer must not pass for the backend's.
		ex.Fail(err)
		panic(http.ErrAbortHandler)
	}
	rf := refusal{
		status: http.StatusBadGateway, reason: "backend_unreachable", cause: err,
		title: "The tool does not answer", message: "You are signed in and allowed, but the tool behind this address cannot be reached. Try again in a moment; if it stays like this, give its owner the request number below.",
		link: g.door + "/", text: "Your tools",
	}
	var timeout net.Error
	var fault sidecarFault
	switch {
	case errors.As(err, &fault):
		rf.reason = "app_unreachable"
		if fault != "app_unreachable" {
			rf.reason = "sidecar_refused"
		}
	case errors.As(err, &timeout) && timeout.Timeout():
		rf.status, rf.reason = http.StatusGatewayTimeout, "backend_timeout"
	}
	g.refuse(ex, r, rf)
}
