// Package sidecar is the other end of the inner door: it stands beside one
// unmodified application, lets in only the gateway, and hands requests on to
// the application over loopback.
//
// That the peer is the gateway is proven by mutual TLS before this package sees
// a byte (the tls.Config demands it, on resumed connections too) and asserted
// here once more. The same list of headers that the gateway stripped and set is
// stripped again, and set from what the gateway says it has set: an application reads
// the gateway's values in one spelling, as often as there are, or nothing.
//
// Hostile input: requests of whoever reaches the listener, and the
// application's answers. Output: plain HTTP to loopback, in version 1.1 or 2, and one
// line per request.
package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/http1"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// Config is what a Sidecar needs. It must not be changed after New.
type Config struct {
	// App is the application's address, http://HOST:PORT with a loopback host.
	// Required.
	App *url.URL
	// H2C says that the application speaks HTTP/2 in the clear, with prior knowledge
	// (RFC 9113 section 3.3). WebSockets need HTTP/1.1, and do not reach it then.
	H2C bool
	// PeerName returns the verified name of a connection's peer, or an error
	// when there is none. Called concurrently. Required.
	PeerName func(tls.ConnectionState) (string, error)
	// Tracer begins spans, as parts of what the gateway traces; nil traces nothing.
	Tracer *tracing.Tracer
	// NoUsers has lines of the access log not say who asks.
	NoUsers bool
	// Access gets one line per request. Required.
	Access *accesslog.Log
	// Log is for what no request is to blame for; nil discards.
	Log *slog.Logger
	// Now is the clock, called concurrently; nil means time.Now.
	Now func() time.Time
}

// Sidecar guards one application, as an http.Handler. It is immutable and safe
// for concurrent use.
type Sidecar struct {
	cfg      Config
	proxy    relay.Forwarder
	recorder relay.Recorder
}

const (
	appDialTimeout = 5 * time.Second
	// appHeaderTimeout is longer than the longest backend.timeouts.response_header of a
	// gateway: that alone decides, and when it gives up, so does the sidecar.
	appHeaderTimeout = time.Hour + time.Minute
	appHeaderBytes   = 256 << 10
	appIdleConns     = 256
	// appContinue is how long the application may take to say whether it wants the
	// body of a request that asks first; then it is sent anyhow.
	appContinue = time.Second
	// appPing is how long an application that speaks HTTP/2 may be silent before it is
	// asked whether it is still there.
	appPing = 30 * time.Second
)

