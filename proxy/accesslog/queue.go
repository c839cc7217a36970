package accesslog

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultBuffer is how many bytes of lines wait if nothing else is said.
	DefaultBuffer = 8 << 20
	// patience is how long a request that was let in waits at its end for room.
	patience = 30 * time.Second
	// keptBuffer is the largest buffer that is kept in any case.
	keptBuffer = 256 << 10
)

var (
	// ErrFull says that so many lines wait to be written that there is no room.
	ErrFull = errors.New("writing access log: too many lines wait to be written")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("writing access log: the log is closed")
)

// whose says whose line it is, and by that how much room there is for it.
type whose int

const (
	// ofStranger: anybody may have as many of those as they like.
	ofStranger whose = iota
	// ofRefused is of somebody who is signed in, and was refused.
	ofRefused
	// ofAdmitted is of somebody who was let in, and may be lost.
	ofAdmitted
	// mustStay must not be lost.
	mustStay
)

// queue is the lines that wait for the writer. Lines of those who were let in find twice
// the room of its limit, so that what was in hand when the disk became full is recorded
// when it is not any more. Nobody is let in from three quarters of the limit on; those
// who are not let in anyway cannot bring it about, for their lines find less room.
type queue struct {
	limit   int64
	service string
	first   func() []byte // makes the first record; nil for none

	// used is how many bytes wait or are being written; changed with mu held.
	used atomic.Int64

	mu      sync.Mutex
	pending []byte    // lines that nobody has taken; guarded by mu, as is the rest
	oldest  time.Time // when a line came of those that are not written, the first or one soon after
	until   uint64    // bytes, that line included
	added   uint64    // how many lines were ever put in
	bytes   uint64    // and how many bytes
	safe    uint64    // how many of the lines are where they belong, or given up
	head    struct {  // the last line that was sealed
		sequence uint64
		hash     [hashLength]byte
	}
	gap     gap  // what is being lost
	lost    gap  // what was, and nobody has told yet
	begun   bool // the first record is in
	running bool // a goroutine writes
	closed  bool
	changed chan struct{} // closed when safe changes, or somebody comes to rest; nil while nobody waits
}

// gap counts lines that found no room.
type gap struct {
	count    uint64
	from, to time.Time
}

// put adds a line, and reports the number of the line and whether a writer has to be
// started for it.
func (q *queue) put(line []byte, of whose) (number uint64, start bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, false, ErrClosed
	}
	if !q.fits(len(line), of) {
		return 0, false, ErrFull
	}
	q.begin()
	q.endGap(q.limit / 4)
	q.add(line)
	start, q.running = !q.running, true
	return q.added, start, nil
}

// begin puts in the first record, once. The caller holds mu.
func (q *queue) begin() {
	if q.first == nil || q.begun || q.closed {
		return
	}
	q.begun = true
	q.add(q.first())
}

// add appends a line. The caller holds mu.
func (q *queue) add(line []byte) {
	q.pending = append(q.pending, line...)
	q.used.Add(int64(len(line)))
	q.bytes += uint64(len(line))
	q.added++
	if q.oldest.IsZero() {
		q.oldest, q.until = time.Now(), q.bytes
	}
}

// fits reports whether there is room. Once lines are lost, room must be made before
// more are taken, so that one gap is one record. The caller holds mu.
func (q *queue) fits(length int, of whose) bool {
	limit := q.limit
	switch {
	case of == mustStay:
		limit *= 2
	case q.gap.count > 0:
		limit /= 4
	case of == ofStranger:
		limit /= 2
	case of == ofRefused:
		limit = limit * 3 / 4
	}
	return q.used.Load()+int64(length) <= limit
}

// lose counts a line for which there is no room.
func (q *queue) lose() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if q.gap.count == 0 {
		q.gap.from = now
	}
	q.gap.count++
	q.gap.to = now
}

// endGap puts the record of a gap in the place of what was lost, once no more is used
// than that. The caller holds mu.
func (q *queue) endGap(most int64) {
	if q.gap.count == 0 || q.used.Load() > most {
		return
	}
	q.lost, q.gap = q.gap, gap{}
	q.add(q.lost.appendJSON(nil, time.Now(), q.service))
}

// tell returns what was lost, once.
func (q *queue) tell() gap {
	q.mu.Lock()
	defer q.mu.Unlock()
	lost := q.lost
	q.lost = gap{}
	return lost
}

// take returns all lines that wait, in exchange for an empty buffer; or it reports that
// there are none, and that the writer has ended by that.
func (q *queue) take(empty []byte) (lines []byte, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.endGap(q.limit / 4)
	if len(q.pending) == 0 {
		q.running = false
		q.wake()
		return nil, false
	}
	lines, q.pending = q.pending, empty[:0]
	return lines, true
}

// sealed notes the last line that was sealed.
func (q *queue) sealed(sequence uint64, hash *[hashLength]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.head.sequence, q.head.hash = sequence, *hash
}

// written notes how many lines are where they belong, and how many bytes.
func (q *queue) written(lines, bytes uint64) {
	q.safe = lines
	q.used.Store(int64(q.bytes - bytes)) //nolint:gosec // bounded by the limit
	if bytes >= q.until {
		q.oldest = time.Time{}
	}
	q.wake()
}

// wake has everybody look who waits. The caller holds mu.
func (q *queue) wake() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

// wait returns when met, which is called with mu held, is true, or ctx ends.
func (q *queue) wait(ctx context.Context, met func() bool) error {
	for {
		q.mu.Lock()
		if met() {
			q.mu.Unlock()
			return nil
		}
		if q.changed == nil {
			q.changed = make(chan struct{})
		}
		changed := q.changed
		q.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
