package proxy

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// freshConns are the connections of a server on which nothing was asked yet.
// http.Server.Shutdown drops the requests that it reads on them, so a stop waits for
// them before. The zero value is ready, and safe for concurrent use.
type freshConns struct {
	n     atomic.Int64 // len(since), so that requests on other connections need no lock
	mu    sync.Mutex
	since map[net.Conn]time.Time // when each was accepted; guarded by mu
}

// freshPatience is after how long nothing is expected any more on a connection that has
// asked nothing: browsers open some in case they need them. It is that of
// http.Server.Shutdown.
const freshPatience = 5 * time.Second

// note is the hook of an http.Server for states of connections.
func (f *freshConns) note(c net.Conn, state http.ConnState) {
	if state == http.StateNew {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.since == nil {
			f.since = make(map[net.Conn]time.Time)
		}
		f.since[c] = time.Now()
		f.n.Store(int64(len(f.since)))
		return
	}
	if f.n.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.since, c)
	f.n.Store(int64(len(f.since)))
}

// expected reports whether somebody who has just connected is about to ask.
func (f *freshConns) expected(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, since := range f.since {
		if now.Sub(since) < freshPatience {
			return true
		}
	}
	return false
}
