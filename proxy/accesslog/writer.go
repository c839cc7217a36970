package accesslog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// work is the writer: it seals what waits and hands it to the sinks until nothing is
// left, and ends. Others that are about to put in a line do so first, for one write of
// many lines costs little more than one of one.
func (l *Log) work() {
	runtime.Gosched()
	for {
		lines, ok := l.queue.take(l.raw)
		if !ok {
			return // nothing of l is this goroutine's any more
		}
		l.raw = lines
		for len(lines) > 0 {
			lines = lines[l.seal(lines):]
			l.hand()
		}
		if lost := l.queue.tell(); lost.count > 0 {
			l.cfg.Log.Error("access log has lost records: there was no room for them", "lost", lost.count, "from", lost.from, "to", lost.to)
		}
		l.raw = kept(l.raw)
	}
}

// kept is a buffer for later: the same, unless it is large and was hardly used.
func kept(buffer []byte) []byte {
	if cap(buffer) > keptBuffer && len(buffer) < cap(buffer)/4 {
		return nil
	}
	return buffer
}

// seal makes the next batch of lines, and reports how many bytes of them it has taken.
func (l *Log) seal(lines []byte) int {
	b := &l.batch
	b.Lines, b.First, b.Count, b.raw = b.Lines[:0], l.chain.sequence+1, 0, 0
	for b.raw < len(lines) && len(b.Lines) < maxBatch {
		n := lengthOfLine(lines[b.raw:])
		b.Lines = l.chain.seal(b.Lines, lines[b.raw:b.raw+n])
		b.Count++
		b.raw += n
	}
	b.Last = l.chain.sequence
	l.queue.sealed(l.chain.sequence, &l.chain.previous)
	return b.raw
}

// hand gives the batch to every lane. A lane that is alone is the writer's own
// errand.
func (l *Log) hand() {
	for _, a := range l.lanes {
		if !a.put(&l.batch) {
			continue
		}
		if len(l.lanes) == 1 {
			a.work()
		} else {
			go a.work()
		}
	}
}

// settle counts what is where it belongs in every sink that is waited for.
func (l *Log) settle() {
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, bytes := q.added, q.bytes
	for _, a := range l.lanes {
		if !a.beside {
			lines, bytes = min(lines, a.written.lines.Load()), min(bytes, a.written.bytes.Load())
		}
	}
	q.written(lines, bytes)
}

// atRest reports whether nobody writes. The caller holds the queue's mu.
func (l *Log) atRest() bool {
	for _, a := range l.lanes {
		if !a.atRest() {
			return false
		}
	}
	return !l.queue.running
}

// missing says which sinks have not got all records, and why; nil if all have.
func (l *Log) missing() error {
	l.queue.mu.Lock()
	added := l.queue.added
	l.queue.mu.Unlock()
	var faults []error
	for _, a := range l.lanes {
		lacks := added - a.got.Load()
		if lacks == 0 {
			continue
		}
		cause := context.DeadlineExceeded
		if failure := a.failure.Load(); failure != nil {
			cause = *failure
		}
		faults = append(faults, fmt.Errorf("closing access log: %s lacks %d records: %w", a.sink.Name(), lacks, cause))
	}
	return errors.Join(faults...)
}
