package accesslog

import (
	"bytes"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxBatch is about how long a batch is at most.
	maxBatch = 1 << 20
	// firstRetry and lastRetry are how long a sink that failed is left alone, at first
	// and at last.
	firstRetry, lastRetry = 20 * time.Millisecond, time.Second
	// syncEvery is how often sinks are synced at most with DurabilityBatch.
	syncEvery = time.Second
)

// lane is the way of sealed lines to one sink. One goroutine at a time writes to the
// sink, while there is something to write; lines that come meanwhile make the next
// batch. No lane waits for another.
type lane struct {
	sink       Sink
	judge      Judge // the same, if it is one
	beside     bool  // nobody waits for it
	deny       bool  // nobody is let in while it fails
	durability Durability
	limit      int // how many bytes wait at most, if beside
	log        *slog.Logger
	stop       stopping
	settle     func() // called when written has changed, the sink fails, or the lane has come to rest

	failure  atomic.Pointer[error] // why the last attempt did not succeed; nil if it did
	failures atomic.Uint64
	lost     atomic.Uint64 // records that it did not get
	got      atomic.Uint64 // records that it got
	written  progress      // what it got, and what was given up
	batch    Batch         // in hand; the running goroutine's, as is ended
	ended    bool          // the log was closed over a batch that the sink had not taken: it gets no other

	mu      sync.Mutex
	waiting []Batch // guarded by mu, as is the rest
	bytes   int     // of them
	spare   []byte  // a buffer for later
	running bool    // a goroutine writes
	due     bool    // it is to sync
	armed   bool    // a timer will have it sync
	retired bool    // the log is closed
	losing  bool    // the last batch found no room
}

// progress counts lines, and bytes of them before they were sealed.
type progress struct{ lines, bytes atomic.Uint64 }

func (p *progress) add(lines, bytes int) {
	p.bytes.Add(uint64(bytes)) //nolint:gosec // a length
	p.lines.Add(uint64(lines)) //nolint:gosec // a count
}

// put adds a copy of a batch, and reports whether a goroutine has to be started.
func (a *lane) put(b *Batch) (start bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.beside && a.bytes+len(b.Lines) > a.limit {
		a.lose(b)
		return false
	}
	a.losing = false
	a.bytes += len(b.Lines)
	if last := len(a.waiting) - 1; last >= 0 && len(a.waiting[last].Lines)+len(b.Lines) <= maxBatch {
		a.waiting[last].append(b)
	} else {
		next := Batch{Lines: a.spare[:0], First: b.First, Instance: b.Instance}
		a.spare = nil
		next.append(b)
		a.waiting = append(a.waiting, next)
	}
	start, a.running = !a.running, true
	return start
}

// append adds the lines of the next batch to those of b.
func (b *Batch) append(next *Batch) {
	b.Lines = append(b.Lines, next.Lines...)
	b.Last, b.Count, b.raw = next.Last, b.Count+next.Count, b.raw+next.raw
}

// lose leaves a batch out. The caller holds mu.
func (a *lane) lose(b *Batch) {
	a.lost.Add(uint64(b.Count)) //nolint:gosec // a count
	if !a.losing {
		a.losing = true
		a.log.Error("a sink of the access log loses records", "sink", a.sink.Name(), "first", b.First)
	}
}

// work writes what waits, and ends.
func (a *lane) work() {
	for {
		switch some, due := a.next(); {
		case some:
			a.deliver(&a.batch)
			a.keep(a.batch.Lines)
		case due:
			a.sync()
		default: // nothing of the lane is this goroutine's any more
			a.settle()
			return
		}
	}
}

// next takes the next batch in hand; or it reports that a sync is due, or that there is
// nothing to do, and that the lane is not running by that.
func (a *lane) next() (some, due bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.waiting); n > 0 {
		a.batch = a.waiting[0]
		copy(a.waiting, a.waiting[1:])
		a.waiting[n-1] = Batch{}
		a.waiting = a.waiting[:n-1]
		return true, false
	}
	due, a.due = a.due, false
	a.running = due
	return false, due
}

// keep keeps a buffer for later.
func (a *lane) keep(buffer []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes -= len(buffer)
	a.spare = kept(buffer)
}

// deliver writes a batch.
func (a *lane) deliver(b *Batch) {
	if !a.ended && a.insist(func() error { return a.sink.Write(a.stop, b) }) {
		a.got.Add(uint64(b.Count)) //nolint:gosec // a count
		switch a.durability {
		case DurabilityFsync:
			a.sync()
		case DurabilityBatch:
			a.syncLater()
		case DurabilityNone:
		}
	}
	a.written.add(b.Count, b.raw)
	a.settle()
}

// sync has the sink sync what it has got.
func (a *lane) sync() {
	a.mu.Lock()
	a.armed = false
	a.mu.Unlock()
	if s, ok := a.sink.(Syncer); ok && !a.ended {
		a.insist(func() error { return s.Sync(a.stop) })
	}
}

// syncLater has it done in a while, unless somebody has it done then anyway.
func (a *lane) syncLater() {
	if _, ok := a.sink.(Syncer); !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.armed {
		a.armed = true
		time.AfterFunc(syncEvery, func() {
			if a.order() {
				a.work()
			}
		})
	}
}

// order has the lane sync once what waits is written, and reports whether a goroutine
// has to be started.
func (a *lane) order() (start bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.retired {
		return false
	}
	a.due = true
	start, a.running = !a.running, true
	return start
}

// retire has nothing begin any more: a sync that comes late finds the sink closed.
func (a *lane) retire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retired = true
}

// atRest reports whether nobody writes.
func (a *lane) atRest() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.running
}

// insist tries again and again until something succeeds, or reports that the log was
// closed first. The lane has ended by that: what a sink has not taken whole it must get
// again before anything else, or there would be a hole.
func (a *lane) insist(try func() error) bool {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		err := try()
		if err == nil {
			break
		}
		a.fail(err)
		if !a.stop.pause(pause) {
			a.ended = true
			return false
		}
	}
	if a.failure.Load() != nil {
		a.failure.Store(nil)
		a.log.Info("access log is written again", "sink", a.sink.Name())
	}
	return true
}

// fail notes why a sink cannot be written to, and tells of it once.
func (a *lane) fail(err error) {
	a.failures.Add(1)
	if a.failure.Swap(&err) != nil {
		return
	}
	a.settle() // some wait for what will not be soon
	if a.deny {
		a.log.Error("access log cannot be written; nobody is let in", "sink", a.sink.Name(), "error", err)
		return
	}
	a.log.Error("access log cannot be written; records wait, and are lost when there is no room", "sink", a.sink.Name(), "error", err)
}

// fault is why nobody may be let in; nil if somebody may.
func (a *lane) fault() error {
	if !a.deny {
		return nil
	}
	if failure := a.failure.Load(); failure != nil {
		return *failure
	}
	if a.judge != nil {
		return a.judge.Err()
	}
	return nil
}

// lengthOfLine is the length of the first line of some text, with its line break.
func lengthOfLine(text []byte) int { return bytes.IndexByte(text, '\n') + 1 }
