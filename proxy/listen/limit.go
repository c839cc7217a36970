package listen

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// The limits that connections are closed at, as they are counted.
const (
	LimitTotal   = "total"
	LimitAddress = "address"
	LimitStall   = "stall"
)

// Limits are how many connections there may be, and how long one may stand still. They
// must not be changed once they are used. A field that is zero sets no limit.
type Limits struct {
	// Total is how many connections may be open at once, PerAddress how many by one
	// address; an IPv6 host has its whole /64.
	Total, PerAddress int
	// Stall is how long a peer may take nothing at all of what is written to it.
	Stall time.Duration
	// Closed, if not nil, is told of each connection that was closed at a limit, and
	// Opened of how many more are open (1 or -1). Both are called concurrently.
	Closed func(limit string)
	Opened func(n int)
}

// Limit is a listener whose connections are held to l. One too many is closed at once,
// without a byte: to let it wait would have it stand before those that are welcome.
// Addresses are those of [net.Conn.RemoteAddr] as inner's Accept returns it: whoever
// reads them from the PROXY protocol does so below. It has a method Admit for
// connections that come in another way, and are to be counted with its own.
func Limit(inner net.Listener, l Limits) net.Listener {
	if l.Closed == nil {
		l.Closed = func(string) {}
	}
	if l.Opened == nil {
		l.Opened = func(int) {}
	}
	return &limited{Listener: inner, limits: l, open: make(map[*conn]struct{}), from: make(map[netip.Addr]int)}
}

// limited is the listener that Limit returns.
type limited struct {
	net.Listener
	limits Limits

	mu       sync.Mutex
	open     map[*conn]struct{}
	from     map[netip.Addr]int // how many of them, by address
	watching bool               // whether somebody will look who stands still
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err //nolint:wrapcheck // net/http looks at it
		}
		c := &conn{Conn: inner, listener: l, address: network(inner.RemoteAddr())}
		if limit := l.add(c); limit != "" {
			l.limits.Closed(limit)
			_ = inner.Close() // there is nobody to tell
			continue
		}
		l.limits.Opened(1)
		return c, nil
	}
}

// WritesWithin is after how long a connection is closed whose peer takes nothing of what is
// written to it, so that nobody else has to watch over that; zero is never.
func (l *limited) WritesWithin() time.Duration { return l.limits.Stall }

// Admit counts a connection from an address that did not come by Accept, such as one of
// QUIC, and returns how to say that it has ended; or it reports false, if that would be
// one too many. It may be called concurrently.
func (l *limited) Admit(from net.Addr) (leave func(), ok bool) {
	c := &conn{listener: l, address: network(from)}
	if limit := l.add(c); limit != "" {
		l.limits.Closed(limit)
		return nil, false
	}
	l.limits.Opened(1)
	return func() { l.remove(c) }, true
}

// add counts c, or says which limit it is beyond.
func (l *limited) add(c *conn) (limit string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.limits.Total > 0 && len(l.open) >= l.limits.Total:
		return LimitTotal
	case l.limits.PerAddress > 0 && l.from[c.address] >= l.limits.PerAddress:
		return LimitAddress
	}
	l.open[c] = struct{}{}
	l.from[c.address]++
	if l.limits.Stall > 0 && !l.watching {
		l.watching = true
		time.AfterFunc(l.limits.Stall/4, l.look)
	}
	return ""
}

// remove forgets c, once.
func (l *limited) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.from[c.address]--; l.from[c.address] <= 0 {
		delete(l.from, c.address)
	}
	l.limits.Opened(-1)
}

// look closes the connections whose peers take nothing, and comes back while there are
// any connections.
func (l *limited) look() {
	late := sinceBirth() - int64(l.limits.Stall)
	var still []*conn
	l.mu.Lock()
	for c := range l.open {
		if since := c.writing.Load(); since != 0 && since < late {
			still = append(still, c)
		}
	}
	if l.watching = len(l.open) > 0; l.watching {
		time.AfterFunc(l.limits.Stall/4, l.look)
	}
	l.mu.Unlock()
	for _, c := range still {
		l.limits.Closed(LimitStall)
		_ = c.Close() // wakes up whoever writes
	}
}

// conn is a connection that is counted until it is closed.
type conn struct {
	net.Conn
	listener *limited
	address  netip.Addr
	writing  atomic.Int64 // since when a write is under way, zero while none is

	mode   atomic.Int32
	gather *gather                // of modeBehind, and set before that
	held   atomic.Pointer[gather] // what writes are held in, if they are
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if c.mode.Load() == modeBehind {
		return c.writeBehind(p)
	}
	if held := c.held.Load(); held != nil {
		return c.writeHeld(held, p)
	}
	return c.writeNow(p)
}

// writeNow writes to the socket.
func (c *conn) writeNow(p []byte) (int, error) {
	c.writing.Store(sinceBirth())
	n, err := c.Conn.Write(p)
	c.writing.Store(0)
	return n, err //nolint:wrapcheck // crypto/tls and net/http look at it
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.remove(c)
	return c.Conn.Close() //nolint:wrapcheck // the connection's own
}

// NetConn returns the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

// birth is what nanoseconds are counted from, without the jumps of a wall clock.
var birth = time.Now() //nolint:gochecknoglobals // never changes: a monotonic clock needs a beginning

func sinceBirth() int64 { return max(int64(time.Since(birth)), 1) }

// network is the network of a peer. What is no address counts as one and the same.
func network(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return Network(a.AddrPort().Addr())
	case nil:
		return netip.Addr{}
	default:
		address, _ := netip.ParseAddrPort(a.String()) // the zero value is no address
		return Network(address.Addr())
	}
}

// Network is the address that one stranger is known and counted by: an IPv6 host has
// its whole /64.
func Network(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if address.Is6() {
		prefix, _ := address.Prefix(64) // an IPv6 address has 64 bits of prefix
		return prefix.Addr()
	}
	return address
}
