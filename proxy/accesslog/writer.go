package accesslog

import (
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// maxBatch is about how long a batch is at most, so that one failure of a sink holds
	// up no more.
	maxBatch = 1 << 20
	// firstRetry and lastRetry are how long a sink that failed is left alone, at first
	// and at last.
	firstRetry, lastRetry = 20 * time.Millisecond, time.Second
	// syncEvery is how often sinks are synced at most with DurabilityBatch.
	syncEvery = time.Second
)

// counts are what a log has done so far.
type counts struct {
	records, dropped, left atomic.Uint64
	failures               []atomic.Uint64 // by sink
}

// work is the writer: it writes until nothing is left to write, and ends. Others that
// are about to put in a line do so first, for one write of many lines costs little
// more than one of one.
func (l *Log) work() {
	runtime.Gosched()
	for {
		lines, sync, ok := l.queue.take(l.raw)
		if !ok {
			return // nothing of l is this goroutine's any more
		}
		l.raw = lines
		l.deliver(lines)
		if lost := l.queue.tell(); lost.count > 0 {
			l.cfg.Log.Error("access log has lost records: there was no room for them", "lost", lost.count, "from", lost.from, "to", lost.to)
		}
		if sync {
			l.sync()
		}
		if cap(l.raw) > keptBuffer {
			l.raw = nil
		}
	}
}

// deliver seals lines and writes them.
func (l *Log) deliver(lines []byte) {
	for len(lines) > 0 {
		n := l.seal(lines)
		written := l.each(func(sink Sink) error { return sink.Write(l.stop, &l.batch) })
		if written {
			l.counts.records.Add(uint64(l.batch.Count)) //nolint:gosec // counts lines
		} else {
			l.counts.left.Add(uint64(l.batch.Count)) //nolint:gosec // counts lines
		}
		if written {
			l.afterBatch()
		}
		l.queue.done(uint64(l.batch.Count), n) //nolint:gosec // counts lines
		lines = lines[n:]
	}
	if cap(l.batch.Lines) > 2*maxBatch {
		l.batch.Lines = nil
	}
}

// seal makes the next batch of lines, and reports how many bytes of them it has taken.
func (l *Log) seal(lines []byte) int {
	b := &l.batch
	b.Lines, b.First, b.Count = b.Lines[:0], l.chain.sequence+1, 0
	taken := 0
	for taken < len(lines) && len(b.Lines) < maxBatch {
		end := taken + bytes.IndexByte(lines[taken:], '\n') + 1
		b.Lines = l.chain.seal(b.Lines, lines[taken:end])
		b.Count++
		taken = end
	}
	b.Last = l.chain.sequence
	return taken
}

// afterBatch syncs what was written, now or later.
func (l *Log) afterBatch() {
	switch l.cfg.Durability {
	case DurabilityFsync:
		l.sync()
	case DurabilityBatch:
		if l.syncing {
			return
		}
		l.syncing = true
		time.AfterFunc(syncEvery, l.syncSoon)
	case DurabilityNone:
	}
}

// syncSoon has the writer sync.
func (l *Log) syncSoon() {
	q := &l.queue
	q.mu.Lock()
	q.sync = true
	start := !q.running && !q.closed
	q.running = q.running || start
	q.mu.Unlock()
	if start {
		l.work()
	}
}

// sync syncs the sinks.
func (l *Log) sync() {
	l.syncing = false
	l.each(func(sink Sink) error {
		if s, ok := sink.(Syncer); ok {
			return s.Sync(l.stop)
		}
		return nil
	})
}

// each does something with each sink, again and again until it succeeds, or reports
// that the log was closed first.
func (l *Log) each(do func(Sink) error) bool {
	for i, sink := range l.cfg.Sinks {
		pause := firstRetry
		for {
			err := do(sink)
			if err == nil {
				break
			}
			l.fail(i, err)
			if !l.pause(pause) {
				return false
			}
			pause = min(2*pause, lastRetry)
		}
	}
	l.recover()
	return true
}

// pause waits, or reports that the log was closed.
func (l *Log) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.stop:
		return false
	}
}

// fail notes that a sink has failed.
func (l *Log) fail(sink int, err error) {
	l.counts.failures[sink].Add(1)
	if l.failure.Swap(&err) != nil {
		return
	}
	if l.cfg.Drop {
		l.cfg.Log.Error("access log cannot be written; records wait, and are lost when there is no room", "sink", l.cfg.Sinks[sink].Name(), "error", err)
		return
	}
	l.cfg.Log.Error("access log cannot be written; nobody is let in", "sink", l.cfg.Sinks[sink].Name(), "error", err)
}

// recover notes that the sinks work.
func (l *Log) recover() {
	if l.failure.Load() != nil && l.stop.Err() == nil { // else a batch was given up, not written
		l.failure.Store(nil)
		l.cfg.Log.Info("access log is written again", "lost", l.counts.dropped.Load())
	}
}

// abandoned says how many records were not written before the log was closed.
func (l *Log) abandoned() error {
	l.queue.mu.Lock()
	left := l.counts.left.Load() + l.queue.added - l.queue.safe
	l.queue.mu.Unlock()
	if failure := l.failure.Load(); failure != nil {
		return fmt.Errorf("closing access log: %d records are lost: %w", left, *failure)
	}
	return fmt.Errorf("closing access log: %d records are lost", left)
}
