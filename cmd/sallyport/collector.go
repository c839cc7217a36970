package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// headroom is how much may be allocated between two garbage collections at least.
	// What a gateway holds for good is a few megabytes, and Go would collect whenever
	// as much again has been allocated: after every few hundred requests.
	headroom = 64 << 20
	// sidecarHeadroom is the same of a sidecar, which is to weigh little on the machine of its
	// tool, has the requests of one tool alone, and gives it back when these have ended.
	sidecarHeadroom = 32 << 20
	// headroomShare is the part of the memory limit that headroom may be at most.
	headroomShare = 4
	// limitShare is how much of a container's memory the heap may take, in percent;
	// the rest is for what the collector does not count.
	limitShare = 90
	// plainPercent is Go's own rule: collect when the heap has doubled.
	plainPercent = 100
)

// tuneCollector gives the garbage collector room, within the memory that this
// process's control group has: room in bytes at most. Whoever sets GOGC or GOMEMLIMIT knows better, and is
// left alone.
func tuneCollector(room int64, lookup func(string) (string, bool)) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if value, set := lookup(name); set && value != "" {
			return
		}
	}
	if limit := groupMemory("/"); limit > 0 {
		debug.SetMemoryLimit(limit / 100 * limitShare)
		room = min(room, limit/headroomShare)
	}
	(&collector{room: room}).watch()
}

// collector adapts how much is allocated before the next collection to what was left
// by the last one.
type collector struct{ room int64 }

// watch adapts after this collection and after every further one: an object that
// nobody holds is finalised after each.
func (c *collector) watch() {
	debug.SetGCPercent(percentFor(c.room, liveHeap()))
	runtime.SetFinalizer(&struct{ c *collector }{c}, func(s *struct{ c *collector }) { s.c.watch() })
}

// percentFor is how much a heap of that many live bytes may grow, in percent, so that
// there is room, or as much again if that is more.
func percentFor(room, live int64) int {
	return int(min(max(plainPercent, room*100/max(live, 1<<20)), math.MaxInt32))
}

// liveHeap is how many bytes the last collection has left.
func liveHeap() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return int64(min(sample[0].Value.Uint64(), math.MaxInt64))
}
