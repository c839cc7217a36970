package session

import (
	"context"
	"maps"
	"sync"
	"time"
)

const (
	// revokedLimit bounds what is remembered of ended sessions: about 100 bytes each.
	revokedLimit = 1 << 18
	// remoteLimit bounds what is remembered of what one identity provider has ended.
	remoteLimit = 1 << 16
)

// Revocations remembers which sessions have ended before their time, on every
// host at once, and ends the connections that outlive a request (WebSockets,
// event streams). It lives in this process. Safe for concurrent use; make one
// with NewRevocations.
//
// A session is known by its id, or by what its identity provider calls it: a
// logout of the provider's comes without our cookies, so whatever was signed on
// under such a name until then has ended, known to this process or not.
//
// When there is no room, all sessions of this moment end, and nothing else needs
// to be remembered: people sign on again, which is better than that somebody
// stays who has left. What identity providers have ended has room of its own for
// each of them, and ends its own people's sessions alone: one that floods us signs
// out nobody of another's.
type Revocations struct {
	now func() time.Time

	mu      sync.RWMutex
	ended   map[string]time.Time            // session id to when it may be forgotten; guarded by mu
	remote  map[string]*remoteEndings       // by State.IdP; guarded by mu
	all     int64                           // states signed before this have ended, Unix milliseconds; guarded by mu
	streams map[string]map[*stream]struct{} // open connections by session id; guarded by mu
	sweep   time.Time                       // when to look for expired entries next; guarded by mu
}

// remoteEndings is what one identity provider has ended, and whom it may mean.
type remoteEndings struct {
	subjects map[string]ending // by State.Subject
	indexes  map[string]ending // by State.Index
	joined   map[string]joint  // the session that a later sign-on went on under, by its State.Index
	all      int64             // its states signed before this have ended, Unix milliseconds
}

// ending is when an identity provider ended something, in Unix milliseconds, and
// when that may be forgotten.
type ending struct {
	at    int64
	until time.Time
}

// joint is a session's id, and when it may be forgotten.
type joint struct {
	id    string
	until time.Time
}

// stream is one connection that must not outlive its session.
type stream struct {
	cancel context.CancelCauseFunc
	host   string
	state  *State
}

// NewRevocations returns an empty memory. now is called concurrently.
func NewRevocations(now func() time.Time) *Revocations {
	r := &Revocations{now: now, streams: make(map[string]map[*stream]struct{})}
	r.forget()
	return r
}

// forget empties the memory. The caller holds mu, or is the only one.
func (r *Revocations) forget() {
	r.ended, r.remote = make(map[string]time.Time), make(map[string]*remoteEndings)
}

// Revoke ends the session and every connection that was bound to it. It is
// remembered until the given time, when the last state with this id will have
// expired; a second call never shortens that.
func (r *Revocations) Revoke(id string, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom()
	r.revoke(id, until)
}

// revoke is Revoke for a caller who holds mu and has made room.
func (r *Revocations) revoke(id string, until time.Time) {
	if r.ended[id].Before(until) {
		r.ended[id] = until
	}
	for s := range r.streams[id] {
		s.cancel(ErrEnded)
	}
	delete(r.streams, id)
}

// RevokeRemote ends what an identity provider has ended: of the sessions that it has
// vouched for (State.IdP), those that were signed on until now and have one of the given
// keys as their State.Index, or, without any, subject as their State.Subject. Empty keys
// match nothing. It returns the states that had connections open, and is remembered like
// Revoke.
//
// A state of the same millisecond has ended too: one sign-on too many costs less
// than a session that survives.
func (r *Revocations) RevokeRemote(idp, subject string, indexes []string, until time.Time) []*State {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom()
	e, now := ending{at: r.now().UnixMilli(), until: until}, r.now()
	remote := r.of(idp)
	if len(indexes) == 0 {
		remote.makeRoom(now)
		remember(remote.subjects, subject, e)
	}
	for _, index := range indexes {
		remote.makeRoom(now)
		remember(remote.indexes, index, e)
		if j, ok := remote.joined[index]; ok {
			r.revoke(j.id, until)
		}
	}
	return r.closeEnded(until)
}

