package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

// Chunk is what Read has read: whole lines, in the order in which they came. It is the
// caller's.
type Chunk struct {
	// Lines are one or more lines, each ended by a line break.
	Lines []byte
	// Count is how many.
	Count int

	end position
}

// Read returns what comes after the last Read: several entries, up to about limit bytes,
// or one. It waits until there is something, or ctx ends.
func (s *Spool) Read(ctx context.Context, limit int) (Chunk, error) {
	for {
		chunk, grown, err := s.poll(limit)
		if err != nil || chunk.Count > 0 {
			return chunk, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return Chunk{}, ctx.Err()
		}
	}
}

// poll is Read without the waiting: if there is nothing, it returns what is closed once
// there is.
func (s *Spool) poll(limit int) (chunk Chunk, grown <-chan struct{}, err error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return Chunk{}, nil, ErrClosed
		}
		at, size, more := s.next()
		if !more {
			defer s.mu.Unlock()
			if s.grown == nil {
				s.grown = make(chan struct{})
			}
			return Chunk{}, s.grown, nil
		}
		s.mu.Unlock()
		chunk, err := s.gather(at, size, limit)
		if err != nil && !errors.Is(err, errTorn) {
			return Chunk{}, nil, fmt.Errorf("reading spool: %w", err)
		}
		if s.passed(at, chunk, err) {
			return chunk, nil, nil
		}
	}
}

// next says where to read on, and how large the segment is there, or that there is
// nothing yet. The caller holds mu.
func (s *Spool) next() (at position, size int64, more bool) {
	for _, segment := range s.segments {
		if segment.number < s.read.segment {
			continue
		}
		if segment.number > s.read.segment {
			s.read = position{segment.number, int64(segmentHeader)}
		}
		if s.read.offset < segment.size {
			return s.read, segment.size, true
		}
	}
	return s.read, 0, false
}

// gather reads entries of one segment.
func (s *Spool) gather(at position, size int64, limit int) (Chunk, error) {
	chunk := Chunk{end: at}
	f, err := s.file(at.segment)
	if errors.Is(err, os.ErrNotExist) {
		return chunk, fmt.Errorf("%w: %w", errTorn, err)
	}
	if err != nil {
		return chunk, err
	}
	for chunk.end.offset < size {
		h, err := readHeader(f, chunk.end.offset)
		if err != nil {
			return chunk, err
		}
		if len(chunk.Lines) > 0 && len(chunk.Lines)+int(h.length) > limit {
			return chunk, nil
		}
		before := len(chunk.Lines)
		if chunk.Lines, h, err = readEntry(chunk.Lines, f, chunk.end.offset, size); err != nil {
			return chunk, err
		}
		chunk.Count += bytes.Count(chunk.Lines[before:], []byte{'\n'})
		chunk.end.offset += h.size()
	}
	return chunk, nil
}

// file is the segment of that number, which stays open until another is asked for.
func (s *Spool) file(number uint64) (*os.File, error) {
	if s.open != nil && s.openNumber == number {
		return s.open, nil
	}
	s.unopen()
	f, err := disk.Open(segment{number: number}.name(s.dir), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	s.open, s.openNumber = f, number
	return f, nil
}

// unopen closes what is read. The caller is who reads.
func (s *Spool) unopen() {
	if s.open != nil {
		_ = s.open.Close() // was only read from
		s.open = nil
	}
}

// passed notes what was read, and reports whether it is of use: it has lines, and was
// not dropped meanwhile. The rest of a segment that is torn is passed over.
func (s *Spool) passed(at position, chunk Chunk, torn error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.read != at { // dropped meanwhile
		return false
	}
	s.read = chunk.end
	if torn == nil || chunk.Count > 0 {
		return chunk.Count > 0
	}
	for _, segment := range s.segments {
		if segment.number == at.segment {
			s.read.offset = segment.size
			s.dropped++ // one at least: what cannot be read cannot be counted
			s.cfg.Log.Error("spool is damaged: records are lost to the collector",
				"sink", s.cfg.Name, "bytes", segment.size-chunk.end.offset, "error", torn)
		}
	}
	return false
}

// Ack notes that everything up to the end of chunk was taken: it is not read again,
// not even by the next process.
func (s *Spool) Ack(chunk Chunk) error {
	s.mu.Lock()
	closed, stale := s.closed, !s.acked.before(chunk.end)
	s.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case stale: // dropped meanwhile
		return nil
	}
	if err := s.ledger.write(chunk.end); err != nil { // by this goroutine alone
		return fmt.Errorf("noting what a collector has taken: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acked.before(chunk.end) {
		s.acked = chunk.end
		s.settle()
		if errors.Is(s.failed, ErrFull) {
			s.failed = nil // there may be room again; the next Append says
		}
		s.judge()
	}
	return nil
}

// Rewind has Read begin again behind what was acknowledged.
func (s *Spool) Rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = s.acked
}
