package relay

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// lateBody is how long the rest of a body may take to come whose request has been
// answered. Nobody reads it; its sender needs a moment to notice.
const lateBody = time.Second

// Duplex lets the answer begin while the request's body is still coming: a backend
// may refuse an upload at once, and a stream may go both ways. Without it net/http
// waits, over HTTP/1.1, for as much of the body as it is willing to throw away.
// Call it before the request is handed on. HTTP/2 and HTTP/3 need it not.
func (ex *Exchange) Duplex() {
	if ex.body != nil && ex.body.oneWay {
		_ = http.NewResponseController(ex.ResponseWriter).EnableFullDuplex() // a connection that cannot (in tests) goes without
		ex.duplex = true
	}
}

// closeIfEarly has the connection closed after an answer that begins before the
// request's body has come to its end. What follows on it belongs to that body, which
// nobody may read as another request: net/http, once it lets an answer begin early,
// would go on reading there if the rest of the body were broken off.
func (ex *Exchange) closeIfEarly() {
	if ex.duplex && !ex.body.ended.Load() {
		ex.Header().Set("Connection", "close")
	}
}

// forHTTP3 takes away what is about a connection of HTTP/1: net/http does so by itself
// in HTTP/2, and an answer that has it is malformed (RFC 9114 section 4.2).
func (ex *Exchange) forHTTP3() {
	if ex.Record.Protocol != "3" {
		return
	}
	h := ex.Header()
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		delete(h, name)
	}
}

// leaveBody ends with a body that was answered before its end, and bounds the wait
// for it; net/http, when it throws away the rest by itself, does not. The answer goes
// out first.
func (ex *Exchange) leaveBody() {
	if !ex.duplex || ex.body.ended.Load() {
		return
	}
	control := http.NewResponseController(ex.ResponseWriter)
	_ = control.Flush()
	_ = control.SetReadDeadline(time.Now().Add(lateBody))
	_ = ex.body.ReadCloser.Close()
}

// abandonBody ends with a body whose exchange is cut, and bounds the wait for it: net/http
// would read it before it closes the connection, for as long as the client takes. A deadline
// alone does not do it, since net/http takes that back when it ends a read that is still
// under way; a body that is closed it leaves alone.
func (ex *Exchange) abandonBody() {
	if ex.body == nil || ex.body.ended.Load() || ex.status == http.StatusSwitchingProtocols {
		return
	}
	_ = http.NewResponseController(ex.ResponseWriter).SetReadDeadline(time.Now().Add(lateBody))
	if ex.body.oneWay {
		_ = ex.body.ReadCloser.Close()
	}
}

// BoundBody has the request's body fail when ctx ends, whatever is being waited for:
// who sends a body on to a backend by HTTP/2 looks at nothing else meanwhile, and would
// keep a stream open whose client says nothing. The caller must call release before
// the request has ended, and before ctx is ended for that alone.
func (ex *Exchange) BoundBody(ctx context.Context) (release func()) {
	if ex.body == nil {
		return func() {}
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = http.NewResponseController(ex.ResponseWriter).SetReadDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// countedBody counts the bytes of a body, and knows whether it has come to its end.
type countedBody struct {
	io.ReadCloser
	n      *atomic.Int64
	oneWay bool // of HTTP/1: an answer waits for the body, unless it is told otherwise
	ended  atomic.Bool
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	if err == io.EOF {
		b.ended.Store(true)
	}
	return n, err
}

// upgradedConn is an upgraded connection, still counted. What the client sent
// before it was told of the upgrade comes first: it waited in the server's buffer,
// and the backend has agreed by now.
type upgradedConn struct {
	net.Conn
	early    *bufio.Reader // nil if there was nothing
	exchange *Exchange
}

// Read implements net.Conn. It is called by one goroutine.
func (c *upgradedConn) Read(p []byte) (n int, err error) {
	if c.early != nil {
		n, err = c.early.Read(p[:min(len(p), c.early.Buffered())])
		if c.early.Buffered() == 0 {
			c.early = nil
		}
	} else {
		n, err = c.Conn.Read(p)
	}
	c.exchange.in.Add(int64(n))
	if n > 0 {
		c.exchange.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// Write implements net.Conn.
func (c *upgradedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.exchange.out.Add(int64(n))
	return n, err
}

// Heard returns when the client of an upgraded connection has last sent something;
// the zero time if it never has. It may be called concurrently.
func (ex *Exchange) Heard() time.Time {
	if nanos := ex.heard.Load(); nanos != 0 {
		return time.Unix(0, nanos)
	}
	return time.Time{}
}
