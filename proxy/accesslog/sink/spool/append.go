package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

// Append adds an entry and returns when it outlives the machine. When there is no
// room it returns ErrFull, or has the oldest entries leave. An entry without lines
// is none. After an error nothing of the entry is in the spool: whoever appends it again
// has it written again, also where the system has dropped what it could not sync.
func (s *Spool) Append(e Entry) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.append(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	s.judge()
	return err
}

func (s *Spool) append(e Entry) error {
	if len(e.Lines) == 0 {
		return nil
	}
	if len(e.Lines) > maxEntry || e.Lines[len(e.Lines)-1] != '\n' {
		return fmt.Errorf("spooling %d bytes: expected whole lines of at most %d", len(e.Lines), maxEntry)
	}
	if e.Instance == "" {
		e.Instance, e.Last = s.head.Instance, s.head.Last
	}
	s.frame = appendEntry(s.frame[:0], e, time.Now())
	length := int64(len(s.frame))
	if err := s.makeRoom(length); err != nil {
		return err
	}
	if err := s.place(length); err != nil {
		return fmt.Errorf("beginning a part of the spool: %w", err)
	}
	s.mu.Lock()
	end := s.segments[len(s.segments)-1].size
	s.mu.Unlock()
	if err := s.put(end); err != nil {
		return fmt.Errorf("spooling: %w", err)
	}
	s.head = Head{e.Instance, e.Last}
	if cap(s.frame) > 2<<20 {
		s.frame = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments[len(s.segments)-1].size += length
	s.bytes += length
	s.wake()
	return nil
}

// put writes the frame at the end of the current segment, or nothing.
func (s *Spool) put(end int64) error {
	n, err := s.current.WriteAt(s.frame, end)
	if err == nil && n < len(s.frame) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = s.sync(s.current)
	}
	if err == nil {
		return nil
	}
	// What is beyond the end is written over by the next entry, or cut off by the next
	// process: that it cannot be cut off now does no harm.
	return errors.Join(err, s.current.Truncate(end))
}

// place sees to it that there is a segment for so many bytes. The caller holds writing.
func (s *Spool) place(length int64) error {
	s.mu.Lock()
	var last segment
	if len(s.segments) > 0 {
		last = s.segments[len(s.segments)-1]
	}
	acked := s.acked
	s.mu.Unlock()
	empty := last.size <= int64(segmentHeader)
	if last.number > 0 && (empty || last.size+length <= s.segment) {
		if s.current != nil {
			return nil
		}
		var err error
		s.current, err = disk.Open(last.name(s.dir), os.O_RDWR, 0)
		return err
	}
	return s.begin(max(last.number, acked.segment) + 1)
}

// begin begins a segment. The caller holds writing.
func (s *Spool) begin(number uint64) error {
	f, begun, err := createSegment(s.dir, number, s.head)
	if err != nil {
		return err
	}
	// The header alone: if the sync of an entry fails, that is written again, and this not.
	if err = s.sync(f); err == nil {
		err = disk.SyncDir(s.dir)
	}
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if s.current != nil {
		_ = s.current.Close() // was synced
	}
	s.current = f
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments = append(s.segments, begun)
	s.bytes += begun.size
	waits := s.read == s.acked
	s.settle()
	if waits {
		s.read = s.acked
	}
	return nil
}

// makeRoom has the oldest entries leave until there is room for so many bytes, if
// they may. The caller holds writing.
func (s *Spool) makeRoom(length int64) error {
	length += 2 * int64(segmentHeader) // if a segment is begun for it beside an empty one
	if length > s.cfg.Size {
		return fmt.Errorf("spooling %d bytes at once: %w", length, ErrFull)
	}
	for {
		s.mu.Lock()
		fits, parts := s.bytes+length <= s.cfg.Size, len(s.segments)
		s.mu.Unlock()
		switch {
		case fits:
			return nil
		case parts == 1 && s.allAcked(), s.cfg.Drop:
		default:
			return ErrFull
		}
		if parts == 1 { // it is the one that is written: a new one takes its place
			if err := s.begin(s.lastNumber() + 1); err != nil {
				return fmt.Errorf("beginning a part of the spool: %w", err)
			}
		}
		s.dropFirst()
	}
}

func (s *Spool) lastNumber() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.segments[len(s.segments)-1].number
}

func (s *Spool) allAcked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.segments[len(s.segments)-1]
	return s.acked.segment == last.number && s.acked.offset >= last.size
}

// dropFirst has the first segment leave, if there is one besides the last.
func (s *Spool) dropFirst() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) < 2 {
		return
	}
	first, from := s.segments[0], int64(segmentHeader)
	if s.acked.segment == first.number {
		from = s.acked.offset
	}
	lines := countLines(first.name(s.dir), from, first.size)
	s.remove()
	s.acked = position{s.segments[0].number, int64(segmentHeader)}
	if s.read.before(s.acked) {
		s.read = s.acked
	}
	if lines > 0 {
		s.dropped += lines
		s.cfg.Log.Warn("spool is full: the oldest records are dropped", "sink", s.cfg.Name, "records", lines, "dropped", s.dropped)
	}
}

// countLines counts the lines in a part of a segment, as far as they can be read.
func countLines(path string, from, to int64) (lines uint64) {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for from < to {
		text, h, err := readEntry(nil, f, from, to)
		if err != nil {
			return lines
		}
		lines += uint64(bytes.Count(text, []byte{'\n'})) //nolint:gosec // a count
		from += h.size()
	}
	return lines
}
