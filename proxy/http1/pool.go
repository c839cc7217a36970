package http1

import (
	"sync"
	"sync/atomic"
	"time"
)

// pool keeps connections that nobody uses, for each address the one used last on
// top: what is not needed grows old at the bottom and is closed.
type pool struct {
	limit   int           // of one address
	timeout time.Duration // how long one is kept

	// generation is how often closeAll was called: connections of an earlier one are
	// not kept.
	generation atomic.Int64

	mu    sync.Mutex
	idle  map[string][]*conn // by host; guarded by mu
	timer *time.Timer        // runs while something is kept; guarded by mu
}

// get takes a connection out, or returns nil.
func (p *pool) get(host string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.idle[host]
	if len(kept) == 0 {
		return nil
	}
	c := kept[len(kept)-1]
	kept[len(kept)-1] = nil
	p.idle[host] = kept[:len(kept)-1]
	return c
}

// put keeps c, or reports false.
func (p *pool) put(c *conn) bool {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.idle[c.host]
	if len(kept) >= p.limit || c.generation != p.generation.Load() {
		return false
	}
	c.idleSince = now
	p.idle[c.host] = append(kept, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.timeout, p.sweep)
	}
	return true
}

// closeAll closes what is kept, and what is in use once that has ended.
func (p *pool) closeAll() {
	p.mu.Lock()
	p.generation.Add(1)
	all := p.idle
	p.idle = make(map[string][]*conn)
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	p.mu.Unlock()
	for _, kept := range all {
		closeEach(kept)
	}
}

// sweep closes what was kept for long enough, and comes again while there is more.
func (p *pool) sweep() {
	closeEach(p.expired(time.Now()))
}

func (p *pool) expired(now time.Time) (old []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := time.Duration(-1)
	for host, kept := range p.idle {
		n := 0
		for n < len(kept) && now.Sub(kept[n].idleSince) >= p.timeout {
			n++
		}
		old = append(old, kept[:n]...)
		if n == len(kept) {
			delete(p.idle, host)
			continue
		}
		p.idle[host] = append(kept[:0:0], kept[n:]...)
		if wait := p.timeout - now.Sub(kept[n].idleSince); next < 0 || wait < next {
			next = wait
		}
	}
	p.timer = nil
	if next >= 0 {
		p.timer = time.AfterFunc(next, p.sweep)
	}
	return old
}

func closeEach(conns []*conn) {
	for _, c := range conns {
		c.close()
	}
}