// New returns a Sidecar, or an error that names what is wrong with cfg.
func New(cfg Config) (*Sidecar, error) {
	if err := checkApp(cfg.App); err != nil {
		return nil, err
	}
	if cfg.PeerName == nil || cfg.Access == nil {
		return nil, errors.New("sidecar needs PeerName and Access")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sidecar{cfg: cfg, recorder: relay.Recorder{Access: cfg.Access, Log: cfg.Log, Now: cfg.Now}}
	s.proxy = relay.Forwarder{Plain: &httputil.ReverseProxy{
		Rewrite:        s.rewrite,
		Transport:      relay.SafeTrailers{Base: newTransport(cfg.H2C)},
		ModifyResponse: func(res *http.Response) error { header.StripResponse(res.Header); return nil },
		ErrorHandler:   appFailed,
		BufferPool:     new(relay.Buffers),
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}}
	return s, nil
}

// checkApp refuses an address that anybody but this machine's sidecar may
// reach, or that is more than an origin.
func checkApp(app *url.URL) error {
	switch {
	case app == nil || app.Scheme != "http" || !loopback(app.Hostname()):
		return fmt.Errorf("application address %v: expected http:// and a loopback host, so that nobody walks round the sidecar", app)
	case app.User != nil || app.Path != "" && app.Path != "/" || app.RawQuery != "" || app.Fragment != "":
		return fmt.Errorf("application address %s: expected http://HOST:PORT and nothing else", app.Redacted())
	}
	return nil
}

// newTransport is HTTP in the clear, over loopback, past any proxy that the
// environment names: HTTP/1.1, or HTTP/2.
func newTransport(h2c bool) http.RoundTripper {
	if !h2c {
		return http1.New(http1.Config{
			DialTimeout: appDialTimeout, HeaderTimeout: appHeaderTimeout, ContinueTimeout: appContinue,
			MaxHeaderBytes: appHeaderBytes, MaxIdle: appIdleConns, IdleTimeout: time.Minute,
		})
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Protocols: &protocols, HTTP2: &http.HTTP2Config{SendPingTimeout: appPing, PingTimeout: appDialTimeout},
		DialContext:            (&net.Dialer{Timeout: appDialTimeout}).DialContext,
		ResponseHeaderTimeout:  appHeaderTimeout,
		MaxResponseHeaderBytes: appHeaderBytes,
		MaxIdleConnsPerHost:    appIdleConns,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true,
		ExpectContinueTimeout:  appContinue,
	}
}

// loopback reports whether host is this machine and nothing else.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// ServeHTTP hands one request on and writes its line.
func (s *Sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.recorder.Serve(w, r, s.serve) }

// serve is the way of a request, after its record was opened.
func (s *Sidecar) serve(ex *relay.Exchange, r *http.Request) {
	ex.Record.Action = accesslog.ActionAccess
	if status, err := s.admit(r, &ex.Record); err != nil {
		ex.Fail(err)
		refuse(ex, status, ex.Record.Reason)
		return
	}
	ex.Record.Upstream = s.cfg.App.Host
	ex.Duplex()
	ex.Time(s.cfg.Now)
	ctx := context.WithValue(r.Context(), relay.TimedKey{}, ex)
	if parent := r.Header.Get(header.Trace); parent != "" {
		span := s.trace(ctx, ex, parent, r.Header)
		defer span.EndForward(&ex.Record)
		ctx = context.WithValue(ctx, spanKey{}, span)
	}
	s.proxy.Forward(ctx, ex, r)
}

// spanKey is the key of the *tracing.Span of what the application is asked.
type spanKey struct{}

// trace has the request be a part of the trace that the gateway has begun or continued,
// and returns the span of what the application is asked, nil if there is none.
func (s *Sidecar) trace(ctx context.Context, ex *relay.Exchange, parent string, h http.Header) *tracing.Span {
	if ex.Span = s.cfg.Tracer.Continue(ctx, parent, h["Tracestate"]); ex.Span == nil {
		ex.Record.TraceID = tracing.TraceIDOf(ctx, parent)
		return nil
	}
	ex.Span.Note(&ex.Record)
	return ex.Span.Forward()
}

// admit decides whether a request comes from the gateway and is unambiguous,
// and gives the status of the refusal if not. It changes nothing in r.
func (s *Sidecar) admit(r *http.Request, record *accesslog.Record) (status int, err error) {
	if r.TLS == nil {
		record.Reason = "no_tls"
		return http.StatusForbidden, errors.New("request without TLS")
	}
	peer, err := s.cfg.PeerName(*r.TLS)
	if err != nil {
		record.Reason = "no_peer"
		return http.StatusForbidden, err
	}
	record.Rule = "peer:" + peer
	switch { // no gateway sends these, and an application may read them as another request
	case !relay.ValidMethod(r.Method):
		record.Reason = "method"
		return http.StatusMethodNotAllowed, errors.New("method is none that a gateway sends")
	case !relay.ValidTarget(r):
		record.Reason = "path"
		return http.StatusBadRequest, errors.New("target is none that a gateway sends")
	}
	if err := header.Check(r.Header); err != nil {
		record.Reason = "ambiguous_header"
		return http.StatusBadRequest, err
	}
	if record.RequestID = r.Header.Get(header.RequestID); !s.cfg.NoUsers {
		record.User = header.PersonOf(r.Header)
	}
	if err := s.cfg.Access.Err(); err != nil { // tried again with this refusal's own line
		record.Reason = "access_log"
		return http.StatusServiceUnavailable, err
	}
	record.Decision, record.Reason = accesslog.DecisionAllow, "gateway"
	return 0, nil
}

// rewrite makes the request that the application gets. The hop-by-hop headers
// are gone before it runs, and with them every X-Forwarded header that
// net/http knows, so all of the gateway's values are carried over from In.
func (s *Sidecar) rewrite(pr *httputil.ProxyRequest) {
	relay.Retarget(pr, s.cfg.App)
	// In is as admit has found it good, so this cannot fail; if it did, the
	// application would be told nothing.
	_ = header.Carry(pr.Out.Header, pr.In.Header)
	span, _ := pr.Out.Context().Value(spanKey{}).(*tracing.Span)
	span.Inject(pr.Out.Header)
}

// appFailed answers for an application that did not; the gateway turns it into
// a page.
func appFailed(w http.ResponseWriter, r *http.Request, err error) {
	if ex, ok := w.(*relay.Exchange); ok {
		ex.Fail(err)
	}
	if r.Context().Err() != nil {
		// The gateway has hung up, or we are stopping: an empty answer must not
		// pass for the application's.
		panic(http.ErrAbortHandler)
	}
	refuse(w, http.StatusBadGateway, "app_unreachable")
}

// refuse answers for the sidecar itself, so that the gateway can tell it from
// the application.
func refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set(header.Fault, reason)
	http.Error(w, http.StatusText(status), status)
}
