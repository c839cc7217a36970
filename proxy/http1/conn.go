package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is one connection to a backend. Between two requests nobody has it but the
// pool; while it is used it belongs to the goroutine that asks, and later reads the
// body, except for what says otherwise.
type conn struct {
	t          *Transport
	host       string // under which the pool keeps it
	generation int64
	made       time.Time
	idleSince  time.Time // guarded by the pool's lock

	socket *socket
	stream net.Conn // socket, or TLS over it
	state  *tls.ConnectionState

	br      *bufio.Reader // nil while idle
	limit   int64         // how many more bytes may be read; negative for no bound
	readErr error         // what a read ended with
	bound   time.Time     // the deadline that is set; zero for none

	cut atomic.Bool // the request's context has ended, and the connection with it
}

// readerSize is the buffer of an answer's head; bodies pass it by.
const readerSize = 4 << 10

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readerSize) }}

func newConn(t *Transport, raw net.Conn, host string, generation int64) *conn {
	s := newSocket(raw)
	return &conn{t: t, host: host, generation: generation, made: time.Now(), socket: s, stream: s}
}

// handshake puts TLS over the connection.
func (c *conn) handshake(ctx context.Context, config *tls.Config) error {
	secured := tls.Client(c.socket, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return err //nolint:wrapcheck // the caller says what was tried
	}
	state := secured.ConnectionState()
	if p := state.NegotiatedProtocol; p != "" && p != "http/1.1" {
		return fmt.Errorf("backend chose protocol %q", p)
	}
	c.stream, c.state = secured, &state
	return nil
}

// Read implements io.Reader for br.
func (c *conn) Read(p []byte) (int, error) {
	if c.limit >= 0 {
		if c.limit == 0 {
			return 0, errHead
		}
		p = p[:min(int64(len(p)), c.limit)]
	}
	n, err := c.stream.Read(p)
	if c.limit >= 0 {
		c.limit -= int64(n)
	}
	if err != nil {
		c.readErr = err
	}
	return n, err //nolint:wrapcheck // what it means depends on what was read
}

// longIdle is after how long it is asked whether the backend has closed a connection
// meanwhile; a request that may be sent again finds out by itself.
const longIdle = time.Second

// usable reports whether an idle connection can be used once more. cheap is for a
// request that may be sent again.
func (c *conn) usable(cheap bool) bool {
	now := time.Now()
	idle := now.Sub(c.idleSince)
	if idle >= c.t.cfg.IdleTimeout || c.t.cfg.MaxAge > 0 && now.Sub(c.made) >= c.t.cfg.MaxAge {
		return false
	}
	if !c.bind(now, c.t.cfg.HeaderTimeout) {
		return false
	}
	return c.socket.quiet(c.stream, cheap && idle < longIdle)
}

// slack is by how much a deadline may come later than it should, so that it need
// not be set for each request anew.
func slack(limit time.Duration) time.Duration { return min(limit/16, time.Second) }

// bind sets the deadline of a request's writing and of its answer's head, which is
// limit from now; zero is none.
func (c *conn) bind(now time.Time, limit time.Duration) bool {
	var deadline time.Time
	if limit > 0 {
		deadline = now.Add(limit)
		if !c.bound.Before(deadline) && !c.bound.IsZero() {
			return true
		}
		deadline = deadline.Add(slack(limit))
	} else if c.bound.IsZero() {
		return true
	}
	c.bound = deadline
	return c.stream.SetDeadline(deadline) == nil
}

// unbind ends the deadline, for a body, which may take its time.
func (c *conn) unbind() { c.bind(time.Time{}, 0) }

// close ends the connection and what waits on it. It may be called concurrently and
// more than once.
func (c *conn) close() { _ = c.stream.Close() } // nobody is left to tell

// abort is close for a request whose context has ended: the backend is not told, as
// that might have to wait.
func (c *conn) abort() {
	c.cut.Store(true)
	_ = c.socket.Close()
}

// release gives the connection back after a whole answer, or closes it. clean says
// that both sides would go on.
func (c *conn) release(clean bool) {
	br := c.br
	clean = clean && br.Buffered() == 0 && c.readErr == nil && !c.cut.Load()
	c.br = nil
	br.Reset(nil)
	readers.Put(br)
	if !clean || !c.t.pool.put(c) {
		c.close()
	}
}

// socket is a network connection that can be asked whether anything has come.
type socket struct {
	net.Conn
	raw  syscall.RawConn // nil for what is no socket
	mode readMode        // belongs to the goroutine that reads

	try func(fd uintptr) bool // reads once without waiting, into p
	p   []byte
	n   int
	err error
	one [1]byte // for a read that should find nothing
}

// readMode says what a read does when nothing is there.
type readMode int

const (
	waits    readMode = iota
	returns           // after it has asked the operating system
	declines          // without asking
)

// errQuiet is what a read that does not wait returns when nothing has come. TLS goes
// on after a net.Error that is temporary.
var errQuiet = quietError{}

type quietError struct{}

func (quietError) Error() string   { return "nothing has come" }
func (quietError) Timeout() bool   { return true }
func (quietError) Temporary() bool { return true }

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
			s.try = func(fd uintptr) bool {
				s.n, s.err = syscall.Read(int(fd), s.p)
				return true
			}
		}
	}
	return s
}

// Read implements io.Reader.
func (s *socket) Read(p []byte) (int, error) {
	switch {
	case s.mode == waits:
		return s.Conn.Read(p) //nolint:wrapcheck // a connection's own
	case s.mode == declines || s.raw == nil:
		return 0, errQuiet
	}
	s.p = p
	err := s.raw.Read(s.try)
	s.p = nil
	switch {
	case err != nil:
		return 0, err //nolint:wrapcheck // a connection's own
	case errors.Is(s.err, syscall.EAGAIN) || errors.Is(s.err, syscall.EINTR):
		return 0, errQuiet
	case s.err != nil:
		return 0, s.err
	case s.n <= 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// quiet reports whether nothing has come on stream, which is s or TLS over it: no
// end, and nothing that was not asked for. Messages of TLS itself are dealt with on
// the way. cheap looks only at what was received already.
func (s *socket) quiet(stream net.Conn, cheap bool) bool {
	s.mode = returns
	if cheap {
		s.mode = declines
	}
	n, err := stream.Read(s.one[:])
	s.mode = waits
	return n == 0 && errors.Is(err, errQuiet)
}
