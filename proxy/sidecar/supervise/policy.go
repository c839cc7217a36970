package supervise

import (
	"math/rand/v2"
	"time"
)

// Policy says when an application that has ended is started again.
type Policy int

// The policies. After a start that did not succeed at the very first, none starts again.
const (
	Never     Policy = iota
	OnFailure        // unless it has ended with exit code 0
	Always
)

const (
	// LimitWindow is the time in which starts are counted.
	LimitWindow = 10 * time.Minute
	// DefaultLimit is how many there may be in it.
	DefaultLimit = 5
)

// Backoff is how long to wait before an application is started again: First, and twice as
// long after each further end, up to Most. The first half of it always passes, of the
// second a random part. What has run for longer than Most begins with First again. The
// zero value is a second, and a minute.
type Backoff struct{ First, Most time.Duration }

// complete fills in the defaults.
func (b Backoff) complete() Backoff {
	if b.First == 0 {
		b.First = time.Second
	}
	if b.Most == 0 {
		b.Most = time.Minute
	}
	b.Most = max(b.Most, b.First)
	return b
}

// wait is how long to wait after so many ends in a row before this one.
func (b Backoff) wait(before int) time.Duration {
	wait := b.First
	for range before {
		if wait *= 2; wait >= b.Most {
			break
		}
	}
	wait = min(wait, b.Most)
	return wait/2 + rand.N(wait/2+1) //nolint:gosec // spreads starts, and keeps no secret
}

// history is what is known of the starts that there were. The zero value is none.
type history struct {
	ran    int         // how often it was started with success
	inARow int         // ends without a long life between them
	starts []time.Time // after an end, at most as many as are counted
}

// note notes another start.
func (h *history) note(now time.Time) {
	h.inARow++
	h.starts = append(h.starts, now)
}

// recent counts the starts in the window before now, and forgets all others.
func (h *history) recent(now time.Time) int {
	for len(h.starts) > 0 && now.Sub(h.starts[0]) >= LimitWindow {
		h.starts = h.starts[1:]
	}
	return len(h.starts)
}
