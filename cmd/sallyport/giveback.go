package main

import (
	"context"
	"runtime/metrics"
	"time"
)

const (
	// afterStart is when everything has run once that a start sets going.
	afterStart = 3 * time.Second
	// quietAfter is how long little must have been done until a process counts as idle.
	quietAfter = 10 * time.Second
	// quietBytes is what an idle process allocates in that time at most: it is asked for its
	// health and its metrics, and looks for new versions.
	quietBytes = 1 << 20
	// busyBytes is what must have been allocated since memory was given back last for it to
	// be worth while again.
	busyBytes = 4 << 20
)

// giveBackIdle has a process give back what its start has needed, and later, as soon as
// nobody asks it any more, what the requests before have.
func giveBackIdle(ctx context.Context) {
	timer := time.NewTimer(afterStart)
	defer timer.Stop()
	var idle idleness
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if idle.due(allocated()) || first {
			giveBack()
			idle.given = idle.last
		}
		timer.Reset(quietAfter)
	}
}

// idleness judges by the bytes that a process has allocated since it began.
type idleness struct {
	last  uint64 // when it was looked at last
	given uint64 // when memory was given back last
}

// due notes how many they are now, and says whether memory is to be given back.
func (i *idleness) due(now uint64) bool {
	quiet := now-i.last < quietBytes
	i.last = now
	return quiet && now-i.given >= busyBytes
}

// allocated is how many bytes this process has allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
