package syslog

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/courier"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
)

// Config is what a Sink needs. It must not be modified after New.
type Config struct {
	// Name is what errors and metrics call the sink.
	Name string
	// Address is the collector's host:port.
	Address string
	// TLS is how to verify it, and whom to be towards it; asked for each connection. Nil
	// is plain TCP.
	TLS func() (*tls.Config, error)
	// Facility is a number of RFC 5424 section 6.2.1, Hostname and AppName what messages
	// say of where they are from.
	Facility          int
	Hostname, AppName string
	// Format appends what a message says in place of the line, which it is given without
	// its line break. Nil is the line as it is.
	Format func(dst, line []byte) []byte
	// Spool is where records wait. The Sink closes it.
	Spool *spool.Spool
	// StopWithin is how long what is in the spool may take to be delivered at a stop; 0 is
	// three seconds.
	StopWithin time.Duration
	// Log is required.
	Log *slog.Logger
}

// Sink is one collector. It is an accesslog.Sink.
type Sink struct {
	*courier.Courier
	cfg   Config
	shape shape

	// The goroutine's alone.
	frames, text []byte        // for reuse
	hold         time.Duration // how long a connection is used
	closes       time.Duration // how long the collector is waited for at its end
}

const (
	// sessionTime and sessionBytes are how much is sent before it is asked whether the
	// collector has taken it: what is sent again at most when a connection breaks.
	sessionTime  = 5 * time.Second
	sessionBytes = 16 << 20
	// atOnce is about how many bytes are read from the spool for one write.
	atOnce = 256 << 10
)

// New returns a Sink that sends what its spool has, until Close. The goroutine's context
// is ctx without its end.
func New(ctx context.Context, cfg Config) *Sink {
	return start(ctx, cfg, sessionTime)
}

func start(ctx context.Context, cfg Config, hold time.Duration) *Sink {
	s := &Sink{
		Courier: courier.New(courier.Config{Name: cfg.Name, Collector: cfg.Address, Spool: cfg.Spool, StopWithin: cfg.StopWithin, Log: cfg.Log}),
		cfg:     cfg, hold: hold, closes: closeTime,
		shape: shape{facility: cfg.Facility, hostname: cfg.Hostname, name: cfg.AppName, format: cfg.Format},
	}
	s.Start(ctx, s.session)
	return s
}
