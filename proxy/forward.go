package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
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
		Transport:      backendTransport{rt.transport},
		ModifyResponse: filterResponse,
		ErrorHandler:   g.backendFailed,
		BufferPool:     new(bufferPool),
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
	switch protocol := upgrade(r); {
	case protocol == "websocket":
		if rf := g.refuseWebSocket(r, rt); rf != nil {
			ex.record.Decision = "deny"
			g.refuse(ex, r, *rf)
			return
		}
		fallthrough
	case strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		bound, release := g.cfg.Sessions.Revocations().Bind(ctx, state)
		defer release()
		defer func() {
			if errors.Is(context.Cause(bound), session.ErrEnded) {
				ex.record.Reason, ex.record.Cause = "session_ended", "session ended while the connection was open"
			}
		}()
		ctx = bound
	}
	out := &outgoing{exchange: ex, state: state}
	if renewed := g.cfg.Sessions.Refresh(state); renewed != nil {
		out.renewal = g.sealedCookies(ex, r, rt.Host, renewed)
	}
	ex.record.Upstream = rt.Backend.Host
	sent := g.cfg.Now()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { ex.record.UpstreamTime = g.cfg.Now().Sub(sent) },
	})
	rt.proxy.ServeHTTP(ex, r.WithContext(context.WithValue(ctx, outgoingKey{}, out)))
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
		ex.record.Cause = err.Error()
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
	out, h := pr.Out, pr.Out.Header
	pr.SetURL(rt.Backend)
	out.Host = pr.In.Host
	out.URL.RawQuery = pr.In.URL.RawQuery // nothing is decided on the query: tools get it as it came
	out.Trailer = nil
	delete(h, "Trailer")
	if upgrade(pr.In) != "websocket" { // h2c and the like would tunnel past every check
		delete(h, "Upgrade")
		delete(h, "Connection")
	}
	delete(h, "Http2-Settings")
	header.Strip(h)
	session.StripRequest(h)
	if !rt.PassAuthorization {
		delete(h, "Authorization")
	}
	pr.SetXForwarded()
	with := outgoingOf(out.Context())
	h.Set(header.RequestID, with.exchange.record.RequestID)
	header.Set(h, header.Identity{
		User: with.state.User, Email: with.state.Email, Name: with.state.Name, Groups: with.state.Groups,
	})
}

// filterResponse takes from a backend's answer what is not the backend's to
// say: our cookies, identity headers, and where this host is served otherwise.
func filterResponse(res *http.Response) error {
	h := res.Header
	if fault := h.Get(header.Fault); fault != "" {
		return fmt.Errorf("%w: %q", errSidecarFault, fault)
	}
	session.StripResponse(h)
	header.StripResponse(h)
	delete(h, "Alt-Svc")
	delete(h, "Trailer")
	if out := outgoingOf(res.Request.Context()); out != nil {
		h["Set-Cookie"] = append(h["Set-Cookie"], out.renewal...)
		if len(h["Set-Cookie"]) == 0 {
			delete(h, "Set-Cookie")
		}
	}
	return nil
}

// errSidecarFault: the sidecar answered for an application that did not.
var errSidecarFault = errors.New("sidecar reports a fault of the application")

// backendTransport hides trailers from the reverse proxy: they arrive after the
// answer was filtered.
type backendTransport struct{ base http.RoundTripper }

func (t backendTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.base.RoundTrip(r)
	if err != nil || len(res.Trailer) == 0 {
		return res, err
	}
	filtered := *res
	filtered.Trailer = nil
	return &filtered, nil
}

// backendFailed answers for a backend that did not. The cause is for the log.
func (g *Gateway) backendFailed(w http.ResponseWriter, r *http.Request, err error) {
	out := outgoingOf(r.Context())
	ex := out.exchange
	switch {
	case errors.Is(context.Cause(r.Context()), session.ErrEnded):
		ex.status = http.StatusUnauthorized
		panic(http.ErrAbortHandler)
	case r.Context().Err() != nil:
		ex.record.Cause = "client went away: " + err.Error()
		ex.status = statusClientClosed
		return
	}
	rf := refusal{
		status: http.StatusBadGateway, reason: "backend_unreachable", cause: err,
		title: "The tool does not answer", message: "You are signed in and allowed, but the tool behind this address cannot be reached. Try again in a moment.",
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		rf.status, rf.reason = http.StatusGatewayTimeout, "backend_timeout"
	}
	g.refuse(ex, r, rf)
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

const copyBufferSize = 32 << 10

func (p *bufferPool) Get() []byte {
	if buf, ok := p.pool.Get().(*[]byte); ok {
		return *buf
	}
	return make([]byte, copyBufferSize)
}

func (p *bufferPool) Put(buf []byte) { p.pool.Put(&buf) }
