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
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// Config is what a Sidecar needs. It must not be changed after New. Where peers are to be
// let in no longer at some time, a [Living] stands beside it, and is told by the server of
// each connection.
type Config struct {
	// App is the application's address, http://HOST:PORT with a loopback host, or
	// unix:/PATH. Required.
	App *url.URL
	// H2C says that the application speaks HTTP/2 in the clear, with prior knowledge
	// (RFC 9113 section 3.3). WebSockets need HTTP/1.1, and do not reach it then.
	H2C bool
	// PeerName returns the verified name of a connection's peer, or an error
	// when there is none. Called concurrently. Required.
	PeerName func(tls.ConnectionState) (string, error)
	// Headers are the names under which the application is told who asks, and which
	// alone; nil has it told as the gateway has set it.
	Headers *header.Template
	// Assertions verifies that of every request; nil asks for none.
	Assertions *assertion.Verifier
	// HealthPath is answered by the sidecar itself; "" for no path.
	HealthPath string
	// Health says why the sidecar does not work, for HealthPath; called concurrently. Nil
	// means that it does.
	Health func() error
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
	app      application
	target   *url.URL
	proxy    relay.Forwarder
	recorder relay.Recorder
}

// New returns a Sidecar, or an error that names what is wrong with cfg.
func New(cfg Config) (*Sidecar, error) {
	app, err := applicationOf(cfg.App, "http")
	if err != nil {
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
	s := &Sidecar{cfg: cfg, app: app, target: app.target(), recorder: relay.Recorder{Access: cfg.Access, Log: cfg.Log, Now: cfg.Now}}
	s.proxy = relay.Forwarder{Plain: &httputil.ReverseProxy{
		Rewrite:        s.rewrite,
		Transport:      relay.SafeTrailers{Base: app.transport(cfg.H2C)},
		ModifyResponse: func(res *http.Response) error { header.StripResponse(res.Header); return nil },
		ErrorHandler:   appFailed,
		BufferPool:     new(relay.Buffers),
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}}
	return s, nil
}

// ServeHTTP hands one request on and writes its line.
func (s *Sidecar) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.recorder.Serve(w, r, s.serve) }

// serve is the way of a request, after its record was opened.
func (s *Sidecar) serve(ex *relay.Exchange, r *http.Request) {
	ex.Record.Action = accesslog.ActionAccess
	// Before it is let in: who is taken off the list just then is cut, and not overlooked.
	living := lifeOf(r)
	v := s.admit(r, &ex.Record)
	switch {
	case v.err != nil:
		ex.Fail(v.err)
		if ex.Record.Reason == "no_peer" {
			ex.Header().Set("Connection", "close") // nothing else is let in on it either
		}
		refuse(ex, v.status, ex.Record.Reason)
		return
	case v.health:
		s.tellHealth(ex)
		return
	}
	if living != nil {
		defer living.close(r.Context(), ex)
	}
	s.forward(ex, r, v.card)
}

// forward hands a request on that was let in.
func (s *Sidecar) forward(ex *relay.Exchange, r *http.Request, card *header.Card) {
	ex.Record.Upstream = s.app.name
	ex.Duplex()
	ex.Time(s.cfg.Now)
	defer ex.BoundBody(r.Context())() // an upload that is cut waits for nobody
	ctx := context.WithValue(r.Context(), relay.TimedKey{}, ex)
	if card != nil {
		ctx = context.WithValue(ctx, cardKey{}, card)
	}
	if parent := r.Header.Get(header.Trace); parent != "" {
		span := s.trace(ctx, ex, parent, r.Header)
		defer span.EndForward(&ex.Record)
		ctx = context.WithValue(ctx, spanKey{}, span)
	}
	s.proxy.Forward(ctx, ex, r)
}

// tellHealth says whether the sidecar works, and no more.
func (s *Sidecar) tellHealth(ex *relay.Exchange) {
	if s.cfg.Health != nil {
		if err := s.cfg.Health(); err != nil {
			ex.Fail(err)
			http.Error(ex, "not ready", http.StatusServiceUnavailable)
			return
		}
	}
	ex.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(ex, "ok\n") // the prober's loss
}

// cardKey is the key of the *header.Card of who asks.
type cardKey struct{}

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

// rewrite makes the request that the application gets. The hop-by-hop headers
// are gone before it runs, and with them every X-Forwarded header that
// net/http knows, so all of the gateway's values are carried over from In.
func (s *Sidecar) rewrite(pr *httputil.ProxyRequest) {
	relay.Retarget(pr, s.target)
	// In is as admit has found it good, so neither can fail; if it did, the
	// application would be told nothing.
	if card, ok := pr.Out.Context().Value(cardKey{}).(*header.Card); ok {
		_ = s.cfg.Headers.CarryAs(card, pr.Out.Header, pr.In.Header)
	} else {
		_ = header.Carry(pr.Out.Header, pr.In.Header)
	}
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
