package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// slots is how many processes may share a directory.
const slots = 16

// errHeld says that another process has the folder.
var errHeld = errors.New("all of its folders are held by other processes")

func slotName(dir string, slot int) string { return filepath.Join(dir, strconv.Itoa(slot)) }

// adoptChunk is how much is taken over at once.
const adoptChunk = 256 << 10

// adoptShare is the part of a spool that may be in use for more to be taken over: what this
// process has to say itself needs the rest.
const adoptShare = 2

// Adopt takes over what processes that are no more have left in the same directory. It
// stops when half of the spool is in use, or ctx ends; the rest stays where it is, until
// there is room again.
func (s *Spool) Adopt(ctx context.Context) error {
	for slot := range slots {
		name := slotName(s.cfg.Directory, slot)
		if left, err := listSegments(name); name == s.dir || err != nil || len(left) == 0 {
			continue // its own, or none, or nothing in it
		}
		if err := s.adopt(ctx, slot); err != nil && !errors.Is(err, errHeld) {
			return fmt.Errorf("taking over spool %q: %w", name, err)
		}
	}
	return nil
}

func (s *Spool) adopt(ctx context.Context, slot int) (err error) {
	orphan, err := openIn(s.cfg, slot)
	if err != nil {
		return err
	}
	defer func() {
		orphan.unopen()
		err = errors.Join(err, orphan.Close())
	}()
	adopted := 0
	for {
		chunk, _, err := orphan.poll(adoptChunk)
		if err != nil {
			return err
		}
		if chunk.Count == 0 {
			break
		}
		if err := errors.Join(ctx.Err(), s.Err(), s.spare(len(chunk.Lines))); err != nil {
			return err
		}
		if err := s.Append(Entry{Lines: chunk.Lines}); err != nil {
			return err
		}
		if err := orphan.Ack(chunk); err != nil {
			return err
		}
		adopted += chunk.Count
	}
	if adopted > 0 {
		s.cfg.Log.Info("took over what another process has spooled", "sink", s.cfg.Name, "records", adopted)
	}
	return orphan.clear()
}

// spare returns ErrFull unless there is room for so many bytes of somebody else.
func (s *Spool) spare(length int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+int64(length) > s.cfg.Size/adoptShare {
		return ErrFull
	}
	return nil
}

// Behind returns how far logs were spooled when the last process had the directory, of which
// more may have been written elsewhere than came here: that of the instance, which was the
// last to write there, and that of an earlier one. A log that the spool has nothing of is
// behind 0. Nothing is behind in a directory that is new, nor while another process has a
// part of it: the records are that one's matter.
func (s *Spool) Behind(instance string) (heads []Head, err error) {
	own := s.Head()
	if own.Instance == instance {
		return []Head{own}, nil
	}
	if own.Instance != "" {
		heads = append(heads, own)
	}
	found := false
	for slot := range slots {
		name := slotName(s.cfg.Directory, slot)
		if _, err := os.Lstat(name); name == s.dir || err != nil {
			continue
		}
		orphan, err := openIn(s.cfg, slot)
		if errors.Is(err, errHeld) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("looking into spool %q: %w", name, err)
		}
		head := orphan.Head()
		if err := orphan.Close(); err != nil {
			return nil, err
		}
		if head.Instance == instance {
			found = true
			heads = append(heads, head)
		}
	}
	if !found && !s.fresh {
		heads = append(heads, Head{Instance: instance})
	}
	return heads, nil
}

// clear removes what is left, all of which was acknowledged.
func (s *Spool) clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.segments) > 0 {
		if err := os.Remove(s.segments[0].name(s.dir)); err != nil {
			return err
		}
		s.segments = s.segments[1:]
	}
	return nil
}
