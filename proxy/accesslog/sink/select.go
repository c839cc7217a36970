// Package sink says which records a sink of the access log gets, and in which form.
// Packages file, syslog, otlp and spool hold what records are written to; the log itself
// has a goroutine and a bounded buffer for each, so that none waits for another.
//
// Its input are sealed lines of our own. What a client sent is in them as a JSON string
// and forges no member.
package sink

import (
	"bytes"
	"context"
	"slices"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Filter says which records a sink gets: those that fit every list that is not empty.
// Records that the log keeps about itself pass, unless Actions names others. The zero
// value lets everything through.
type Filter struct {
	// Actions are values of "event.action".
	Actions []string
	// Decisions are values of "sallyport.decision".
	Decisions []string
	// Outcomes are values of "event.outcome".
	Outcomes []string
	// Routes are values of "sallyport.route".
	Routes []string
	// Reasons are values of "event.reason".
	Reasons []string
}

// Format appends what a record looks like for a sink, or nothing if there is no word for
// it. line has no line break, and neither has what is appended.
type Format func(dst, line []byte) []byte

// own are the actions of records that the log keeps about itself: what a collector that
// gets only some records still has to know.
var own = [...]string{"log_start", "log_end", "log_gap", "checkpoint"}

// Passes reports whether a record, without its line break, passes.
func (f *Filter) Passes(line []byte) bool {
	r := logfile.Record{JSON: line}
	action := r.Action()
	switch {
	case len(f.Actions) > 0 && !slices.Contains(f.Actions, action):
		return false
	case slices.Contains(own[:], action):
		return true
	}
	return has(r, "sallyport.decision", f.Decisions) && has(r, "event.outcome", f.Outcomes) &&
		has(r, "sallyport.route", f.Routes) && has(r, "event.reason", f.Reasons)
}

// has reports whether a member of a record is one of some values, or may be any.
func has(r logfile.Record, member string, values []string) bool {
	return len(values) == 0 || slices.Contains(values, logfile.Text(r.Member(member)))
}

// all reports whether everything passes.
func (f *Filter) all() bool {
	return len(f.Actions)+len(f.Decisions)+len(f.Outcomes)+len(f.Routes)+len(f.Reasons) == 0
}

// Select returns a sink that gives those records to another that pass the filter, in a
// format; nil is as they are.
func Select(to accesslog.Sink, only Filter, format Format) accesslog.Sink {
	if only.all() && format == nil {
		return to
	}
	return &selection{Sink: to, only: only, format: format}
}

// selection gives some records to a sink.
type selection struct {
	accesslog.Sink
	only   Filter
	format Format
	some   accesslog.Batch // for reuse
}

// keptBuffer is the largest buffer that is kept for later.
const keptBuffer = 1 << 20

// Write implements accesslog.Sink. A batch that is written again makes the same records
// again, so that the sink goes on where it stopped.
func (s *selection) Write(ctx context.Context, b *accesslog.Batch) error {
	if cap(s.some.Lines) > keptBuffer && len(s.some.Lines) < keptBuffer/4 {
		s.some.Lines = nil
	}
	s.some.Lines, s.some.Count = s.some.Lines[:0], 0
	s.some.First, s.some.Last, s.some.Instance = b.First, b.Last, b.Instance
	for line := range bytes.Lines(b.Lines) {
		s.add(bytes.TrimSuffix(line, []byte{'\n'}))
	}
	if s.some.Count == 0 {
		return nil
	}
	return s.Sink.Write(ctx, &s.some)
}

// add adds a record, if it passes.
func (s *selection) add(line []byte) {
	if !s.only.Passes(line) {
		return
	}
	before := len(s.some.Lines)
	if s.format == nil {
		s.some.Lines = append(s.some.Lines, line...)
	} else if s.some.Lines = s.format(s.some.Lines, line); len(s.some.Lines) == before {
		return
	}
	s.some.Lines = append(s.some.Lines, '\n')
	s.some.Count++
}

// Err implements accesslog.Judge.
func (s *selection) Err() error {
	if judge, ok := s.Sink.(accesslog.Judge); ok {
		return judge.Err()
	}
	return nil
}

// Sync implements accesslog.Syncer.
func (s *selection) Sync(ctx context.Context) error {
	if syncer, ok := s.Sink.(accesslog.Syncer); ok {
		return syncer.Sync(ctx)
	}
	return nil
}
