package accesslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// output is a Sink that writes lines to a stream as they are.
type output struct {
	name    string
	w       io.Writer
	written int   // how much of the batch in hand is written
	lost    error // why nobody knows whether what was written is on disk; nil if it is
}

// NewOutput is a Sink that writes to w: a file, or standard output. Close closes w if
// it can be closed.
func NewOutput(name string, w io.Writer) Sink { return &output{name: name, w: w} }

// Name implements Sink.
func (o *output) Name() string { return o.name }

// Write implements Sink.
func (o *output) Write(_ context.Context, b *Batch) error {
	n, err := WriteRest(o.w, b.Lines, o.written)
	if o.written = n; err != nil {
		return err
	}
	o.written = 0
	return nil
}

// WriteRest writes to w what it has not got yet of some lines, of which so many bytes are
// written, and returns how many are then; the error is nil if that is all.
func WriteRest(w io.Writer, lines []byte, written int) (now int, err error) {
	rest := lines[written:]
	n, err := w.Write(rest)
	if n < 0 || n > len(rest) {
		return written, fmt.Errorf("writing access log: writer says that it wrote %d bytes of %d", n, len(rest))
	}
	if err == nil && n < len(rest) {
		err = io.ErrShortWrite
	}
	if n == len(rest) {
		return len(lines), nil
	}
	return written + n, fmt.Errorf("writing access log: %w", err)
}

// Sync implements Syncer. What cannot be synced, such as a pipe, needs none. After a
// failure nothing counts as synced any more: what the system has dropped is not here to be
// written again (see package sink/file), and another sync would succeed without it.
func (o *output) Sync(context.Context) error {
	f, ok := o.w.(interface{ Sync() error })
	if !ok || o.lost != nil {
		return o.lost
	}
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		o.lost = fmt.Errorf("syncing access log: what was written may be lost, until the process starts anew: %w", err)
	}
	return o.lost
}

// Close implements Sink.
func (o *output) Close() error {
	if closer, ok := o.w.(io.Closer); ok && o.w != io.Writer(os.Stdout) {
		return closer.Close()
	}
	return nil
}
