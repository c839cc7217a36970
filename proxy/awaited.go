package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// errStopping is the cause with which an event stream or a WebSocket ends when the
// process stops.
var errStopping = errors.New("the process is stopping")

// awaited is a handler that clients can be asked to leave, and whose end can be
// waited for. net/http waits neither for what it cuts nor for upgraded connections,
// but each has a line to write.
type awaited struct {
	http.Handler
	running atomic.Int64 // requests that were begun and have not ended
	endless atomic.Int64 // those of them that are ended, and not waited for, in a stop
	leaving atomic.Bool  // every answer ends its connection; never in HTTP/3
	// kept is when the last request ended, in nanoseconds since 1970, after whose
	// answer the client may take the connection for good; counted while leaving.
	kept  atomic.Int64
	fresh freshConns // connections on which nothing was asked yet
	// streams ends when event streams and WebSockets have to.
	streams    context.Context
	endStreams context.CancelFunc
}

// newAwaited returns h as one; parent bounds its streams.
func newAwaited(parent context.Context, h http.Handler) *awaited {
	a := &awaited{Handler: h}
	a.streams, a.endStreams = context.WithCancel(parent)
	return a
}

// ServeHTTP implements http.Handler.
func (a *awaited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor >= 2 {
		makeRoom(false)
	}
	a.running.Add(1)
	endless, upgrade := isEndless(r)
	leaves := a.leaving.Load() && !upgrade
	defer a.end(leaves)
	if leaves {
		w.Header().Set("Connection", "close") // GOAWAY in HTTP/2
	}
	if !endless {
		a.Handler.ServeHTTP(w, r)
		return
	}
	a.endless.Add(1)
	defer a.endless.Add(-1)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(a.streams, func() { cancel(errStopping) })()
	a.Handler.ServeHTTP(w, r.WithContext(ctx))
}

func (a *awaited) end(left bool) {
	if !left && a.leaving.Load() {
		a.kept.Store(time.Now().UnixNano())
	}
	a.running.Add(-1)
}

// isEndless reports whether r is for what ends when the client wants: an event
// stream (HTML section 9.2, which names the type in Accept), or a connection that is
// given away by an upgrade. Their clients connect again by themselves.
func isEndless(r *http.Request) (endless, upgrade bool) {
	upgrade = len(r.Header["Upgrade"]) > 0
	return upgrade || strings.Contains(r.Header.Get("Accept"), "text/event-stream"), upgrade
}

// leave has every answer from now on end its connection.
func (a *awaited) leave() {
	a.kept.Store(time.Now().UnixNano())
	a.leaving.Store(true)
}

// endTick is how often to look whether everything has ended. It is only looked for
// in a stop: being told would cost every request.
const endTick = 5 * time.Millisecond

// settled is for how long nothing may have been under way before it is believed: between
// a connection's first request and its handler there is a moment that nobody counts.
const settled = 50 * time.Millisecond

// drained waits until nothing is under way but what is endless, and nobody is about to
// ask, and reports whether that came before ctx ended. It also waits until the last
// request that did not end its connection is as long ago as quiet, for its client to
// have sent another one.
func (a *awaited) drained(ctx context.Context, quiet time.Duration) bool {
	over := func() bool { return a.running.Load() == a.endless.Load() }
	busy := time.Now()
	return until(ctx, func() bool {
		now := time.Now()
		if !over() || a.fresh.expected(now) || now.Sub(time.Unix(0, a.kept.Load())) < quiet {
			busy = now
		}
		return now.Sub(busy) >= settled
	}) || over()
}

// ended waits for limit at most until nothing is under way, and reports whether that
// came.
func (a *awaited) ended(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return until(ctx, func() bool { return a.running.Load() == 0 })
}

// until looks again and again whether it is so, until ctx ends.
func until(ctx context.Context, so func() bool) bool {
	ticks := time.NewTicker(endTick)
	defer ticks.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			return so()
		case <-ticks.C:
		}
	}
	return true
}
