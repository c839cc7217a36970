package proxy

import (
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// load is what a gateway has in hand. It is shared with those that replace it, and
// safe for concurrent use.
type load struct {
	inHand  atomic.Int64
	persons *persons

	memory  atomic.Int64 // bytes in use after the last collection
	sampled atomic.Int64 // when that was read, in Unix nanoseconds
	swept   atomic.Int64 // when a collection was last asked for

	// shed is when somebody was last turned away, and since is when it was that
	// everybody began to be, zero while somebody is let in; Unix nanoseconds.
	shed, since atomic.Int64
}

func newLoad() *load { return &load{persons: newPersons()} }

// pressureLevel says who is turned away.
type pressureLevel int

const (
	pressureNone      pressureLevel = iota
	pressureStrangers               // those who have not signed in
	pressureAll                     // everybody
)

// What was too much, for the metric.
const (
	shedRequests = "requests"
	shedMemory   = "memory"
	shedRoute    = "route"
	shedPerson   = "person"
)

// sampleEvery is how old the reading of the memory may be, sweepEvery how often a
// collection is asked for while it shows too much.
const (
	sampleEvery = 250 * time.Millisecond
	sweepEvery  = 2 * time.Second
)

// pressure says who is turned away at this moment, and because of what.
func (g *Gateway) pressure(now time.Time) (level pressureLevel, why string) {
	level = levelOf(g.load.inHand.Load(), int64(g.limits.Requests))
	why = shedRequests
	if limit := g.limits.Memory; limit > 0 {
		if full := levelOf(g.load.inUse(now), limit*9/10); full > level {
			level, why = full, shedMemory
			g.load.sweep(now)
		}
	}
	return level, why
}

// levelOf compares what there is with what there may be.
func levelOf(is, limit int64) pressureLevel {
	switch {
	case is > limit:
		return pressureAll
	case is > limit/4*3:
		return pressureStrangers
	}
	return pressureNone
}

// inUse is the memory that the last collection has found in use, and the stacks. What
// is garbage does not count: the collector makes room for it by itself.
func (l *load) inUse(now time.Time) int64 {
	last := l.sampled.Load()
	if now.UnixNano()-last < int64(sampleEvery) || !l.sampled.CompareAndSwap(last, now.UnixNano()) {
		return l.memory.Load()
	}
	samples := [...]metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples[:])
	var sum uint64
	for _, s := range samples {
		sum += s.Value.Uint64()
	}
	l.memory.Store(int64(sum))
	return int64(sum)
}

// sweep asks for a collection: nobody who is turned away allocates enough to bring one
// about, and until then the memory in use would not be seen to shrink.
func (l *load) sweep(now time.Time) {
	last := l.swept.Load()
	if now.UnixNano()-last >= int64(sweepEvery) && l.swept.CompareAndSwap(last, now.UnixNano()) {
		go runtime.GC()
	}
}

// admits reports whether a request may go on, and notes when it was that none could.
func (l *load) admits(level pressureLevel, now time.Time) bool {
	if level >= pressureAll {
		l.since.CompareAndSwap(0, now.UnixNano())
		return false
	}
	if l.since.Load() != 0 {
		l.since.Store(0)
	}
	return true
}

// overloadShown is for how long it is told that requests were turned away, and how
// long nobody at all is let in before that is more than a peak.
const overloadShown = 10 * time.Second

// Overload says whether requests were turned away in the last ten seconds because more
// was in hand than the limits allow; and whether the Gateway is stuck: that for ten
// seconds on end nobody at all was let in. The first is what a gateway does to stay
// useful, and to take it out of service would only move its load to the others; one
// that is stuck is of no use to anybody.
func (g *Gateway) Overload() (shedding, stuck bool) {
	now := g.cfg.Now().UnixNano()
	if at := g.load.shed.Load(); at == 0 || now-at > int64(overloadShown) {
		return false, false
	}
	since := g.load.since.Load()
	return true, since != 0 && now-since > int64(overloadShown)
}
