package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServerConfig is what Serve needs. It must not be changed afterwards.
type ServerConfig struct {
	// Listener accepts plain TCP connections; Serve closes it. Required.
	Listener net.Listener
	// TLS ends TLS on them; nil serves plain HTTP, for the admin listener.
	TLS *tls.Config
	// Handler answers. Required.
	Handler http.Handler
	// Drain is how long requests in flight may take after ctx has ended.
	Drain time.Duration
	// Log gets what net/http says, mostly of handshakes that strangers fail, with
	// their address and the cause; nil discards.
	Log *slog.Logger
	// Strangers is the level of those lines: a matter of course before browsers,
	// an alarm where only the gateway has business. The zero value is Info.
	Strangers slog.Level
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

// Serve answers on a listener until ctx ends, and then stops in two phases: no
// new connections, and requests in flight finish within the drain deadline;
// what is left then (mostly upgraded connections) is cut. It returns nil after
// a clean stop, and ErrDrain when something had to be cut.
func Serve(ctx context.Context, cfg ServerConfig) error {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	handler := &awaited{Handler: cfg.Handler}
	server := &http.Server{
		Handler: handler, TLSConfig: cfg.TLS,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" gets a line like everything else
		HTTP2:                        http2Limits(cfg.HTTP2Error),
		ErrorLog:                     slog.NewLogLogger(cfg.Log.Handler(), cfg.Strangers),
		BaseContext:                  func(net.Listener) context.Context { return requests },
	}
	failed := make(chan error, 1)
	go func() { failed <- serveListener(server, cfg) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", cfg.Listener.Addr(), err)
	case <-ctx.Done():
	}
	err := drain(context.WithoutCancel(ctx), server, cfg.Drain)
	cut()
	_ = server.Close() // what is left is cut: there is nobody to tell
	if !handler.wait(cutPatience) {
		err = ErrDrain
	}
	if stopped := <-failed; !errors.Is(stopped, http.ErrServerClosed) {
		return errors.Join(err, stopped)
	}
	return err
}

// awaited is a handler whose end can be waited for. net/http waits neither for
// what it cuts nor for upgraded connections, but each has a line to write.
type awaited struct {
	http.Handler
	running sync.RWMutex // held for reading by every request
}

// ServeHTTP implements http.Handler.
func (a *awaited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.running.RLock()
	defer a.running.RUnlock()
	a.Handler.ServeHTTP(w, r)
}

// wait reports whether every request that was begun has ended within limit.
func (a *awaited) wait(limit time.Duration) bool {
	ended := make(chan struct{})
	go func() { // ends with the last handler
		a.running.Lock()
		defer a.running.Unlock()
		close(ended)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

func serveListener(server *http.Server, cfg ServerConfig) error {
	if cfg.TLS == nil {
		return server.Serve(cfg.Listener)
	}
	return server.ServeTLS(cfg.Listener, "", "")
}

// drain waits for requests in flight, for the given time.
func drain(ctx context.Context, server *http.Server, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrDrain
	}
	return err
}
