package session

import (
	"context"
	"sync"
	"time"
)

// Revocations remembers which sessions have ended before their time, on every
// host at once, and ends the connections that outlive a request (WebSockets,
// event streams). It lives in this process. Safe for concurrent use; make one
// with NewRevocations.
type Revocations struct {
	now func() time.Time

	mu      sync.RWMutex
	ended   map[string]time.Time            // session id to when it may be forgotten; guarded by mu
	streams map[string]map[*stream]struct{} // open connections by session id; guarded by mu
	sweep   time.Time                       // when to look for expired entries next; guarded by mu
}

// stream is one connection that must not outlive its session.
type stream struct {
	cancel context.CancelCauseFunc
	host   string
	state  *State
}

// NewRevocations returns an empty memory. now is called concurrently.
func NewRevocations(now func() time.Time) *Revocations {
	return &Revocations{now: now, ended: make(map[string]time.Time), streams: make(map[string]map[*stream]struct{})}
}

// Revoke ends the session and every connection that was bound to it. It is
// remembered until the given time, when the last state with this id will have
// expired; a second call never shortens that.
func (r *Revocations) Revoke(id string, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.After(r.sweep) {
		for old, end := range r.ended {
			if now.After(end) {
				delete(r.ended, old)
			}
		}
		r.sweep = now.Add(time.Minute)
	}
	if r.ended[id].Before(until) {
		r.ended[id] = until
	}
	for s := range r.streams[id] {
		s.cancel(ErrEnded)
	}
	delete(r.streams, id)
}

// Revoked reports whether the session was ended.
func (r *Revocations) Revoked(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ended := r.ended[id]
	return ended
}

// Bind returns a context that ends with ctx, with the session's absolute end,
// or when the session is revoked; the last two with the cause ErrEnded. Withdraw
// may end it too. host is what the connection is to. The caller must call release
// when the connection is done.
func (r *Revocations) Bind(ctx context.Context, host string, s *State) (bound context.Context, release func()) {
	ctx, stop := context.WithDeadlineCause(ctx, s.ExpiresAt(), ErrEnded)
	ctx, cancel := context.WithCancelCause(ctx)
	entry := &stream{cancel, host, s}

	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ended := r.ended[s.ID]; ended {
		cancel(ErrEnded)
	} else {
		if r.streams[s.ID] == nil {
			r.streams[s.ID] = make(map[*stream]struct{})
		}
		r.streams[s.ID][entry] = struct{}{}
	}
	return ctx, func() {
		r.unbind(s.ID, entry)
		cancel(nil)
		stop()
	}
}

// Withdraw ends every bound connection that its session may not have any more, with
// the cause ErrWithdrawn. may must not call r.
func (r *Revocations) Withdraw(may func(host string, s *State) bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, open := range r.streams {
		for s := range open {
			if !may(s.host, s.state) {
				s.cancel(ErrWithdrawn)
			}
		}
	}
}

func (r *Revocations) unbind(id string, entry *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.streams[id], entry)
	if len(r.streams[id]) == 0 {
		delete(r.streams, id)
	}
}
