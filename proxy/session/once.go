package session

import (
	"sync"
	"time"
)

// onceLimit bounds the memory of used ids: about 100 bytes each.
const onceLimit = 1 << 18

// Once remembers what has been used up. It lives in this process only: with
// several replicas, a value is used up on the one that saw it. Safe for
// concurrent use. The zero value is not usable; see NewOnce.
type Once struct {
	now func() time.Time

	mu    sync.Mutex
	used  map[string]time.Time // id to the time when it may be forgotten; guarded by mu
	swept time.Time            // when expired entries were last looked for; guarded by mu
}

// NewOnce returns an empty memory. now is called concurrently.
func NewOnce(now func() time.Time) *Once {
	return &Once{now: now, used: make(map[string]time.Time)}
}

// Use reports whether this is the first use of id, and remembers it until the
// given time. When the memory is full of ids that still matter, nothing is
// forgotten and nothing new is let in: Use reports false.
func (o *Once) Use(id string, until time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sweep()
	if _, seen := o.used[id]; seen || len(o.used) >= onceLimit {
		return false
	}
	o.used[id] = until
	return true
}

const (
	sweepEvery     = time.Minute
	sweepEveryFull = time.Second // a sweep of a full memory holds everybody up for milliseconds
)

// sweep drops what has expired, if it is time to. The caller holds mu.
func (o *Once) sweep() {
	now, every := o.now(), sweepEvery
	if len(o.used) >= onceLimit {
		every = sweepEveryFull
	}
	if now.Sub(o.swept) < every {
		return
	}
	o.swept = now
	for id, until := range o.used {
		if now.After(until) {
			delete(o.used, id)
		}
	}
}
