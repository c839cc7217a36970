package courier_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/sink"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/courier"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
)

func newCourier(t *testing.T, size int64) *courier.Courier {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	queue, err := spool.Open(spool.Config{Directory: t.TempDir(), Size: size, Name: "siem", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return courier.New(courier.Config{Name: "siem", Collector: "siem:6514", Spool: queue, Log: log})
}

var errAway = errors.New("connection refused")

// TestNobodyIsLetInWhenASpoolIsNearlyFull: what is on its way still finds room, and nothing
// more begins, unless nobody waits for the sink.
func TestNobodyIsLetInWhenASpoolIsNearlyFull(t *testing.T) {
	for name, beside := range map[string]bool{"a sink that is waited for": false, "a sink that nobody waits for": true} {
		t.Run(name, func(t *testing.T) {
			c := newCourier(t, 1<<20)
			c.Start(t.Context(), func(ctx, _ context.Context) error {
				<-ctx.Done()
				return errAway
			})
			selected := sink.Select(c, sink.Filter{Decisions: []string{accesslog.DecisionAllow}}, nil)
			cfg := accesslog.Config{Service: "gateway", Sinks: []accesslog.Sink{selected}}
			if beside {
				cfg.Sinks, cfg.Beside = []accesslog.Sink{accesslog.NewOutput("nowhere", writer{})}, cfg.Sinks
			}
			log := accesslog.Prepare(cfg)
			r := accesslog.Record{Action: accesslog.ActionAccess, Decision: accesslog.DecisionAllow, Path: strings.Repeat("x", 2000)}
			for c.Err() == nil {
				if err := errors.Join(log.Write(&r), log.Flush(t.Context())); err != nil {
					t.Fatal(err)
				}
				for n := log.Stats().Records; beside && log.Stats().Sinks[1].Records < n; {
					<-time.After(time.Millisecond)
				}
			}
			if err := log.Err(); errors.Is(err, spool.ErrFull) == beside {
				t.Errorf("Err = %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := errors.Join(log.Write(&r), log.Close(ctx)); err != nil {
				t.Errorf("what was on its way: %v", err)
			}
		})
	}
}

type writer struct{}

func (writer) Write(p []byte) (int, error) { return len(p), nil }

// TestACollectorThatIsAwayIsTriedAgain: longer pauses each time, one notice, and what was
// not acknowledged is read again.
func TestACollectorThatIsAwayIsTriedAgain(t *testing.T) {
	c := newCourier(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		if err := c.Write(t.Context(), &accesslog.Batch{Lines: []byte("a\n"), Count: 1, Instance: "x", First: 1, Last: 1}); err != nil {
			t.Fatal(err)
		}
		var tries int
		began, back := time.Now(), time.Duration(0)
		c.Start(t.Context(), func(ctx, _ context.Context) error {
			chunk, err := c.Read(ctx, 0, 1<<20)
			if err != nil {
				return err
			}
			if tries++; tries <= 10 {
				return errAway
			}
			back = time.Since(began)
			c.Taken(chunk.Count)
			return c.Spool().Ack(chunk)
		})
		<-time.After(time.Second)
		if stats := c.Stats(); stats.Away.IsZero() || stats.Failures < 2 || stats.Delivered != 0 || stats.Spool.Bytes == 0 {
			t.Errorf("while it is away: %+v", stats)
		}
		<-time.After(5 * time.Minute)
		synctest.Wait()
		if stats := c.Stats(); !stats.Away.IsZero() || stats.Failures != 10 || stats.Delivered != 1 || stats.Spool.Bytes != 0 || back < 20*time.Second {
			t.Errorf("when it is back, after %v: %+v", back, stats)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
