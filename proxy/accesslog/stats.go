package accesslog

import "time"

// Stats are what a Log has done, and has to do.
type Stats struct {
	// Records is how many records were sealed.
	Records uint64
	// Dropped is how many found no room, and were never sealed.
	Dropped uint64
	// Buffered is how many bytes of records wait for a sink, and BufferSize how many
	// may.
	Buffered, BufferSize int64
	// Lag is how long the oldest record has waited that is not in every sink yet which
	// the log waits for; 0 if all are.
	Lag time.Duration
	// Sinks are the sinks, those beside last.
	Sinks []SinkStats
}

// SinkStats are those of one sink.
type SinkStats struct {
	Name string
	// Records is how many records it has got, Lost how many it never will.
	Records, Lost uint64
	// Failures is how often it could not be written to or synced.
	Failures uint64
	// Fault is why the last attempt did not succeed; nil if it did.
	Fault error
}

// Stats counts.
func (l *Log) Stats() Stats {
	q := &l.queue
	q.mu.Lock()
	s := Stats{Records: q.head.sequence, Dropped: l.dropped.Load(), Buffered: q.used.Load(), BufferSize: q.limit}
	if !q.oldest.IsZero() {
		s.Lag = time.Since(q.oldest)
	}
	q.mu.Unlock()
	for _, a := range l.lanes {
		of := SinkStats{Name: a.sink.Name(), Records: a.got.Load(), Lost: a.lost.Load(), Failures: a.failures.Load()}
		if failure := a.failure.Load(); failure != nil {
			of.Fault = *failure
		}
		s.Sinks = append(s.Sinks, of)
	}
	return s
}
