// Package serve runs an HTTP server of the demo until it is told to stop.
//
// The product's own servers do not use it: they drain, count and report. The
// servers of the demo only have to end promptly and without a stray goroutine,
// open event streams and WebSockets included.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Until serves handler on ln until ctx ends, then ends the contexts of running
// requests and returns nil when they are done; ln is closed in every case.
func Until(ctx context.Context, ln net.Listener, handler http.Handler, log *slog.Logger) error {
	requests, cancelRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelRequests()
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	log.Info("serving", "address", ln.Addr().String())
	select {
	case err := <-ended:
		return fmt.Errorf("serving on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	cancelRequests()
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := server.Shutdown(deadline); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stopping: %w", err)
	}
	<-ended //nolint:errcheck // http.ErrServerClosed, as Shutdown makes it
	log.Info("stopped")
	return nil
}
