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
	"context"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/courier"
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
	*courier.Courier
	cfg Config

	// The goroutine's alone.
	encoder encoder
	raw     []byte // the message, for reuse
}

// readAtOnce is about how many bytes of lines are read from the spool at once: a message,
// since what is read is acknowledged together.
const readAtOnce = maxBytes

// New returns a Sink that delivers what its spool has, until Close. The goroutine's
// context is ctx without its end.
func New(ctx context.Context, cfg Config) *Sink {
	s := &Sink{
		Courier: courier.New(courier.Config{Name: cfg.Name, Collector: cfg.Collector.Address(), Spool: cfg.Spool, StopWithin: cfg.StopWithin, Log: cfg.Log}),
		cfg:     cfg,
	}
	s.Start(ctx, s.turn)
	return s
}

// Close implements accesslog.Sink: what is in the spool is delivered, unless the
// collector is away or that takes long. The rest stays for the next start.
func (s *Sink) Close() error {
	defer s.cfg.Collector.Close()
	return s.Courier.Close()
}

// turn delivers what is read at once.
func (s *Sink) turn(ctx, sending context.Context) error {
	chunk, err := s.Read(ctx, 0, readAtOnce)
	if err != nil {
		return err
	}
	if err := s.deliver(ctx, sending, chunk.Lines); err != nil {
		return err
	}
	if err := s.cfg.Spool.Ack(chunk); err != nil {
		s.cfg.Log.Warn("spool does not note what was delivered: it will be delivered again", "sink", s.cfg.Name, "error", err)
	}
	return nil
}
