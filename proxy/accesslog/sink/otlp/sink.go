// Package otlp sends records of the access log to a collector by the OpenTelemetry
// protocol, as log records whose body is the line as it was sealed: what the collector
// has can be verified as the file can.
//
// A batch is safe once it is in the spool, on disk; a goroutine delivers it from there,
// in order, and waits while the collector is away. Each record arrives at least once: one
// that was taken just before a connection broke comes again, with the same sequence
// number and the same bytes. What a collector says it will never take is named in the
// log, and counted; it is still in the file.
//
// Hostile input: the collector's answers, which package proxy/otlp bounds. Lines are our
// own.
package otlp

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
	"github.com/sallyport/sallyport/proxy/otlp"
)

// Config is what a Sink needs. It must not be changed after New.
type Config struct {
	// Name is what errors and metrics call the sink. Required.
	Name string
	// Collector gets the records. Required.
	Collector *otlp.Client
	// Spool is where they wait; the Sink closes it. Required.
	Spool *spool.Spool
	// Format appends to dst what a record's body is, in place of the line, which it is
	// given without its line break; a record that it has nothing for is not sent. Nil
	// leaves the line as it is.
	Format func(dst, line []byte) []byte
	// StopWithin is how long what is in the spool may take to be delivered at a stop; 0 is
	// three seconds.
	StopWithin time.Duration
	// Log is required.
	Log *slog.Logger
}

// Sink is one collector. It implements accesslog.Sink.
type Sink struct {
	cfg    Config
	stop   context.CancelFunc
	ended  chan struct{}
	since  atomic.Int64 // from when the collector is away, in Unix nanoseconds; 0 if it is not
	counts counts

	// The goroutine's alone.
	encoder encoder
	raw     []byte // the message, for reuse
}

type counts struct{ delivered, rejected, failures atomic.Uint64 }

// Stats are what a sink has done, and what it has to do.
type Stats struct {
	// Delivered counts records that the collector has taken, at least once, and Rejected
	// those that it will never take.
	Delivered, Rejected uint64
	// Failures counts messages that were not taken and are sent again.
	Failures uint64
	// Away is from when the collector takes nothing; zero while it does.
	Away time.Time
	// Spool is what waits.
	Spool spool.Stats
}

// closing is how long what is in the spool may take to be delivered at a stop.
const closing = 3 * time.Second

const (
	// readAtOnce is about how many bytes of lines are read from the spool at once: a
	// message, since what is read is acknowledged together.
	readAtOnce = maxBytes
	// adoptEvery is how often it is looked for what another process has left, while
	// nothing else is to do.
	adoptEvery = 30 * time.Second
)

// New returns a Sink that delivers what its spool has, until Close. The goroutine's
// context is ctx without its end.
func New(ctx context.Context, cfg Config) *Sink {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Sink{cfg: cfg, stop: stop, ended: make(chan struct{})}
	go s.run(ctx)
	return s
}

// Write implements accesslog.Sink: the batch is in the spool when it returns.
func (s *Sink) Write(_ context.Context, b *accesslog.Batch) error {
	return s.cfg.Spool.Append(spool.Entry{Lines: b.Lines, Instance: b.Instance, Last: b.Last})
}

// Err says why nothing should begin whose records are to reach the collector, or returns
// nil: there is room for them to wait.
func (s *Sink) Err() error { return s.cfg.Spool.Err() }

// Name implements accesslog.Sink.
func (s *Sink) Name() string { return s.cfg.Name }

// Stats says what has become of records.
func (s *Sink) Stats() Stats {
	stats := Stats{
		Delivered: s.counts.delivered.Load(), Rejected: s.counts.rejected.Load(), Failures: s.counts.failures.Load(), Spool: s.cfg.Spool.Stats(),
	}
	if since := s.since.Load(); since != 0 {
		stats.Away = time.Unix(0, since)
	}
	return stats
}

// Close implements accesslog.Sink: what is in the spool is delivered, unless the
// collector is away or that takes long. The rest stays for the next start.
func (s *Sink) Close() error {
	s.stop()
	<-s.ended
	s.cfg.Collector.Close()
	return s.cfg.Spool.Close()
}

// run delivers what the spool has, until ctx has ended and there is nothing left, or the
// collector is away.
func (s *Sink) run(ctx context.Context) {
	defer close(s.ended)
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(cmp.Or(s.cfg.StopWithin, closing), giveUp) })()
	adopted := time.Time{}
	for sending.Err() == nil {
		if ctx.Err() == nil && time.Since(adopted) > adoptEvery {
			s.adopt(ctx)
			adopted = time.Now()
		}
		chunk, err := s.next(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return
		case errors.Is(err, context.DeadlineExceeded):
			continue
		default:
			s.cfg.Log.Error("spool cannot be read: its records wait", "sink", s.cfg.Name, "error", err)
			_ = sleep(ctx, maxPause) // its end is seen above
			continue
		}
		if s.deliver(ctx, sending, chunk.Lines) != nil {
			return
		}
		if err := s.cfg.Spool.Ack(chunk); err != nil {
			s.cfg.Log.Warn("spool does not note what was delivered: it will be delivered again", "sink", s.cfg.Name, "error", err)
		}
	}
}

// next reads from the spool, and waits for that no longer than adoptEvery.
func (s *Sink) next(ctx context.Context) (spool.Chunk, error) {
	ctx, cancel := context.WithTimeout(ctx, adoptEvery)
	defer cancel()
	return s.cfg.Spool.Read(ctx, readAtOnce)
}

// adopt takes over what another process has left. A failure is no reason to wait: the
// rest is taken over later.
func (s *Sink) adopt(ctx context.Context) {
	if err := s.cfg.Spool.Adopt(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, spool.ErrFull) {
		s.cfg.Log.Warn("spool of another process cannot be taken over", "sink", s.cfg.Name, "error", err)
	}
}