// closeEnded ends the connections of states that have ended, and returns those. The
// caller holds mu.
func (r *Revocations) closeEnded(until time.Time) []*State {
	var open []*State
	for _, streams := range r.streams {
		for s := range streams {
			if r.hasEnded(s.state) {
				open = append(open, s.state)
			}
		}
	}
	for _, s := range open {
		r.revoke(s.ID, until) // what else goes by this id came from the same sign-on
	}
	return open
}

// of returns what is remembered of an identity provider. The caller holds mu.
func (r *Revocations) of(idp string) *remoteEndings {
	if r.remote[idp] == nil {
		r.remote[idp] = &remoteEndings{subjects: make(map[string]ending), indexes: make(map[string]ending), joined: make(map[string]joint)}
	}
	return r.remote[idp]
}

// makeRoom drops what may be forgotten when there is no room, and everything when that
// leaves none: it reports whether all states of this moment have ended with it.
func (e *remoteEndings) makeRoom(now time.Time) (ended bool) {
	if e.size() < remoteLimit {
		return false
	}
	e.sweep(now)
	if e.size() < remoteLimit/2 { // more would mean to come here again and again
		return false
	}
	clear(e.subjects)
	clear(e.indexes)
	clear(e.joined)
	e.all = now.UnixMilli() + 1
	return true
}

func (e *remoteEndings) sweep(now time.Time) {
	for _, endings := range []map[string]ending{e.subjects, e.indexes} {
		maps.DeleteFunc(endings, func(_ string, e ending) bool { return now.After(e.until) })
	}
	maps.DeleteFunc(e.joined, func(_ string, j joint) bool { return now.After(j.until) })
}

func (e *remoteEndings) size() int { return len(e.subjects) + len(e.indexes) + len(e.joined) }

// remember notes e under key, and never forgets sooner than was asked for before.
func remember(endings map[string]ending, key string, e ending) {
	if key == "" {
		return
	}
	if before := endings[key]; before.until.After(e.until) {
		e.until = before.until
	}
	endings[key] = e
}

// Join notes that a sign-on at idp with this State.Index went on under the id of an
// earlier one, which may have had another: an identity provider that names the
// last one alone has ended both.
func (r *Revocations) Join(idp, index, id string, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom()
	remote := r.of(idp)
	if remote.makeRoom(r.now()) {
		r.closeEnded(until)
	}
	remote.joined[index] = joint{id, until}
}

// makeRoom drops what may be forgotten, once in a while, and everything when that
// leaves no room. The caller holds mu.
func (r *Revocations) makeRoom() {
	now, full := r.now(), len(r.ended) >= revokedLimit
	if !full && !now.After(r.sweep) {
		return
	}
	r.sweep = now.Add(time.Minute)
	maps.DeleteFunc(r.ended, func(_ string, until time.Time) bool { return now.After(until) })
	for _, e := range r.remote {
		e.sweep(now)
	}
	if !full || len(r.ended) < revokedLimit/2 { // less would mean to come here again and again
		return
	}
	r.all = now.UnixMilli() + 1
	r.forget()
	for _, open := range r.streams {
		for s := range open {
			s.cancel(ErrEnded)
		}
	}
	clear(r.streams)
}

// Ended reports whether the session of this state was ended.
func (r *Revocations) Ended(s *State) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.hasEnded(s)
}

// hasEnded is Ended for a caller who holds mu.
func (r *Revocations) hasEnded(s *State) bool {
	if _, ended := r.ended[s.ID]; ended || s.Signed < r.all {
		return true
	}
	remote := r.remote[s.IdP]
	return remote != nil && remote.hasEnded(s)
}

// hasEnded is that of Revocations for a state of the identity provider's.
func (e *remoteEndings) hasEnded(s *State) bool {
	if s.Signed < e.all {
		return true
	}
	if person, ended := e.subjects[s.Subject]; ended && s.Signed <= person.at {
		return true
	}
	session, ended := e.indexes[s.Index]
	if !ended {
		return false
	}
	// A session of the provider's that it ended does not begin again: who proved
	// himself before that has brought us an old answer. Without an index (then
	// Index is Subject), the name is a person's, who may have come back.
	return s.Signed <= session.at || s.Index != s.Subject && s.AuthnAt*1000 <= session.at
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
	if r.hasEnded(s) {
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
