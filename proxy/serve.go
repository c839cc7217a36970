package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/proxy/listen"
	"github.com/sallyport/sallyport/proxy/relay"
)

// ServerConfig is what Serve needs. It must not be changed afterwards.
type ServerConfig struct {
	// Listener accepts plain TCP connections; Serve closes it. Required.
	Listener net.Listener
	// TLS ends TLS on them; nil serves plain HTTP, for the admin listener.
	TLS *tls.Config
	// Handler answers. Required.
	Handler http.Handler
	// Announce is how long connections are still taken after ctx has ended. Each
	// answer ends its connection by then, so that clients leave by themselves. With
	// zero, whoever sends a request on an idle connection at the moment of the stop
	// may lose it.
	Announce time.Duration
	// Drain is how long requests in flight may take after that.
	Drain time.Duration
	// Quiet, if not nil, is called before the listener is closed, and returns when
	// no connection waits to be accepted any more and none can come.
	Quiet func(context.Context)
	// Log gets what net/http says, mostly of handshakes that strangers fail, with
	// their address and the cause; nil discards.
	Log *slog.Logger
	// Strangers is the level of those lines: a matter of course before browsers,
	// an alarm where only the gateway has business. The zero value is Info.
	Strangers slog.Level
	// Opened, if not nil, is called with each connection, and returns the context of what
	// is asked on it; Closed when it was closed, and not for one that was upgraded. Both
	// are called concurrently.
	Opened func(context.Context, net.Conn) context.Context
	Closed func(net.Conn)
	// HTTP2Error, if not nil, is told of the kinds of faults of HTTP/2 clients. It is
	// called concurrently.
	HTTP2Error func(kind string)
}

const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	maxStreams     = 100
	// cutPatience is how long a handler may take to notice that it was cut, and
	// to write its line.
	cutPatience = 2 * time.Second
)

// Serve answers on a listener until ctx ends, and then stops: for Announce it goes
// on, but has every client leave its connection; then it takes no new connections,
// ends event streams and WebSockets, whose clients come back by themselves, and has
// requests in flight finish within the drain deadline. What is left then is cut. It
// returns nil after a clean stop, and ErrDrain when something had to be cut. A listener
// that breaks stops it too, with an error, and no earlier: requests in flight end, and are
// recorded, all the same.
func Serve(ctx context.Context, cfg ServerConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	handler := newAwaited(requests, cfg.Handler)
	server := &http.Server{
		Handler: handler, TLSConfig: cfg.TLS.Clone(), // net/http writes into it, and HTTP/3 may have the same
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" gets a line like everything else
		HTTP2:                        http2Limits(cfg),
		ConnState: func(c net.Conn, state http.ConnState) {
			handler.fresh.note(c, state)
			switch {
			case state == http.StateActive:
				listen.Settle(c)
			case state == http.StateClosed && cfg.Closed != nil:
				cfg.Closed(c)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if cfg.Opened != nil {
				ctx = cfg.Opened(ctx, c)
			}
			return context.WithValue(ctx, relay.HolderKey{}, listen.HolderOf(c))
		},
		ErrorLog:    slog.NewLogLogger(cfg.Log.Handler(), cfg.Strangers),
		BaseContext: func(net.Listener) context.Context { return requests },
	}
	accepting := make(chan error, 1)
	go func() { accepting <- serveListener(server, cfg) }()
	var stopped error
	select {
	case err := <-accepting:
		handler.leave()
		cfg.Announce = 0 // nobody else can come
		stopped = fmt.Errorf("serving on %s: %w", cfg.Listener.Addr(), err)
	case <-ctx.Done():
		if stopped = leave(context.WithoutCancel(ctx), handler, cfg, accepting); errors.Is(stopped, net.ErrClosed) {
			stopped = nil
		}
	}
	err := drain(context.WithoutCancel(ctx), server, handler, cfg)
	cut()
	_ = server.Close() // what is left is cut: there is nobody to tell
	if !handler.ended(context.WithoutCancel(ctx), cutPatience) {
		err = ErrDrain
	}
	return errors.Join(err, stopped)
}

func serveListener(server *http.Server, cfg ServerConfig) error {
	if cfg.TLS == nil {
		return server.Serve(cfg.Listener)
	}
	return server.ServeTLS(cfg.Listener, "", "")
}

// leave has clients leave, and then takes no new ones. It returns how accepting them
// has ended: with it, the server knows of every connection that it was given, and waits
// for its first request.
func leave(ctx context.Context, handler *awaited, cfg ServerConfig, accepting <-chan error) error {
	handler.leave()
	pause(ctx, cfg.Announce)
	if cfg.Quiet != nil {
		cfg.Quiet(ctx)
	}
	if err := cfg.Listener.Close(); err != nil {
		return errors.Join(err, <-accepting) // it was closed by a fault of its own, so nothing is accepted any more
	}
	return <-accepting
}

// drain waits until nothing is left, or the time is up. http.Server.Shutdown comes last:
// it closes idle connections at once, on which a request may be on its way, and every
// connection whose answer has said that it would go on.
func drain(ctx context.Context, server *http.Server, handler *awaited, cfg ServerConfig) error {
	handler.endStreams()
	ctx, cancel := context.WithTimeout(ctx, cfg.Drain)
	defer cancel()
	if !handler.drained(ctx, cfg.Announce) {
		return ErrDrain
	}
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrDrain
	}
	return err
}

// pause waits for d, or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
