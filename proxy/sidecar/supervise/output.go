package supervise

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// Output is what becomes of what an application writes.
type Output int

// What may.
const (
	Pass   Output = iota // it writes where this process does
	Prefix               // each line begins with the service's name
	JSON                 // each line is an object with time, stream, service and text
)

// outputs are the pipes that an application writes to, and who reads them.
type outputs struct {
	pipes []*os.File // our ends
	done  sync.WaitGroup
}

// plumbing is what a start needs of descriptors.
type plumbing struct {
	theirs  []*os.File // closed here once the application has them
	outputs *outputs
	stdin   *os.File
	copies  []func()
}

// plumb gives prog its three descriptors.
func (c *Child) plumb(prog *program) (*plumbing, error) {
	l := &plumbing{outputs: &outputs{}}
	in, err := l.input(c.stdin)
	if err == nil {
		prog.files[0] = in
		prog.files[1], err = l.out(c, "stdout", c.cfg.Stdout)
	}
	if err == nil {
		prog.files[2], err = l.out(c, "stderr", c.cfg.Stderr)
	}
	if err != nil {
		l.started()
		l.abandon()
		return nil, err
	}
	return l, nil
}

// input is what the application reads.
func (l *plumbing) input(text []byte) (*os.File, error) {
	if text == nil {
		null, err := os.Open(os.DevNull)
		l.theirs = append(l.theirs, null)
		return null, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	l.theirs, l.stdin = append(l.theirs, r), w
	l.copies = append(l.copies, func() {
		_, _ = w.Write(text) // who does not read it does not need it
		_ = w.Close()
	})
	return r, nil
}

// out is where the application writes one of its streams.
func (l *plumbing) out(c *Child, stream string, to io.Writer) (*os.File, error) {
	if file, ok := to.(*os.File); ok && c.cfg.Output == Pass {
		return file, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	l.theirs, l.outputs.pipes = append(l.theirs, w), append(l.outputs.pipes, r)
	l.copies = append(l.copies, func() { c.copyLines(stream, r, to) })
	return w, nil
}

// started closes the application's ends, of which it has its own now.
func (l *plumbing) started() {
	for _, file := range l.theirs {
		_ = file.Close()
	}
}

// abandon closes our ends after a start that did not succeed.
func (l *plumbing) abandon() {
	for _, file := range l.outputs.pipes {
		_ = file.Close()
	}
	if l.stdin != nil {
		_ = l.stdin.Close()
	}
}

// begin reads and writes our ends.
func (l *plumbing) begin() {
	for _, run := range l.copies {
		l.outputs.done.Go(run)
	}
}

// lastLines is how long the last lines of an application may take to be read.
const lastLines = 500 * time.Millisecond

// closePipes waits until everything that the application has written is read, but not for
// ever: whoever takes our output may have stopped doing so.
func (p *process) closePipes() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	}
	for _, pipe := range p.output.pipes {
		_ = pipe.SetReadDeadline(time.Now().Add(lastLines))
	}
	done := make(chan struct{})
	go func() {
		p.output.done.Wait()
		close(done)
	}()
	timer := time.NewTimer(2 * lastLines)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	for _, pipe := range p.output.pipes {
		_ = pipe.Close()
	}
}

// copyLines reads what the application writes, until it has closed its end.
func (c *Child) copyLines(stream string, from *os.File, to io.Writer) {
	defer io.Copy(io.Discard, from) //nolint:errcheck // if nobody takes it: the application need not wait
	if c.cfg.Output == Pass {
		_, _ = io.Copy(to, from)
		return
	}
	f := &framer{to: to, frame: c.frame(stream)}
	buffer := make([]byte, readBytes)
	for {
		n, err := from.Read(buffer)
		if f.add(buffer[:n]) != nil {
			return
		}
		if err != nil {
			_ = f.end()
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, os.ErrClosed) {
				c.cfg.Log.Info("output of the app cannot be read", "stream", stream, "error", err)
			}
			return
		}
	}
}
