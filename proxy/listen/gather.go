package listen

import (
	"crypto/tls"
	"net"
	"runtime"
	"sync"
	"time"
)

// Gathered writes: a system call costs more than what it takes to make a small answer,
// and what is written comes in pieces: TLS makes a record of each 16 KiB, and HTTP/2 sends
// the head of an answer before its body. What comes shortly after each other goes out
// together.

// How much is gathered at most, if it is more than one write: what is written behind stays
// in memory for as long as the peer takes nothing, and what is held does not.
const (
	behindRoom = 16 << 10
	heldRoom   = 64 << 10
)

// The buffers for that; an idle connection has none.
var (
	behinds = buffersOf(behindRoom) //nolint:gochecknoglobals // a pool belongs to nobody
	helds   = buffersOf(heldRoom)   //nolint:gochecknoglobals // the same
)

// buffersOf returns a pool for room, and a record of TLS that is larger by its frame.
func buffersOf(room int) *sync.Pool {
	return &sync.Pool{New: func() any { return new(make([]byte, 0, room+2<<10)) }}
}

// gather is what was written to a connection and not sent yet. While the connection is
// Behind, or Held, it is what [conn.Write] writes to.
type gather struct {
	room    int
	buffers *sync.Pool

	mu      sync.Mutex
	sent    sync.Cond // a sending has ended; its lock is mu
	pending *[]byte   // guarded by mu; nil for nothing
	sending bool      // whether a goroutine sends what is pending; guarded by mu
	err     error     // what a sending has ended with; guarded by mu

	released bool // nothing is held any more; guarded by mu
}

func newGather(room int, buffers *sync.Pool) *gather {
	g := &gather{room: room, buffers: buffers}
	g.sent.L = &g.mu
	return g
}

// add gathers p. It reports false if there is no room for it beside what is gathered.
func (g *gather) add(p []byte) bool {
	if g.pending == nil {
		g.pending = g.buffers.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put there
	} else if len(*g.pending)+len(p) > g.room {
		return false
	}
	*g.pending = append(*g.pending, p...)
	return true
}

// take returns what was gathered, which is nobody else's any more.
func (g *gather) take() *[]byte {
	out := g.pending
	g.pending = nil
	return out
}

// giveBack ends the use of what take has returned.
func (g *gather) giveBack(out *[]byte) {
	if cap(*out) > 2*g.room {
		return
	}
	*out = (*out)[:0]
	g.buffers.Put(out)
}

// writeBehind gathers p, and has it sent when nobody who is ready to run has anything to
// add. Like a write to a socket it returns before the peer has anything; an error is told
// at the next one. While the peer takes nothing, it waits as soon as behindRoom is full.
func (c *conn) writeBehind(p []byte) (int, error) {
	g := c.gather
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.err == nil && !g.add(p) {
		g.sent.Wait()
	}
	if g.err != nil {
		return 0, g.err
	}
	if !g.sending {
		g.sending = true
		go c.send()
	}
	return len(p), nil
}

// send sends what is gathered until there is nothing more.
func (c *conn) send() {
	runtime.Gosched()
	g := c.gather
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.pending != nil && g.err == nil {
		out := g.take()
		g.mu.Unlock()
		_, err := c.writeNow(*out)
		g.giveBack(out)
		g.mu.Lock()
		g.err = err
		g.sent.Broadcast()
	}
	g.sending = false
	g.sent.Broadcast()
}

// settle waits until all is sent that was gathered, or cannot be.
func (c *conn) settle() {
	g := c.gather
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.sending {
		g.sent.Wait()
	}
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	c.settleBefore(t)
	return c.Conn.SetDeadline(t) //nolint:wrapcheck // the connection's own
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.settleBefore(t)
	return c.Conn.SetWriteDeadline(t) //nolint:wrapcheck // the connection's own
}

// settleBefore has what was written already go out before a deadline that has passed: it
// is for writes that come, and crypto/tls sets one when it has said goodbye.
func (c *conn) settleBefore(t time.Time) {
	if c.mode.Load() == modeBehind && !t.IsZero() && !t.After(time.Now()) {
		c.settle()
	}
}

// How a connection is written to.
const (
	modeNew    = iota // each write is sent, and it was not asked yet what is spoken
	modeNow           // each write is sent
	modeBehind        // see writeBehind
)

// Settle decides, once what is spoken over it has been agreed on, how c is written to: over
// HTTP/2 writes are gathered. c is a connection of a listener that [Limit] has returned, or
// TLS over it; of others nothing changes. It may be called often, by one goroutine at a time.
func Settle(c net.Conn) {
	secured, ok := c.(*tls.Conn)
	if !ok {
		return
	}
	below, ok := secured.NetConn().(*conn)
	if !ok || below.mode.Load() != modeNew {
		return
	}
	if secured.ConnectionState().NegotiatedProtocol != "h2" {
		below.mode.Store(modeNow)
		return
	}
	below.gather = newGather(behindRoom, behinds)
	below.mode.Store(modeBehind)
}

// Holder is a connection whose writes can be held.
type Holder struct{ c *conn }

// HolderOf returns c as a Holder, as [Settle] takes it.
func HolderOf(c net.Conn) Holder {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	below, _ := c.(*conn)
	return Holder{below}
}

// Hold has whatever write writes go out together, as far as heldRoom goes, before it
// returns. It is for the goroutine that answers on a connection of HTTP/1.1; others, and
// the zero Holder, are written to as always.
func (h Holder) Hold(write func() error) error {
	if h.c == nil || h.c.mode.Load() != modeNow {
		return write()
	}
	held := newGather(heldRoom, helds)
	h.c.held.Store(held)
	err := write()
	if sent := h.c.release(held); err == nil {
		err = sent
	}
	return err
}

// writeHeld gathers p, and sends what there is no room for.
func (c *conn) writeHeld(g *gather, p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		return c.writeNow(p)
	}
	for g.err == nil && !g.add(p) {
		out := g.take()
		_, g.err = c.writeNow(*out)
		g.giveBack(out)
	}
	if g.err != nil {
		return 0, g.err
	}
	return len(p), nil
}

// release sends what g has gathered, and has later writes sent as they come, but not
// before: TLS may write for itself at any time, and its records must not overtake each other.
func (c *conn) release(g *gather) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if out := g.take(); out != nil && g.err == nil {
		_, g.err = c.writeNow(*out)
		g.giveBack(out)
	}
	g.released = true
	c.held.Store(nil)
	return g.err
}
