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
	"time"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
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
	// pinned. The gateway owns it from now on. Required.
	TLS *tls.Config
	// Rule says who may open the tool; the zero Rule lets nobody in.
	Rule policy.Rule
	// PassAuthorization lets the client's own Authorization header through.
	PassAuthorization bool
	// WebSocket lets connections be upgraded to WebSocket, and to nothing else.
	WebSocket bool
}

// route is a Route with the means to serve it.
type route struct {
	Route
	transport *http.Transport
	proxy     *httputil.ReverseProxy
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
	rt := &route{Route: spec, transport: newTransport(spec.TLS)}
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

// forward sends the request on as state, and the answer back.
func (g *Gateway) forward(ex *exchange, r *http.Request, rt *route, state *session.State) {
	ctx := r.Context()
	switch protocol := relay.Upgrade(r); {
	case protocol == relay.WebSocket:
		if rf := g.refuseWebSocket(r, rt); rf != nil {
			ex.Record.Decision = "deny"
			g.refuse(ex, r, *rf)
			return
		}
		fallthrough
	case strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		bound, release := g.cfg.Sessions.Revocations().Bind(ctx, state)
		defer release()
		defer func() {
			if errors.Is(context.Cause(bound), session.ErrEnded) {
				ex.Record.Reason, ex.Record.Cause = "session_ended", "session ended while the connection was open"
			}
		}()
		ctx = bound
	}
	out := &outgoing{exchange: ex, state: state}
	if renewed := g.cfg.Sessions.Refresh(state); renewed != nil {
		out.renewal = g.sealedCookies(ex, r, rt.Host, renewed)
	}
	ex.Record.Upstream = rt.Backend.Host
	ctx = context.WithValue(ex.Trace(ctx, g.cfg.Now), outgoingKey{}, out)
	rt.proxy.ServeHTTP(ex, r.WithContext(ctx))
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

// refuseWebSocket refuses an upgrade that the route does not allow, or that a
// page of another origin asks for: browsers send cookies along with those
// (cross-site WebSocket hijacking).
func (g *Gateway) refuseWebSocket(r *http.Request, rt *route) *refusal {
	switch origin := r.Header.Get("Origin"); {
	case !rt.WebSocket:
		return &refusal{status: http.StatusForbidden, reason: "websocket_off", title: "Not allowed", message: "This tool does not take WebSocket connections."}
	case origin != "" && !strings.EqualFold(origin, g.origin(rt.Host)):
		return &refusal{status: http.StatusForbidden, reason: "websocket_origin", title: "Not allowed", message: "A page of another site asked for this connection."}
	}
	return nil
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
	if out := outgoingOf(res.Request.Context()); out != nil {
		h["Set-Cookie"] = append(h["Set-Cookie"], out.renewal...)
		if len(h["Set-Cookie"]) == 0 {
			delete(h, "Set-Cookie")
		}
	}
	return nil
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
		title: "The tool does not answer", message: "You are signed in and allowed, but the tool behind this address cannot be reached. Try again in a moment.",
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
