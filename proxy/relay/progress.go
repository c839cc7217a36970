package relay

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// progress is since when an exchange waits for its client, in nanoseconds of this
// process's life; zero while it does not.
type progress struct {
	writing, reading atomic.Int64
	cut              atomic.Int32 // how it was cut
	// shard and place are where a Watch keeps the exchange.
	shard *watchShard
	place int
}

// birth is what nanoseconds are counted from, without the jumps of a wall clock.
var birth = time.Now() //nolint:gochecknoglobals // never changes: a monotonic clock needs a beginning

func sinceBirth() int64 { return max(int64(time.Since(birth)), 1) }

// WaitsForBody notes that a read of the request's body begins, or has ended.
func (ex *Exchange) WaitsForBody(begins bool) {
	if begins {
		ex.progress.reading.Store(sinceBirth())
	} else {
		ex.progress.reading.Store(0)
	}
}

// Answering reports whether an answer has begun: from then on both directions may be
// open for as long as the two sides like.
func (ex *Exchange) Answering() bool { return ex.begun.Load() }

// FlushError sends on what was written, and like Write waits for the client. It is how
// http.ResponseController flushes.
func (ex *Exchange) FlushError() error {
	ex.progress.writing.Store(sinceBirth())
	defer ex.progress.writing.Store(0)
	return http.NewResponseController(ex.ResponseWriter).Flush()
}

// Watch cuts exchanges whose client makes no progress: one that takes nothing of what
// is written to it, and one that sends nothing while its body is waited for. Streams in
// which nothing is said for a time are left alone: nobody waits in them. Safe for
// concurrent use; make one with NewWatch.
type Watch struct {
	patience atomic.Int64
	shards   [watchShards]watchShard
	next     atomic.Uint32
	// Cut, if not nil, is told of each that was cut: SlowReader or SlowWriter. It must be
	// set before the Watch is used.
	Cut func(why string)
}

// What Cut is told: that a client takes nothing of its answer, or sends nothing of its body.
const (
	SlowReader = "slow_reader"
	SlowWriter = "slow_writer"
)

const watchShards = 16

// watchShard is some of the exchanges under way.
type watchShard struct {
	mu      sync.Mutex
	inside  []*Exchange
	running bool // whether somebody will look again
}

// NewWatch returns one that cuts whoever makes no progress for the given time.
func NewWatch(patience time.Duration) *Watch {
	w := new(Watch)
	w.SetPatience(patience)
	return w
}

// SetPatience changes how long no progress may be made.
func (w *Watch) SetPatience(patience time.Duration) { w.patience.Store(int64(patience)) }

// Follow watches ex until Forget. An exchange is followed once.
func (w *Watch) Follow(ex *Exchange) {
	s := &w.shards[w.next.Add(1)%watchShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	ex.progress.shard, ex.progress.place = s, len(s.inside)
	s.inside = append(s.inside, ex)
	if !s.running {
		s.running = true
		time.AfterFunc(time.Duration(w.patience.Load())/4, func() { w.look(s) })
	}
}

// Forget ends what Follow began; from its return on, ex is not touched any more.
func (w *Watch) Forget(ex *Exchange) {
	s := ex.progress.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.inside) - 1
	moved := s.inside[last]
	s.inside[ex.progress.place], moved.progress.place = moved, ex.progress.place
	s.inside[last], s.inside = nil, s.inside[:last]
}

// look cuts those of a shard that make no progress, and comes back while there is
// anybody to watch.
func (w *Watch) look(s *watchShard) {
	patience := w.patience.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	late := sinceBirth() - patience
	for _, ex := range s.inside {
		if why := ex.stalled(late); why != "" && w.Cut != nil {
			w.Cut(why)
		}
	}
	if s.running = len(s.inside) > 0; s.running {
		time.AfterFunc(time.Duration(patience)/4, func() { w.look(s) })
	}
}

// stalled cuts the exchange if it has waited for its client since before late, and says
// in which direction. Only deadlines are set: they wake up whoever waits.
func (ex *Exchange) stalled(late int64) string {
	writing, reading := ex.progress.writing.Load(), ex.progress.reading.Load()
	switch {
	case ex.progress.cut.Load() != 0:
	case writing != 0 && writing < late:
		ex.progress.cut.Store(cutReader)
		_ = http.NewResponseController(ex.ResponseWriter).SetWriteDeadline(time.Unix(1, 0)) // long over
		return SlowReader
	case reading != 0 && reading < late:
		ex.progress.cut.Store(cutWriter)
		_ = http.NewResponseController(ex.ResponseWriter).SetReadDeadline(time.Unix(1, 0))
		return SlowWriter
	}
	return ""
}

// Who was too slow.
const (
	cutReader = 1 + iota
	cutWriter
)

// NoteSlowWriter notes that the client sends its body too slowly. The body may be read
// by another goroutine than the request's.
func (ex *Exchange) NoteSlowWriter() { ex.progress.cut.Store(cutWriter) }

// SlowWriter reports whether the client was found to send its body too slowly.
func (ex *Exchange) SlowWriter() bool { return ex.progress.cut.Load() == cutWriter }

// SlowReader reports whether the exchange was cut because its client took nothing.
func (ex *Exchange) SlowReader() bool { return ex.progress.cut.Load() == cutReader }
