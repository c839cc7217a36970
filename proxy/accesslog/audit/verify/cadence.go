package verify

import (
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

const (
	// grace is what a checkpoint may be late, for its signature and for a host that is
	// busy; and what a clock may be wrong, and a record may wait for its place.
	grace = time.Minute
	// maxRate is how many records a second no instance writes: it bounds how many wait
	// for a checkpoint while none is late yet.
	maxRate = 100_000
)

// cadence watches whether checkpoints come as promised, and that no record was written
// before the checkpoint that it stands behind: whoever adds to the log of an instance that
// was killed must say when, and the time for that is short.
type cadence struct {
	known   bool      // where the last one was, or that there was none
	newest  uint64    // the record that it is about
	floor   time.Time // nothing behind it was written earlier
	since   uint64    // the first record that waits for one; 0 if none does
	start   time.Time // from when on it waits
	due     time.Time // when it has to be there
	waiting uint64    // from this number on, too many do unless little time has passed
}

// early is what stands in a run before its first checkpoint, and waits for the run before
// it: files may be read in any order.
type early struct {
	count       uint64
	first, last time.Time // when the earliest and the latest was written
	over        bool      // there is a checkpoint, or the run has its instance's first record
}

func (e *early) add(more early) {
	if more.count > 0 && (e.count == 0 || more.first.Before(e.first)) {
		e.first = more.first
	}
	if more.last.After(e.last) {
		e.last = more.last
	}
	e.count, e.over = e.count+more.count, more.over
}

// onTime looks at the time of a record of a run.
func (v *verifier) onTime(i *instance, in *run, r *entry) {
	when := written(r)
	if !in.early.over {
		in.early.add(early{1, when, when, false})
		return
	}
	v.judge(i, &in.cadence, r.Sequence, r.place, when)
}

// meet looks at the times of a run once it is known what stands before it.
func (v *verifier) meet(i *instance, before, behind *run) {
	if !before.early.over {
		before.early.add(behind.early)
	} else if e := behind.early; e.count > 0 {
		v.judge(i, &before.cadence, behind.first, behind.firstPlace, e.first)
		v.judge(i, &before.cadence, behind.first+e.count-1, behind.firstPlace, e.last)
	}
	if behind.early.over {
		before.cadence = behind.cadence
	}
}

// judge tells of a record before which a checkpoint should have been, or that says it was
// written before the one that is there; once for each checkpoint.
func (v *verifier) judge(i *instance, c *cadence, sequence uint64, place logfile.Place, when time.Time) {
	if !c.known {
		return
	}
	switch {
	case when.Before(c.floor):
		c.known = false
		v.report.find(at(Backwards, place, "it was written at %s, and what stands before it not before %s: a clock was set, or the record was added later",
			when.UTC().Format(logfile.TimeFormat), c.floor.UTC().Format(logfile.TimeFormat)).
			about(i.id, sequence, 0))
	case c.missed(sequence, when, i.life.promise):
		c.known = false
		v.report.find(at(MissingCheckpoint, place, "no checkpoint for records since %d, and one is promised %s", c.since, promised(i.life.promise)).
			about(i.id, sequence, 0))
	}
}

// written is when a record was written: it has the time at which its request came, and how
// long that took.
func written(r *entry) time.Time {
	took := logfile.Number(r.Member("event.duration"))
	return r.Time().Add(time.Duration(max(took, 0)))
}

// missed reports whether a checkpoint should have been there before a record that was
// written at a time.
func (c *cadence) missed(sequence uint64, at time.Time, p checkpoint.Promise) bool {
	if p.Every == 0 {
		return false // nothing is promised, or not known to be
	}
	if c.since == 0 {
		c.from(sequence, at, p)
		return false
	}
	if at.After(c.due) {
		return true
	}
	if sequence < c.waiting {
		return false
	}
	passed := at.Sub(c.start)
	return passed > grace || sequence-c.waiting > uint64((max(passed, 0)+time.Second)/time.Second)*maxRate
}

// from has records wait for a checkpoint from a sequence number and a time on.
func (c *cadence) from(since uint64, start time.Time, p checkpoint.Promise) {
	c.since, c.start, c.waiting = since, start, since+2*p.Records
	c.due = start.Add(2*p.Every + grace)
	c.notBefore(start)
}

// notBefore says that nothing that follows was written before a time.
func (c *cadence) notBefore(at time.Time) {
	if at = at.Add(-grace); at.After(c.floor) {
		c.floor = at
	}
}

// checkpoint is one that is there, in the record of that number. One that was there
// already, or one that is about fewer records, says nothing new.
func (r *run) checkpoint(cp *checkpoint.Checkpoint, sequence uint64, p checkpoint.Promise) {
	if cp.Sequence <= r.cadence.newest {
		return
	}
	r.cadence, r.early.over = cadence{known: true, newest: cp.Sequence}, true
	r.cadence.notBefore(cp.Time)
	if p.Every > 0 && sequence > cp.Sequence+1 {
		r.cadence.from(cp.Sequence+1, cp.Time, p)
	}
}
