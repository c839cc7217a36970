package sidecar

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/proxy/listen"
)

const (
	// handshakePatience is how long a handshake may take.
	handshakePatience = 10 * time.Second
	// mostHandshakes is how many may be under way. Those who were let in are not among
	// them, and are not disturbed by strangers who keep the listener busy.
	mostHandshakes = 256
	// handshakeGrace is how long a handshake may take before one of the same address takes
	// its place: a peer that opens many at once must not cut its own for ever.
	handshakeGrace = time.Second
)

// errCrowded is the cause with which a handshake ends that has given its place away.
var errCrowded = errors.New("others wait for their handshake, and this was the oldest of the address that has the most under way")

// handshakes are those under way. When there are as many as may be, whoever comes takes the
// place of the oldest of the address that has the most, so that nobody who opens connections
// and says nothing locks out others. An IPv6 host has its whole /64, as in package listen.
// The zero value is ready, and safe for concurrent use.
type handshakes struct {
	mu    sync.Mutex
	all   []*handshake // the oldest first
	count map[netip.Addr]int
}

// handshake is one under way.
type handshake struct {
	from  netip.Addr
	since time.Time
	ctx   context.Context //nolint:containedctx // ends the handshake, and nothing else
	end   context.CancelCauseFunc
}

// begin returns the handshake of a connection that has just come, which the caller has to
// leave; or nil, if there is no place for it. ctx ends it.
func (h *handshakes) begin(ctx context.Context, conn net.Conn) *handshake {
	var from netip.Addr // what is no address counts as one and the same
	if addr, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		from = listen.Network(addr.Addr())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) >= mostHandshakes && !h.makeRoom(from) {
		return nil
	}
	if h.count == nil {
		h.count = make(map[netip.Addr]int)
	}
	one := &handshake{from: from, since: time.Now()}
	one.ctx, one.end = context.WithCancelCause(ctx)
	h.all = append(h.all, one)
	h.count[from]++
	return one
}

// makeRoom ends one handshake for another from an address, and reports whether there was one
// to end. The caller holds mu.
func (h *handshakes) makeRoom(from netip.Addr) bool {
	busiest := h.all[0]
	for _, one := range h.all { // of several, that with the oldest
		if h.count[one.from] > h.count[busiest.from] {
			busiest = one
		}
	}
	if h.count[from] >= h.count[busiest.from] && time.Since(busiest.since) < handshakeGrace {
		return false
	}
	busiest.end(errCrowded)
	h.remove(busiest)
	return true
}

// leave says that a handshake is over, one way or the other.
func (h *handshakes) leave(one *handshake) {
	one.end(nil)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(one)
}

// remove forgets a handshake, once. The caller holds mu.
func (h *handshakes) remove(one *handshake) {
	at := slices.Index(h.all, one)
	if at < 0 {
		return // has given its place away
	}
	h.all = slices.Delete(h.all, at, at+1)
	if h.count[one.from]--; h.count[one.from] <= 0 {
		delete(h.count, one.from)
	}
}
