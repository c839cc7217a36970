// Package courier is what sinks for collectors have in common, whatever they speak: a batch
// is safe once it is in the spool, and a goroutine brings it from there to the collector,
// takes over what processes that are no more have left, waits while the collector is away,
// and tells once of that.
package courier

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
)

// Config is what a Courier needs. It must not be modified after New.
type Config struct {
	// Name is what errors and metrics call the sink, Collector where it delivers to.
	Name, Collector string
	// Spool is where records wait. The Courier closes it.
	Spool *spool.Spool
	// StopWithin is how long what is in the spool may take to be delivered at a stop; 0 is
	// three seconds.
	StopWithin time.Duration
	// Log is required.
	Log *slog.Logger
}

// Courier is an accesslog.Sink, but for what it says to the collector. Read, Taken,
// Rejected and Away are for the Turn that runs; everything else for anybody.
type Courier struct {
	cfg    Config
	stop   context.CancelFunc
	ended  chan struct{}
	away   atomic.Int64 // since when the collector is, in Unix nanoseconds; 0 if it is not
	counts struct{ delivered, rejected, failures atomic.Uint64 }
}

// Stats are what a Courier has done, and has to do.
type Stats struct {
	// Delivered counts records that the collector has taken, at least once, and Rejected
	// those that it will never take.
	Delivered, Rejected uint64
	// Failures counts what was tried, was not taken and is tried again.
	Failures uint64
	// Away is since when the collector takes nothing; zero while it does.
	Away time.Time
	// Spool is what waits.
	Spool spool.Stats
}

const (
	// stopTime is how long what is in the spool may take at a stop.
	stopTime = 3 * time.Second
	// firstPause and lastPause are how long a collector that is away is left alone.
	firstPause, lastPause = 100 * time.Millisecond, 15 * time.Second
	// adoptEvery is how often it is looked for what another process has left.
	adoptEvery = 30 * time.Second
)

// Turn delivers some of what the spool has, and acknowledges it. It reads with ctx, whose
// end says that nothing more will come but what is there, and sends with sending, whose end
// says that nobody waits any more. After an error what was not acknowledged is read again;
// errors of Read are returned as they are.
type Turn func(ctx, sending context.Context) error

var (
	// ErrNothing says that nothing came to be sent.
	ErrNothing = errors.New("nothing to send")
	// errSpool says that it is not the collector's fault.
	errSpool = errors.New("reading what waits for a collector")
)

// New returns a Courier that does nothing before Start.
func New(cfg Config) *Courier { return &Courier{cfg: cfg, ended: make(chan struct{})} }

// Start begins to deliver, by one turn after the other, until Close. The goroutine's
// context is ctx without its end.
func (c *Courier) Start(ctx context.Context, turn Turn) {
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	go c.run(ctx, turn)
}

// Name implements accesslog.Sink.
func (c *Courier) Name() string { return c.cfg.Name }

// Write implements accesslog.Sink: the batch is in the spool when it returns.
func (c *Courier) Write(_ context.Context, b *accesslog.Batch) error {
	return c.cfg.Spool.Append(spool.Entry{Lines: b.Lines, Instance: b.Instance, Last: b.Last})
}

// Err implements accesslog.Judge: nothing should begin whose records are to reach the
// collector while there is hardly any room for them to wait.
func (c *Courier) Err() error { return c.cfg.Spool.Err() }

// Spool is where records wait.
func (c *Courier) Spool() *spool.Spool { return c.cfg.Spool }

// Stats says what has become of records.
func (c *Courier) Stats() Stats {
	stats := Stats{
		Delivered: c.counts.delivered.Load(), Rejected: c.counts.rejected.Load(), Failures: c.counts.failures.Load(), Spool: c.cfg.Spool.Stats(),
	}
	if since := c.away.Load(); since != 0 {
		stats.Away = time.Unix(0, since)
	}
	return stats
}

// Close implements accesslog.Sink: what is in the spool is delivered, unless the collector is
// away or that takes long. The rest stays for the next process.
func (c *Courier) Close() error {
	c.stop()
	<-c.ended
	return c.cfg.Spool.Close()
}

// run delivers until ctx has ended and nothing is left, or nobody takes it.
func (c *Courier) run(ctx context.Context, turn Turn) {
	defer close(c.ended)
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(cmp.Or(c.cfg.StopWithin, stopTime), giveUp) })()
	pause, adopted := firstPause, time.Time{}
	for sending.Err() == nil {
		if ctx.Err() == nil && time.Since(adopted) > adoptEvery {
			c.adopt(ctx)
			adopted = time.Now()
		}
		switch err := turn(ctx, sending); {
		case err == nil:
			pause = firstPause
			continue
		case ctx.Err() != nil: // stopping: no second try
			return
		case errors.Is(err, ErrNothing):
			continue
		case errors.Is(err, errSpool):
			if pause == firstPause { // once
				c.cfg.Log.Error("spool cannot be read: its records wait", "sink", c.cfg.Name, "error", err)
			}
		default:
			c.Away(err)
		}
		c.cfg.Spool.Rewind()
		_ = Sleep(ctx, pause/2+rand.N(pause)) //nolint:gosec // jitter spreads what replicas do; it keeps no secret
		pause = min(2*pause, lastPause)
	}
}

// adopt takes over what another process has left. A failure is no reason to wait: the
// rest is taken over later.
func (c *Courier) adopt(ctx context.Context) {
	if err := c.cfg.Spool.Adopt(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, spool.ErrFull) {
		c.cfg.Log.Warn("spool of another process cannot be taken over", "sink", c.cfg.Name, "error", err)
	}
}

// Read returns what is to be sent, about so many bytes, or ErrNothing if nothing comes in so
// long (0 is until it is time to look for what others have left), or ctx has ended and
// nothing is left.
func (c *Courier) Read(ctx context.Context, patience time.Duration, limit int) (spool.Chunk, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(patience, adoptEvery))
	defer cancel()
	chunk, err := c.cfg.Spool.Read(ctx, limit)
	switch {
	case err == nil:
		return chunk, nil
	case ctx.Err() != nil:
		return chunk, ErrNothing
	}
	return chunk, errors.Join(errSpool, err)
}

// Away notes that the collector takes nothing for now, and tells so once.
func (c *Courier) Away(cause error) {
	c.counts.failures.Add(1)
	if c.away.CompareAndSwap(0, time.Now().UnixNano()) {
		c.cfg.Log.Warn("collector of access log is away; records wait on disk", "sink", c.cfg.Name, "collector", c.cfg.Collector, "error", cause)
		return
	}
	c.cfg.Log.Debug("collector of access log is still away", "sink", c.cfg.Name, "error", cause)
}

// Taken notes that the collector has taken records, and tells once that it is back.
func (c *Courier) Taken(records int) {
	c.counts.delivered.Add(uint64(records)) //nolint:gosec // counts records
	if since := c.away.Swap(0); since != 0 {
		c.cfg.Log.Info("collector of access log is back", "sink", c.cfg.Name, "away", time.Since(time.Unix(0, since)))
	}
}

// Rejected notes that the collector will never take records.
func (c *Courier) Rejected(records int) {
	c.counts.rejected.Add(uint64(records)) //nolint:gosec // counts records
}

// Sleep waits for d; its error is that of ctx, whose end it does not outlast.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
