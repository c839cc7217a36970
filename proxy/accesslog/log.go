package accesslog

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Log takes records, seals them in the order in which they come, and hands them to
// sinks. Requests do not wait for that: their lines are put into a bounded buffer, from
// which one goroutine takes all that have come, whenever there are some. Safe for
// concurrent use.
type Log struct {
	cfg   Config
	queue queue
	folds folds
	lanes []*lane
	stop  stopping

	dropped atomic.Uint64              // records that found no room
	names   atomic.Pointer[Pseudonyms] // nil while people stand under their own

	// The writer's alone, which is one goroutine at a time.
	chain chain
	raw   []byte
	batch Batch
}

// Config is what a Log needs. It must not be changed after Prepare.
type Config struct {
	// Service is whose records they are: gateway, sidecar. Required.
	Service string
	// Sinks get every batch, and it is for them that records wait. At least one.
	Sinks []Sink
	// Beside are sinks that nobody waits for: while one does not take records, as many
	// bytes as Buffer wait for it alone, and what comes then it never gets.
	Beside []Sink
	// Durability is what a record has survived when its request ends.
	Durability Durability
	// Drop says that people are let in while nothing can be recorded. What then finds
	// no room is lost, and counted. The default is that nobody is.
	Drop bool
	// Buffer is how many bytes of lines may wait; 0 means DefaultBuffer.
	Buffer int
	// Predecessor is the last record that an earlier instance has left where this one
	// writes; nil for none.
	Predecessor *Head
	// Version is the program's.
	Version string
	// Start appends more members to the first record, each behind a comma; nil for none.
	Start func(dst []byte) []byte
	// Log is told when records cannot be written, and when they can again; nil
	// discards.
	Log *slog.Logger
}

// New returns a Log for records of the named service on w, which the caller owns. It
// does without the records of a log about itself; see [Prepare].
func New(w io.Writer, service string) *Log {
	return newLog(Config{Service: service, Sinks: []Sink{NewOutput("output", struct{ io.Writer }{w})}})
}

// Prepare returns a Log that is an instance of its own: its first record says who
// writes, and Close writes the last. The sinks are the Log's from now on.
func Prepare(cfg Config) *Log {
	l := newLog(cfg)
	l.queue.first = func() []byte { return l.cfg.appendStart(nil, time.Now()) }
	return l
}

// Begin writes the first record, which is otherwise written before the next.
func (l *Log) Begin() {
	l.queue.mu.Lock()
	l.queue.begin()
	start := !l.queue.running
	l.queue.running = true
	l.queue.mu.Unlock()
	if start {
		go l.work()
	}
}

