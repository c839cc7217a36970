package saml

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

// limiter lets a few responses be judged at once and a few more wait. Judging
// one is the most expensive thing that a stranger can ask for, so what it may
// take of the machine is fixed.
type limiter struct {
	slots   chan struct{}
	waiting atomic.Int64
	wait    time.Duration
}

func newLimiter() *limiter {
	return &limiter{slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), wait: maxWait}
}

// acquire takes a slot, which the caller must release. It gives up when there
// are too many others, after a while, and with ctx.
func (l *limiter) acquire(ctx context.Context) error {
	select {
	case l.slots <- struct{}{}:
		return nil
	default:
	}
	if l.waiting.Add(1) > maxWaiting {
		l.waiting.Add(-1)
		return refusef(CodeBusy, "%d responses are waiting already", maxWaiting)
	}
	defer l.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return refusef(CodeBusy, "waiting for a turn: %w", ctx.Err())
	}
}

func (l *limiter) release() { <-l.slots }
