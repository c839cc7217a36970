package session

import (
	"maps"
	"time"
)

// remoteLimit bounds what is remembered of one identity provider: about 100 bytes each.
const remoteLimit = 1 << 16

// remoteEndings is what one identity provider has ended, and whom it may mean. Guarded
// by the mu of the Revocations that it is in.
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

// joint is a session's id, whose it is, and when it may be forgotten.
type joint struct {
	id    string
	user  string
	until time.Time
}

// roomIn returns what is remembered of an identity provider, with room for one entry
// more. When everything had to be forgotten for that, its people's connections end. The
// caller holds mu.
func (r *Revocations) roomIn(idp string, until time.Time) *remoteEndings {
	remote := r.remote[idp]
	if remote == nil {
		remote = &remoteEndings{subjects: make(map[string]ending), indexes: make(map[string]ending), joined: make(map[string]joint)}
		r.remote[idp] = remote
	}
	if !remote.makeRoom(r.now()) {
		return remote
	}
	ended := map[string]string{}
	for s := range r.streams.all() {
		if s.state.IdP == idp {
			ended[s.state.ID] = s.state.User
		}
	}
	for id, user := range ended {
		r.revoke(id, user, until)
	}
	return remote
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
