package syslog

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
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
	cfg    Config
	shape  shape
	stop   context.CancelFunc
	ended  chan struct{}
	away   atomic.Int64 // since when the collector is, in Unix nanoseconds; 0 if it is not
	counts struct{ delivered, failures atomic.Uint64 }

	// The goroutine's alone.
	frames, text []byte        // for reuse
	hold         time.Duration // how long a connection is used
	closes       time.Duration // how long the collector is waited for at its end
}

// Stats are what a Sink has done, and has to do.
type Stats struct {
	// Delivered counts records that the collector has taken, at least once.
	Delivered uint64
	// Failures counts connections that could not be made, or broke.
	Failures uint64
	// Away is since when the collector takes nothing; zero while it does.
	Away time.Time
	// Spool is what waits.
	Spool spool.Stats
}

const (
	// sessionTime and sessionBytes are how much is sent before it is asked whether the
	// collector has taken it: what is sent again at most when a connection breaks.
	sessionTime  = 5 * time.Second
	sessionBytes = 16 << 20
	// atOnce is about how many bytes are read from the spool for one write.
	atOnce = 256 << 10
	// stopTime is how long what is in the spool may take at a stop.
	stopTime = 3 * time.Second
	// firstPause and lastPause are how long a collector that is away is left alone.
	firstPause, lastPause = 100 * time.Millisecond, 15 * time.Second
	// adoptEvery is how often it is looked for what another process has left.
	adoptEvery = 30 * time.Second
)

// New returns a Sink that sends what its spool has, until Close. The goroutine's context
// is ctx without its end.
func New(ctx context.Context, cfg Config) *Sink {
	return start(ctx, cfg, sessionTime)
}

func start(ctx context.Context, cfg Config, hold time.Duration) *Sink {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Sink{
		cfg: cfg, stop: stop, ended: make(chan struct{}), hold: hold, closes: closeTime,
		shape: shape{facility: cfg.Facility, hostname: cfg.Hostname, name: cfg.AppName, format: cfg.Format},
	}
	go s.run(ctx)
	return s
}

// Name implements accesslog.Sink.
func (s *Sink) Name() string { return s.cfg.Name }

// Write implements accesslog.Sink: the batch is in the spool when it returns.
func (s *Sink) Write(_ context.Context, b *accesslog.Batch) error {
	return s.cfg.Spool.Append(spool.Entry{Lines: b.Lines, Instance: b.Instance, Last: b.Last})
}

// Err says why nothing should begin whose records are to reach the collector, or returns
// nil: there is room for them to wait.
func (s *Sink) Err() error { return s.cfg.Spool.Err() }

// Stats says what has become of records.
func (s *Sink) Stats() Stats {
	stats := Stats{Delivered: s.counts.delivered.Load(), Failures: s.counts.failures.Load(), Spool: s.cfg.Spool.Stats()}
	if since := s.away.Load(); since != 0 {
		stats.Away = time.Unix(0, since)
	}
	return stats
}

// Close implements accesslog.Sink: what is in the spool is sent, unless the collector is
// away or that takes long. The rest stays for the next process.
func (s *Sink) Close() error {
	s.stop()
	<-s.ended
	return s.cfg.Spool.Close()
}

// run sends until ctx has ended and nothing is left, or nobody takes it.
func (s *Sink) run(ctx context.Context) {
	defer close(s.ended)
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(cmp.Or(s.cfg.StopWithin, stopTime), giveUp) })()
	pause, adopted := firstPause, time.Time{}
	for {
		if ctx.Err() == nil && time.Since(adopted) > adoptEvery {
			s.adopt(ctx)
			adopted = time.Now()
		}
		err := s.session(ctx, sending, adoptEvery)
		switch {
		case err == nil:
			pause = firstPause
			continue
		case errors.Is(err, errNothing) && ctx.Err() == nil:
			continue
		case ctx.Err() != nil: // stopping: no second try
			return
		}
		s.failed(err)
		s.cfg.Spool.Rewind()
		sleep(ctx, pause/2+rand.N(pause)) //nolint:gosec // jitter spreads what replicas do; it keeps no secret
		pause = min(2*pause, lastPause)
	}
}

// adopt takes over what another process has left. A failure is no reason to wait: the
// rest is taken over later.
func (s *Sink) adopt(ctx context.Context) {
	if err := s.cfg.Spool.Adopt(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, spool.ErrFull) {
		s.cfg.Log.Warn("spool of another process cannot be taken over", "sink", s.cfg.Name, "error", err)
	}
}

// failed tells, once, that the collector is away.
func (s *Sink) failed(err error) {
	s.counts.failures.Add(1)
	if s.away.CompareAndSwap(0, time.Now().UnixNano()) {
		s.cfg.Log.Warn("collector of access log is away; records wait on disk", "sink", s.cfg.Name, "collector", s.cfg.Address, "error", err)
	}
}

// succeeded tells, once, that it is back.
func (s *Sink) succeeded(records int) {
	s.counts.delivered.Add(uint64(records)) //nolint:gosec // counts records
	if since := s.away.Swap(0); since != 0 {
		s.cfg.Log.Info("collector of access log is back", "sink", s.cfg.Name, "away", time.Since(time.Unix(0, since)))
	}
}

// sleep waits, but not beyond the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
