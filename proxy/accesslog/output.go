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
	written int // how much of the batch in hand is written
}

// NewOutput is a Sink that writes to w: a file, or standard output. Close closes w if
// it can be closed.
func NewOutput(name string, w io.Writer) Sink { return &output{name: name, w: w} }

// Name implements Sink.
func (o *output) Name() string { return o.name }

// Write implements Sink.
func (o *output) Write(_ context.Context, b *Batch) error {
	rest := b.Lines[o.written:]
	n, err := o.w.Write(rest)
	if n < 0 || n > len(rest) {
		return fmt.Errorf("writing access log: writer says that it wrote %d bytes of %d", n, len(rest))
	}
	o.written += n
	if err == nil && n < len(rest) {
		err = io.ErrShortWrite
	}
	if o.written < len(b.Lines) {
		return fmt.Errorf("writing access log: %w", err)
	}
	o.written = 0
	return nil
}

// Sync implements Syncer. What cannot be synced, such as a pipe, needs none.
func (o *output) Sync(context.Context) error {
	f, ok := o.w.(interface{ Sync() error })
	if !ok {
		return nil
	}
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return fmt.Errorf("syncing access log: %w", err)
	}
	return nil
}

// Close implements Sink.
func (o *output) Close() error {
	if closer, ok := o.w.(io.Closer); ok && o.w != io.Writer(os.Stdout) {
		return closer.Close()
	}
	return nil
}
