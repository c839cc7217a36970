package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
)

// errNoLonger is why something is cut whose peer would not be let in any more.
var errNoLonger = errors.New("the peer is let in no longer")

// Living is what is under way for peers: requests, streams and connections. A peer that
// was let in may be let in no longer while they last: its name was taken off the list, or
// its authority is trusted no more. One Living outlives
// every change of configuration. The zero value is ready, and safe for concurrent use.
type Living struct {
	mu  sync.Mutex // guards all
	all map[*life]struct{}
}

// life is one thing that is under way.
type life struct {
	of  *tls.ConnectionState
	cut context.CancelCauseFunc
}

// begin notes what a peer has under way until end is called. ctx is cut if that peer is
// let in no longer.
func (l *Living) begin(ctx context.Context, of *tls.ConnectionState) (_ context.Context, end func()) {
	if l == nil {
		return ctx, func() {}
	}
	ctx, cut := context.WithCancelCause(ctx)
	one := &life{of, cut}
	l.mu.Lock()
	if l.all == nil {
		l.all = make(map[*life]struct{})
	}
	l.all[one] = struct{}{}
	l.mu.Unlock()
	return ctx, func() {
		l.mu.Lock()
		delete(l.all, one)
		l.mu.Unlock()
		cut(nil)
	}
}

// Judge cuts what is under way for peers that keep has an error for, and returns how much
// that was.
func (l *Living) Judge(keep func(tls.ConnectionState) error) (cut int) {
	l.mu.Lock()
	all := make([]*life, 0, len(l.all))
	for one := range l.all {
		all = append(all, one)
	}
	l.mu.Unlock()
	for _, one := range all {
		if err := keep(*one.of); err != nil {
			one.cut(fmt.Errorf("%w: %w", errNoLonger, err))
			cut++
		}
	}
	return cut
}
