package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

// Config is what a spool needs. It must not be modified after Open.
type Config struct {
	// Directory is where the files are. It is made if it is not there, for its owner
	// alone.
	Directory string
	// Size is how many bytes the files may have together. The last eighth is kept for
	// what is on its way when Err says that nothing more should begin.
	Size int64
	// Drop has the oldest entries leave when there is no room, in place of an error.
	Drop bool
	// Name is what log lines call the spool.
	Name string
	// Log is required.
	Log *slog.Logger
}

var (
	// ErrFull says that there is no room.
	ErrFull = errors.New("the spool is full")
	// ErrClosed says that the spool was closed.
	ErrClosed = errors.New("the spool is closed")
)

// Spool is a queue on disk. Append may be called by several goroutines; Read, Ack,
// Rewind and Adopt by one; Err and Stats by anybody.
type Spool struct {
	cfg     Config
	dir     string // of this process, below cfg.Directory
	lock    *os.File
	ledger  *ledger
	segment int64 // how large a segment grows
	fresh   bool  // nobody has used the folder before

	sync func(*os.File) error // disk.Sync, but in tests

	writing sync.Mutex // one Append at a time; guards current, frame and head
	current *os.File   // that of the last segment; nil until something is appended
	frame   []byte
	head    Head

	mu       sync.Mutex // guards the rest
	segments []segment  // in order; what is not in it is not on disk
	bytes    int64      // all of them together
	read     position   // what was read
	acked    position   // what was acknowledged
	dropped  uint64     // lines that have left without being acknowledged
	failed   error      // of the last Append
	closed   bool
	grown    chan struct{} // closed at the next Append; nil if nobody waits

	fault atomic.Pointer[error] // what Err returns; changed with mu held

	open       *os.File // the segment that is read; used by who reads
	openNumber uint64
}

// Stats are what a spool holds.
type Stats struct {
	// Bytes wait to be acknowledged.
	Bytes int64
	// Oldest is when the first of them was appended; zero if there are none.
	Oldest time.Time
	// Dropped counts lines that have left without being acknowledged, because there
	// was no room or they could not be read.
	Dropped uint64
}

const (
	smallestSegment = 256 << 10
	largestSegment  = 16 << 20
)

// Open opens the spool of this process and mends what the end of the last one has
// left. The caller closes it.
func Open(cfg Config) (*Spool, error) {
	s, err := openIn(cfg, 0)
	for slot := 1; errors.Is(err, errHeld) && slot < slots; slot++ {
		s, err = openIn(cfg, slot)
	}
	if err != nil {
		return nil, fmt.Errorf("opening spool %q: %w", cfg.Directory, err)
	}
	return s, nil
}

// openIn opens the spool in one of the folders, or returns errHeld.
func openIn(cfg Config, slot int) (s *Spool, err error) {
	s = &Spool{
		cfg: cfg, dir: slotName(cfg.Directory, slot),
		segment: min(max(cfg.Size/32, smallestSegment), largestSegment), sync: disk.Sync,
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	if s.lock, err = lock(filepath.Join(s.dir, "lock")); err != nil {
		return nil, err
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

// recover finds what there is, and cuts off what the end of the last process has torn.
func (s *Spool) recover() (err error) {
	ledger := filepath.Join(s.dir, "acknowledged")
	_, err = os.Lstat(ledger)
	s.fresh = errors.Is(err, os.ErrNotExist)
	if s.ledger, s.acked, err = openLedger(ledger); err != nil {
		return err
	}
	if s.segments, err = listSegments(s.dir); err != nil {
		return errors.Join(err, s.ledger.f.Close())
	}
	for len(s.segments) > 0 { // until one is whole
		last := &s.segments[len(s.segments)-1]
		size, head, cut, err := mend(last.name(s.dir))
		if err != nil {
			return errors.Join(err, s.ledger.f.Close())
		}
		if cut > 0 {
			s.cfg.Log.Info("cut off what was not wholly spooled", "sink", s.cfg.Name, "bytes", cut)
		}
		if size > 0 {
			last.size, s.head = size, head
			break
		}
		s.segments = s.segments[:len(s.segments)-1]
	}
	for _, segment := range s.segments {
		s.bytes += segment.size
	}
	s.settle()
	s.judge()
	s.read = s.acked
	return nil
}

// settle moves what was acknowledged to where something begins that is there, and
// removes what lies before. The caller holds mu, or is the only one yet.
func (s *Spool) settle() {
	for len(s.segments) > 1 && (s.segments[0].number < s.acked.segment || s.segments[0].number == s.acked.segment && s.acked.offset >= s.segments[0].size) {
		s.remove()
	}
	if len(s.segments) == 0 {
		return
	}
	first := s.segments[0]
	switch {
	case s.acked.segment < first.number:
		s.acked = position{first.number, int64(segmentHeader)}
	case s.acked.segment > first.number || s.acked.offset > first.size:
		s.acked = position{first.number, first.size}
	case s.acked.offset < int64(segmentHeader):
		s.acked.offset = int64(segmentHeader)
	}
}

// remove removes the first segment. That its file stays when it cannot be removed
// does no harm: it lies before what was acknowledged. The caller holds mu, or is the
// only one yet.
func (s *Spool) remove() {
	first := s.segments[0]
	if err := os.Remove(first.name(s.dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.cfg.Log.Warn("part of a spool cannot be removed", "sink", s.cfg.Name, "error", err)
	}
	s.bytes -= first.size
	s.segments = s.segments[1:]
}

// Head is how far the log was in the spool when it was opened, and is now.
func (s *Spool) Head() Head {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.head
}

// Err says why nothing should begin whose records are to be kept: the spool is full
// but for what is on its way already, or cannot be written. A spool that drops is
// never full.
func (s *Spool) Err() error {
	if fault := s.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

// judge has Err say how things are. The caller holds mu, or is the only one yet.
func (s *Spool) judge() {
	err := s.failed
	if full := s.bytes > s.cfg.Size-s.cfg.Size/8; full && !s.cfg.Drop && err == nil {
		err = fmt.Errorf("%w: %d of %d bytes", ErrFull, s.bytes, s.cfg.Size)
	}
	if err == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&err)
}

// Stats says what the spool holds.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{Dropped: s.dropped}
	for _, segment := range s.segments {
		stats.Bytes += segment.size - int64(segmentHeader)
	}
	if len(s.segments) == 0 {
		return stats
	}
	stats.Bytes -= s.acked.offset - int64(segmentHeader) // it is in the first of them
	if stats.Bytes > 0 {
		if f, err := os.Open(segment{number: s.acked.segment}.name(s.dir)); err == nil {
			if h, err := readHeader(f, s.acked.offset); err == nil {
				stats.Oldest = h.time
			}
			_ = f.Close() // was only read from
		}
	}
	return stats
}

// Close closes the spool; what it holds stays there. Read returns ErrClosed.
func (s *Spool) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.wake()
	var err error
	for _, f := range []*os.File{s.current, s.ledger.f, s.lock} { // the lock last
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// wake has Read look again. The caller holds mu.
func (s *Spool) wake() {
	if s.grown != nil {
		close(s.grown)
		s.grown = nil
	}
}
