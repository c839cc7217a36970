package relay

import (
	"context"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
)

// copyBody sends the body of an answer. One that may be a stream, since it says so or
// does not say how long it is, is sent on piece by piece as it comes.
func (f Forwarder) copyBody(ctx context.Context, w http.ResponseWriter, res *http.Response) error {
	if res.Body == http.NoBody {
		return nil
	}
	buf := f.Plain.BufferPool.Get()
	defer f.Plain.BufferPool.Put(buf)
	if !streams(res) {
		if holder, ok := ctx.Value(HolderKey{}).(Holder); ok && res.ContentLength > oneRecord {
			return copyThrough(&heldWriter{to: w, holder: holder}, res.Body, buf)
		}
		return copyThrough(w, res.Body, buf)
	}
	p := &prompt{w: w, control: http.NewResponseController(w)}
	p.timer = time.AfterFunc(headPatience, p.flushHead)
	defer p.end()
	return copyThrough(p, res.Body, buf)
}

// Holder is a connection that sends together what is written meanwhile.
type Holder interface {
	// Hold returns when write has returned and all is sent. The error is that of either.
	Hold(write func() error) error
}

// HolderKey is the key, in the context of requests, of the Holder that their answers go to.
type HolderKey struct{}

// oneRecord is what TLS sends at once in any case.
const oneRecord = 16 << 10

// heldWriter has each of the larger writes go out as a whole.
type heldWriter struct {
	to     io.Writer
	holder Holder
}

// Write implements io.Writer.
func (h *heldWriter) Write(p []byte) (n int, err error) {
	if len(p) <= oneRecord {
		return h.to.Write(p) //nolint:wrapcheck // the caller's own
	}
	err = h.holder.Hold(func() (err error) {
		n, err = h.to.Write(p)
		return err //nolint:wrapcheck // the same
	})
	return n, err //nolint:wrapcheck // the same
}

// copyThrough copies with buf; unlike io.CopyBuffer, always.
func copyThrough(w io.Writer, r io.Reader, buf []byte) error {
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err //nolint:wrapcheck // nobody is told more than that it broke off
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err //nolint:wrapcheck // the same
		}
	}
}

// streams reports whether a part of an answer may be worth something before the whole
// is there.
func streams(res *http.Response) bool {
	if res.ContentLength == -1 {
		return true
	}
	kind := res.Header.Get("Content-Type")
	if !strings.Contains(kind, "event-stream") && !strings.Contains(strings.ToLower(kind), "event-stream") {
		return false
	}
	kind, _, _ = mime.ParseMediaType(kind)
	return kind == "text/event-stream"
}

// headPatience is how long the head of a stream waits for what follows it: if that is
// there already, both go out together.
const headPatience = time.Millisecond

// prompt sends on at once what is written to it, and the head of its answer soon.
type prompt struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timer   *time.Timer

	mu   sync.Mutex // held while w is used
	over bool       // the head is sent, or w belongs to others again; guarded by mu
}

// Write implements io.Writer.
func (p *prompt) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		p.timer.Stop()
	}
	n, err := p.w.Write(b)
	if err != nil {
		return n, err //nolint:wrapcheck // nobody is told more than that it broke off
	}
	_ = p.control.Flush() // the next write fails too
	return n, nil
}

func (p *prompt) flushHead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		_ = p.control.Flush() // the next write fails too
	}
}

// end gives w back.
func (p *prompt) end() {
	p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}
