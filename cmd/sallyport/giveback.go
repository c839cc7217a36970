package main

import (
	"context"
	"runtime/debug"
	"time"
)

// When memory is given back: afterStart everything has run once that a start sets going;
// then the process looks again and again whether it only waits.
const (
	afterStart     = 3 * time.Second
	betweenLooks   = 2 * time.Second
	betweenSweeps  = 30 * time.Second // each collects garbage, too
	mostUnused     = 8 << 20          // bytes of the program's file that are not worth a look
	idleProcessing = 0.01             // of a processor: checks, renewals, answers about its health
)

// thrift gives back the memory of a process that stands beside others. Its functions are
// called by one goroutine.
type thrift struct {
	worked func() time.Duration // the processor's time that the process has taken until now
	mapped func() int           // bytes of files that it has in memory
	all    func()               // gives back garbage and pages of the program
	pages  func()               // gives back the latter alone
}

// whileIdle gives back what a start has needed, and later, whenever hardly anything was
// asked of the process since it last looked, what has come since. It returns when ctx ends.
func (h thrift) whileIdle(ctx context.Context) {
	timer := time.NewTimer(afterStart)
	defer timer.Stop()
	var swept time.Time
	for used, waited := h.worked(), afterStart; ; used, waited = h.worked(), betweenLooks {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		idle := float64(h.worked()-used) < idleProcessing*float64(waited)
		switch {
		case swept.IsZero(), idle && time.Since(swept) >= betweenSweeps:
			h.all()
			swept = time.Now()
		case idle && h.mapped() > mostUnused:
			h.pages()
		}
		timer.Reset(betweenLooks)
	}
}

// giveBackWhileIdle is what a process does that has begun to serve.
func giveBackWhileIdle(ctx context.Context) {
	file := program()
	sweep := func() {
		debug.FreeOSMemory()
		file.giveBack()
	}
	thrift{worked, mapped, sweep, file.giveBack}.whileIdle(ctx)
}
