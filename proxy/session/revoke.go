package session

import (
	"context"
	"maps"
	"sync"
	"time"
)

// revokedLimit bounds what is remembered of ended sessions: about 200 bytes each.
const revokedLimit = 1 << 18

// Revocations remembers which sessions have ended before their time, on every
// host at once, and ends the connections that outlive a request (WebSockets,
// event streams). It lives in this process. Safe for concurrent use; make one
// with NewRevocations.
//
// A session is known by its id, or by what its identity provider calls it: a
// logout of the provider's comes without our cookies, so whatever was signed on
// under such a name until then has ended, known to this process or not. Of a person
// who has signed out very often, every session until then has ended, so that nobody
// fills this memory alone by that.
//
// When there is no room, all sessions of this moment end, and nothing else needs
// to be remembered: people sign on again, which is better than that somebody
// stays who has left. What identity providers have ended has room of its own for
// each of them, and ends its own people's sessions alone: one that floods us signs
// out nobody of another's.
type Revocations struct {
	now func() time.Time

	mu      sync.RWMutex
	ended   map[string]time.Time      // session id to when it may be forgotten; guarded by mu
	persons map[string]*personEndings // by State.User; guarded by mu
	remote  map[string]*remoteEndings // by State.IdP; guarded by mu
	all     int64                     // states signed before this have ended, Unix milliseconds; guarded by mu
	streams connections               // open connections by session id; guarded by mu
	people  connections               // the same by State.Subject; guarded by mu
	sweep   time.Time                 // when to look for expired entries next; guarded by mu
}

// Use is what a connection was let in to: a request of that method for that path of
// a host.
type Use struct{ Host, Method, Path string }

// NewRevocations returns an empty memory. now is called concurrently.
func NewRevocations(now func() time.Time) *Revocations {
	r := &Revocations{now: now, streams: newConnections(bySession), people: newConnections(byPerson)}
	r.forget()
	return r
}

// forget empties the memory. The caller holds mu, or is the only one.
func (r *Revocations) forget() {
	r.ended, r.persons, r.remote = make(map[string]time.Time), make(map[string]*personEndings), make(map[string]*remoteEndings)
}

// Revoke ends the session of a state and every connection that was bound to it. It
// is remembered until the given time, when the last state with this id will have
// expired; a second call never shortens that.
func (r *Revocations) Revoke(s *State, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom()
	r.revoke(s.ID, s.User, until)
}

// revoke is Revoke for a caller who holds mu and has made room.
func (r *Revocations) revoke(id, user string, until time.Time) {
	before, known := r.ended[id]
	if before.Before(until) {
		r.ended[id] = until
	}
	r.cut(id)
	if !known {
		r.note(id, user)
	}
}

// cut ends the connections of the session with that id. The caller holds mu.
func (r *Revocations) cut(id string) {
	for s := range r.streams.of(id) {
		s.cancel(ErrEnded)
		r.people.remove(s.state.Subject, s)
	}
	r.streams.removeAll(id)
}

// RevokeRemote ends what an identity provider has ended: of the sessions that it has
// vouched for (State.IdP), those that were signed on until now and have one of the given
// keys as their State.Index, or, without any, subject as their State.Subject, whose they
// are in any case. Empty keys match nothing. It returns the states that had connections
// open, and is remembered like Revoke.
//
// A state of the same millisecond has ended too: one sign-on too many costs less
// than a session that survives.
func (r *Revocations) RevokeRemote(idp, subject string, indexes []string, until time.Time) []*State {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom()
	e := ending{at: r.now().UnixMilli(), until: until}
	if len(indexes) == 0 {
		remember(r.roomIn(idp, until).subjects, subject, e)
	}
	ended := map[string]string{} // ids to users; what else goes by these ids came from the same sign-ons
	for _, index := range indexes {
		remote := r.roomIn(idp, until)
		remember(remote.indexes, index, e)
		if j, ok := remote.joined[index]; ok {
			ended[j.id] = j.user
		}
	}
	var open []*State
	for s := range r.people.of(subject) {
		if _, joined := ended[s.state.ID]; joined || r.hasEnded(s.state) {
			open = append(open, s.state)
		}
	}
	for _, s := range open {
		ended[s.ID] = s.User
	}
	for id, user := range ended {
		r.revoke(id, user, until)
	}
	return open
}

// Join notes that a sign-on, which has become s, went on under the id of an earlier one,
// which may have had another State.Index: an identity provider that names the last one
// alone has ended both.
func (r *Revocations) Join(s *State, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom()
	r.roomIn(s.IdP, until).joined[s.Index] = joint{s.ID, s.User, until}
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
	r.sweepPersons(now)
	for _, e := range r.remote {
		e.sweep(now)
	}
	if !full || len(r.ended) < revokedLimit/2 { // less would mean to come here again and again
		return
	}
	r.all = now.UnixMilli() + 1
	r.forget()
	for s := range r.streams.all() {
		s.cancel(ErrEnded)
	}
	r.streams.clear()
	r.people.clear()
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
	if p := r.persons[s.User]; p != nil && p.hasEnded(s) {
		return true
	}
	remote := r.remote[s.IdP]
	return remote != nil && remote.hasEnded(s)
}

// Bind returns a context that ends with ctx, with the session's absolute end,
// or when the session is revoked; the last two with the cause ErrEnded. Withdraw
// may end it too. use is what the connection is for. The caller must call release
// when the connection is done.
func (r *Revocations) Bind(ctx context.Context, use Use, s *State) (bound context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(time.Until(s.ExpiresAt()), func() { cancel(ErrEnded) })
	entry := &stream{cancel: cancel, use: use, state: s}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hasEnded(s) {
		cancel(ErrEnded)
	} else {
		r.streams.add(s.ID, entry)
		r.people.add(s.Subject, entry)
	}
	return ctx, func() {
		r.unbind(entry)
		timer.Stop()
		cancel(nil)
	}
}

// Withdraw ends every bound connection that its session may not have any more, with
// the cause ErrWithdrawn. may must not call r.
func (r *Revocations) Withdraw(may func(use Use, s *State) bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for s := range r.streams.all() {
		if !may(s.use, s.state) {
			s.cancel(ErrWithdrawn)
		}
	}
}

func (r *Revocations) unbind(entry *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams.remove(entry.state.ID, entry)
	r.people.remove(entry.state.Subject, entry)
}
