package sidecar

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// answer is the http.ResponseWriter of one request: it counts. It belongs to
// the request's goroutine, except for the counters: the two directions of an
// upgraded connection share them.
type answer struct {
	http.ResponseWriter
	start  time.Time
	status int
	cause  error // what went wrong, for the log; nil when nothing did

	in, out  atomic.Int64
	upstream atomic.Int64 // nanoseconds until the application's first byte
}

// trace notes when the application's first byte comes. The transport calls it
// from a goroutine of its own, which may outlive the request.
func (a *answer) trace(now func() time.Time) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotFirstResponseByte: func() { a.upstream.Store(int64(now().Sub(a.start))) }}
}

// count counts what is read of the body of r.
func (a *answer) count(r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &countedBody{ReadCloser: r.Body, n: &a.in}
	}
}

// WriteHeader passes final statuses on. Interim ones (1xx) of the application
// are dropped: their headers would bypass the filter for answers. An answer
// without Content-Type stays without one: net/http would guess.
func (a *answer) WriteHeader(status int) {
	if status >= 100 && status < 200 {
		return
	}
	if a.status == 0 {
		a.status = status
	}
	if h := a.Header(); h["Content-Type"] == nil {
		h["Content-Type"] = nil // present and empty: this is how net/http is told
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes of the body.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(p)
	a.out.Add(int64(n))
	return n, err
}

// Hijack gives an upgraded connection away, still counted.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(a.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.status = http.StatusSwitchingProtocols
	return &countedConn{Conn: conn, in: &a.in, out: &a.out}, buffered, nil
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

type countedConn struct {
	net.Conn
	in, out *atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.out.Add(int64(n))
	return n, err
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

const copyBufferSize = 32 << 10

func (p *bufferPool) Get() []byte {
	if buf, ok := p.pool.Get().(*[copyBufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, copyBufferSize)
}

func (p *bufferPool) Put(buf []byte) { p.pool.Put((*[copyBufferSize]byte)(buf)) }
