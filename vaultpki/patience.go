package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// While Vault is waited for, a line says so at least this often.
const (
	progressEvery = 10 * time.Second
	attemptBound  = 5 * time.Second
	longestDelay  = 3 * time.Second // before jitter, which adds up to a half
)

// patience repeats a call that may be repeated: as long as what failed can pass
// by waiting, but no longer than wait; no wait is one attempt. It is safe for
// concurrent use.
type patience struct {
	wait time.Duration
	log  *slog.Logger
	// again says whether an error can pass; nil means wire.MaySucceedLater.
	again func(error) bool
}

// do runs call until it succeeds, fails for good, the wait is over or ctx ends.
// What is waited for is told once per cause and every ten seconds.
func (p patience) do(ctx context.Context, what string, call func(context.Context) error) error {
	start := time.Now()
	delays := newDelays(200*time.Millisecond, longestDelay)
	var cause string
	var told time.Time
	for attempt := 1; ; attempt++ {
		err := p.attempt(ctx, call)
		if err == nil {
			if attempt > 1 {
				p.log.Info("vault answers", "step", what, "attempts", attempt, "waited", time.Since(start).Round(time.Millisecond).String())
			}
			return nil
		}
		left := p.wait - time.Since(start)
		if ctx.Err() != nil || p.wait == 0 || !p.canPass(err) {
			return err
		}
		if left <= 0 {
			return fmt.Errorf("giving up after %s and %d attempts: %w", time.Since(start).Round(time.Second), attempt, err)
		}
		delay := min(max(delays.NextBackOff(), wire.RetryAfter(err)), left)
		if now := causeOf(err); now != cause || time.Since(told)+delay+attemptBound >= progressEvery {
			cause, told = now, time.Now()
			p.log.Warn("waiting for vault", "step", what, "cause", cause, "attempt", attempt,
				"next_try", delay.Round(time.Millisecond).String(), "time_left", left.Round(time.Second).String())
		}
		if !sleep(ctx, delay) {
			return ctx.Err()
		}
	}
}

// canPass says whether the same call may succeed later.
func (p patience) canPass(err error) bool {
	return wire.MaySucceedLater(err) && (p.again == nil || p.again(err))
}

// attempt is one try under its own deadline.
func (p patience) attempt(ctx context.Context, call func(context.Context) error) error {
	if p.again != nil {
		return call(ctx) // cutting short what must not be repeated would only lose its answer
	}
	ctx, cancel := context.WithTimeout(ctx, attemptBound)
	defer cancel()
	return call(ctx)
}

// newDelays returns exponential delays with a jitter of one half to three halves.
// Longest bounds all of them; the library by itself leaves out the first.
func newDelays(first, longest time.Duration) *backoff.ExponentialBackOff {
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval = min(first, longest), longest
	delays.RandomizationFactor, delays.Multiplier = 0.5, 2
	delays.Reset()
	return delays
}

// sleep waits for d and returns true, or false as soon as ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// causeOf names the cause of a failed call without what changes from one try
// to the next, such as local ports.
func causeOf(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.As(err, &op) && op.Err != nil:
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
