package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/relay"
)

// errNoLonger is why something is cut whose peer would not be let in any more.
var errNoLonger = errors.New("the peer is let in no longer")

// Living is the connections of peers, with whatever is under way on them. A peer that
// was let in may be let in no longer while they last: its name was taken off the list, or
// its authority is trusted no more. One Living outlives
// every change of configuration. The zero value is ready, and safe for concurrent use.
type Living struct {
	mu   sync.Mutex // guards both
	all  map[*life]struct{}
	http map[net.Conn]*life // those that an HTTP server has opened, and not closed
}

// life is one connection.
type life struct {
	in   *Living
	of   atomic.Pointer[tls.ConnectionState] // its peer; nil until that has asked for something
	cut  context.CancelCauseFunc
	conn net.Conn // of an HTTP server; nil for one that whoever handles it closes
}

// Opened notes a connection that an HTTP server has accepted, and returns the context of
// what is asked on it, which is cut if its peer is let in no longer; it is for
// ConnContext of [http.Server].
func (l *Living) Opened(ctx context.Context, conn net.Conn) context.Context {
	ctx, one := l.open(ctx, conn)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.http == nil {
		l.http = make(map[net.Conn]*life)
	}
	l.http[conn] = one
	return context.WithValue(ctx, lifeKey{}, one)
}

// Closed forgets a connection that the server has closed. One that was upgraded is not: it
// goes on, and the Sidecar forgets it at its end.
func (l *Living) Closed(conn net.Conn) {
	l.mu.Lock()
	one := l.http[conn]
	l.mu.Unlock()
	if one != nil {
		one.end()
	}
}

// begin notes what a peer has under way until end is called. ctx is cut if it is let in no
// longer. A nil Living has everything end by itself.
func (l *Living) begin(ctx context.Context, of *tls.ConnectionState) (_ context.Context, end func()) {
	if l == nil {
		return ctx, func() {}
	}
	ctx, one := l.open(ctx, nil)
	one.of.Store(of)
	return ctx, one.end
}

func (l *Living) open(ctx context.Context, conn net.Conn) (context.Context, *life) {
	ctx, cut := context.WithCancelCause(ctx)
	one := &life{in: l, cut: cut, conn: conn}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[*life]struct{})
	}
	l.all[one] = struct{}{}
	return ctx, one
}

// end forgets a connection.
func (one *life) end() { one.cutFor(nil) }

// cutFor forgets a connection, and cuts what is under way on it.
func (one *life) cutFor(cause error) {
	one.in.mu.Lock()
	delete(one.in.all, one)
	delete(one.in.http, one.conn)
	one.in.mu.Unlock()
	one.cut(cause)
}

// close ends with a request that came on a connection: it notes if that was cut, and
// forgets one that the request was upgraded to have for itself.
func (one *life) close(ctx context.Context, ex *relay.Exchange) {
	if cause := context.Cause(ctx); errors.Is(cause, errNoLonger) {
		ex.Fail(cause)
	}
	if ex.Record.Stream == accesslog.StreamUpgrade {
		one.end()
	}
}

// Judge cuts the connections of peers that keep has an error for, and returns how many
// that were.
func (l *Living) Judge(keep func(tls.ConnectionState) error) (cut int) {
	l.mu.Lock()
	all := make([]*life, 0, len(l.all))
	for one := range l.all {
		all = append(all, one)
	}
	l.mu.Unlock()
	for _, one := range all {
		of := one.of.Load()
		if of == nil {
			continue // nothing was asked yet, and what comes will be judged
		}
		if err := keep(*of); err != nil {
			one.cutFor(fmt.Errorf("%w: %w", errNoLonger, err))
			if one.conn != nil {
				go one.conn.Close() // which may wait for a moment for the peer
			}
			cut++
		}
	}
	return cut
}

// lifeKey is the key of the *life of the connection that a request came on.
type lifeKey struct{}

// lifeOf returns the connection of a request, whose peer is known from now on; nil if
// nobody notes it.
func lifeOf(r *http.Request) *life {
	one, _ := r.Context().Value(lifeKey{}).(*life)
	if one != nil && one.of.Load() == nil {
		one.of.Store(r.TLS)
	}
	return one
}