func newLog(cfg Config) *Log {
	if cfg.Buffer == 0 {
		cfg.Buffer = DefaultBuffer
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{cfg: cfg, stop: make(stopping), chain: newChain(newInstance())}
	l.queue.limit, l.queue.service, l.queue.head.hash = int64(cfg.Buffer), cfg.Service, l.chain.previous
	l.batch.Instance = l.chain.instance
	for _, sink := range cfg.Sinks {
		l.lanes = append(l.lanes, l.lane(sink, false))
	}
	for _, sink := range cfg.Beside {
		l.lanes = append(l.lanes, l.lane(sink, true))
	}
	return l
}

func (l *Log) lane(sink Sink, beside bool) *lane {
	judge, _ := sink.(Judge)
	return &lane{
		sink: sink, judge: judge, beside: beside, deny: !beside && !l.cfg.Drop, durability: l.cfg.Durability, limit: l.cfg.Buffer,
		log: l.cfg.Log, stop: l.stop, settle: l.settle,
	}
}

// Head is the last record that was sealed, which the sinks may not have yet. Its
// sequence number is 0 before the first.
func (l *Log) Head() Head {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return Head{Instance: l.batch.Instance, Sequence: l.queue.head.sequence, Hash: string(l.queue.head.hash[:])}
}

// Write puts r among the lines to be written, and waits until it is only if durability
// says so. What a record of somebody who was let in finds no room for, it waits for,
// as long as [ErrFull] does not say that it was lost: as any other record is at once.
// Refusals that [Record.Fold] is about may be counted in place of that.
// The log itself tells its logger of failures, so that not every request has to.
func (l *Log) Write(r *Record) error {
	if r.fold != "" && l.folded(r) {
		return nil
	}
	buf := lines.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put there
	*buf = l.line((*buf)[:0], r)
	_, err := l.put(*buf, l.whose(r))
	if cap(*buf) <= keptLine {
		lines.Put(buf)
	}
	return err
}

// whose is how r counts.
func (l *Log) whose(r *Record) whose {
	switch {
	case r.Decision == DecisionAllow && !l.cfg.Drop:
		return mustStay
	case r.Decision == DecisionAllow:
		return ofAdmitted
	case r.User != "":
		return ofRefused
	}
	return ofStranger
}

// lines are the buffers that lines are made in, so that none waits for another's
// making; larger ones than keptLine are not kept.
var lines = sync.Pool{New: func() any { return new([]byte) }}

const keptLine = 16 << 10

// put puts a line among those to be written. It returns the sequence number that the line will have: lines are sealed in the order
// in which they are put in.
func (l *Log) put(line []byte, of whose) (number uint64, err error) {
	number, start, err := l.queue.put(line, of)
	if errors.Is(err, ErrFull) && of == mustStay {
		number, start, err = l.putLater(line)
	}
	if err != nil {
		l.queue.lose()
		l.dropped.Add(1)
		return 0, err
	}
	if start {
		go l.work()
	}
	if l.cfg.Durability == DurabilityFsync {
		err = l.untilSafe(number, of == mustStay)
	}
	return number, err
}

// putNow is put for a line that must not be lost, and that nobody can wait for.
func (l *Log) putNow(line []byte) error {
	err := l.putAtOnce(line, l.own())
	if err != nil {
		l.queue.lose()
		l.dropped.Add(1)
	}
	return err
}

// own is how a line counts that is about no request.
func (l *Log) own() whose {
	if l.cfg.Drop {
		return ofAdmitted
	}
	return mustStay
}

// putAtOnce puts in a line, or says that there is no room for it.
func (l *Log) putAtOnce(line []byte, of whose) error {
	_, start, err := l.queue.put(line, of)
	if start {
		go l.work()
	}
	return err
}

// putLater waits for room.
func (l *Log) putLater(line []byte) (number uint64, start bool, err error) {
	ctx, cancel := context.WithTimeout(l.stop, patience)
	defer cancel()
	for {
		room := func() bool { return l.queue.closed || l.queue.fits(len(line), mustStay) }
		if l.queue.wait(ctx, room) != nil {
			return 0, false, ErrFull
		}
		if number, start, err = l.queue.put(line, mustStay); !errors.Is(err, ErrFull) {
			return number, start, err
		}
	}
}

// untilSafe waits until that many lines are synced. Who was refused because nothing can
// be recorded does not wait until something can.
func (l *Log) untilSafe(number uint64, admitted bool) error {
	ctx, cancel := context.WithTimeout(l.stop, patience)
	defer cancel()
	met := func() bool { return l.queue.safe >= number || !admitted && l.fails() }
	if l.queue.wait(ctx, met) != nil {
		return ErrLate
	}
	return nil
}

// fails reports whether a sink that is waited for does not take records.
func (l *Log) fails() bool {
	for _, a := range l.lanes {
		if !a.beside && a.failure.Load() != nil {
			return true
		}
	}
	return false
}

// ErrLate says that a record waits to be written for so long that its request waits no
// more; it is not lost.
var ErrLate = errors.New("writing access log: a record is not synced in time")

// Err returns why nobody may be let in, or nil: the last batch could not be written, a sink
// has hardly any room, or the buffer is nearly full. It is always nil if the configuration says Drop. The log
// tries again by itself.
func (l *Log) Err() error {
	if l.cfg.Drop {
		return nil
	}
	for _, a := range l.lanes {
		if err := a.fault(); err != nil {
			return err
		}
	}
	if l.queue.used.Load() > l.queue.limit*3/4 {
		return ErrFull
	}
	return nil
}

// Flush waits until all lines that were put in before are written, or ctx ends.
func (l *Log) Flush(ctx context.Context) error {
	l.queue.mu.Lock()
	until := l.queue.added
	l.queue.mu.Unlock()
	return l.queue.wait(ctx, func() bool { return l.queue.safe >= until })
}

// Close writes the last record, and closes the sinks when everything is written, or
// when ctx ends; what is not written then is lost. No request may be under way.
func (l *Log) Close(ctx context.Context) error {
	last := l.folds.take(true)
	q := &l.queue
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil
	}
	q.closed = true
	q.endGap(q.used.Load())
	for _, one := range last { // they are few
		q.add(l.repeated(one))
	}
	if q.begun {
		q.add(l.cfg.appendEnd(nil, time.Now()))
	}
	start := !q.running
	q.running = true
	q.mu.Unlock()
	if start {
		go l.work()
	}
	_ = l.finish(ctx) // what is missing is told below
	close(l.stop)
	for _, a := range l.lanes {
		a.retire()
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRetry)
	defer cancel()
	if q.wait(late, l.atRest) != nil { // a sink does not give up: nobody may close it under its writer
		return l.missing()
	}
	err := l.missing()
	return errors.Join(err, l.closeSinks())
}

// closeSinks closes all at once: a collector may have to be waited for.
func (l *Log) closeSinks() error {
	faults := make([]error, len(l.lanes))
	var closing sync.WaitGroup
	for i, a := range l.lanes {
		closing.Go(func() { faults[i] = a.sink.Close() })
	}
	closing.Wait()
	return errors.Join(faults...)
}

// finish waits until everything is written and synced.
func (l *Log) finish(ctx context.Context) error {
	if err := l.queue.wait(ctx, l.atRest); err != nil {
		return err
	}
	if l.cfg.Durability == DurabilityNone {
		return nil
	}
	for _, a := range l.lanes {
		if a.order() {
			go a.work()
		}
	}
	return l.queue.wait(ctx, l.atRest)
}

// stopping is the context of what a Log does: it ends when the Log is closed.
type stopping chan struct{}

// Deadline implements context.Context.
func (stopping) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

// Done implements context.Context.
func (s stopping) Done() <-chan struct{} { return s }

// Err implements context.Context.
func (s stopping) Err() error {
	select {
	case <-s:
		return context.Canceled
	default:
		return nil
	}
}

// pause waits, or reports that the log was closed.
func (s stopping) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s:
		return false
	}
}

// Value implements context.Context.
func (stopping) Value(any) any { return nil }
