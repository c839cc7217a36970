package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// writer brings one segment up to date.
type writer struct {
	dir     *os.Root
	name    string
	rows    int // of a block that is full
	meta    meta
	builder *builder
	kept    *os.File // NAME.blocks, once there is a full block to write
	out     []byte   // a block, encoded
	last    []byte   // the last line, with its line break
}

// write reads content, which begins at meta.Start, to its end and writes what the index
// keeps of it. When ctx ends before, what was read until then is kept.
func (w *writer) write(ctx context.Context, content io.Reader, path string) (err error) {
	defer func() {
		if w.kept != nil {
			err = errors.Join(err, w.kept.Close())
		}
	}()
	lines, err := logfile.New(content, path, nil)
	if err != nil {
		return err
	}
	w.builder.reset(w.meta.Start)
	base := w.meta.Start
	w.meta.End, w.meta.Last, w.last = base, base, w.last[:0]
	for n := 1; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			w.meta.Stamp.Size = -1 // it was not read to its end
			return errors.Join(ctx.Err(), w.writeTail())
		}
		line, err := lines.Next()
		if errors.Is(err, io.EOF) || line.Fault == logfile.Unended || line.Fault == logfile.Unreadable {
			return w.writeTail() // what has no end yet will be read again
		}
		if err != nil {
			return err
		}
		if err := w.add(line, base); err != nil {
			return err
		}
	}
}

// add adds a line whose offset counts from base.
func (w *writer) add(line logfile.Line, base int64) error {
	line.Offset += base
	end := line.Offset + int64(len(line.Text)) + 1
	if line.Fault == logfile.TooLong {
		// How long it was shows where the next one begins; until then the index ends
		// before it.
		w.builder.broken++
		return nil
	}
	w.builder.line(line, end)
	w.meta.Last, w.meta.End = line.Offset, end
	w.last = append(append(w.last[:0], line.Text...), '\n')
	if w.builder.rows() < w.rows && end-w.builder.start < blockBytes {
		return nil
	}
	return w.flush()
}

// flush writes a block that is full.
func (w *writer) flush() error {
	b := w.builder
	if b.rows() == 0 {
		w.meta.Skipped += b.broken
	} else {
		if err := w.openKept(); err != nil {
			return err
		}
		w.out = b.append(w.out[:0])
		if _, err := w.kept.WriteAt(w.out, w.meta.Kept); err != nil {
			return fmt.Errorf("writing the index: %w", err)
		}
		w.meta.Kept += int64(len(w.out))
	}
	w.meta.Start = b.end
	b.reset(b.end)
	return nil
}

// openKept opens NAME.blocks for writing. What an earlier writer left behind its end is
// written over: no tail names it.
func (w *writer) openKept() (err error) {
	if w.kept != nil {
		return nil
	}
	w.kept, err = w.dir.OpenFile(w.name+extBlocks, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("writing the index: %w", err)
	}
	return nil
}

// writeTail writes the tail, in one piece.
func (w *writer) writeTail() error {
	w.meta.Broken, w.meta.LastHash = w.builder.broken, hashOf(w.last)
	text, err := encodeTail(w.meta, w.builder)
	if err != nil {
		return err
	}
	name := w.name + extTail
	if err := w.dir.WriteFile(name+".new", text, 0o600); err != nil {
		return fmt.Errorf("writing the index: %w", err)
	}
	if err := w.dir.Rename(name+".new", name); err != nil {
		return fmt.Errorf("writing the index: %w", err)
	}
	return nil
}
