package http1

import (
	"context"
	"errors"
	"io"
	"sync"
)

// body is an answer's. At its end the connection goes back; if it is closed before,
// what is left is thrown away with the connection, unless it is there already.
type body struct {
	x     *exchange
	src   io.Reader
	clean bool // the connection can be used again after the end

	mu   sync.Mutex // held while reading
	left int64      // of a body whose length is known, else negative; guarded by mu
	err  error      // what it has ended with; guarded by mu
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read(p)
}

func (b *body) read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.src.Read(p)
	if err == nil && n < len(p) && b.left > int64(n) {
		more, stop := b.more(p[n:])
		n, err = n+more, stop
	}
	if b.left >= 0 {
		b.left -= int64(n)
	}
	if err != nil {
		b.end(err)
	}
	return n, b.err
}

// more reads what else has come already, without waiting: TLS hands out one record of
// 16 KiB at a time, and to pass that on costs less together with the next.
func (b *body) more(p []byte) (n int, err error) {
	s := b.x.c.socket
	s.mode = returns
	defer func() { s.mode = waits }()
	for n < len(p) && err == nil {
		var m int
		m, err = b.src.Read(p[n:])
		n += m
	}
	if errors.Is(err, errQuiet) {
		b.x.c.readErr = nil
		return n, nil
	}
	return n, err
}

// end gives the connection back after err, which is io.EOF after a whole answer.
func (b *body) end(err error) {
	b.err = err
	whole := errors.Is(err, io.EOF)
	if !whole && b.x.c.cut.Load() {
		b.err = context.Cause(b.x.req.Context())
	}
	b.x.end(whole && b.clean)
}

// Close implements io.Closer. It may be called while another goroutine reads, which
// then gets an error.
func (b *body) Close() error {
	if !b.mu.TryLock() {
		b.x.c.close()
		return nil
	}
	defer b.mu.Unlock()
	if b.err != nil {
		return nil
	}
	if b.left >= 0 && b.left <= int64(b.x.c.br.Buffered()) {
		_, _ = io.Copy(io.Discard, readerFunc(b.read)) // cannot wait, and ends it
	}
	if b.err == nil {
		b.end(errClosed)
	}
	b.err = errClosed
	return nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
