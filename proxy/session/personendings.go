package session

import (
	"slices"
	"time"
)

// personLimit is how many ended sessions of one person are remembered one by one.
const personLimit = 1000

// personEndings are the sessions that one person has ended. Guarded by the mu of the
// Revocations that it is in.
type personEndings struct {
	ids   []string  // those of Revocations.ended that are theirs
	all   int64     // their states signed before this have ended, Unix milliseconds
	until time.Time // when that may be forgotten
}

// note counts an ended session, which is remembered now, towards its person. One with
// too many has no session any more instead: whoever signs on and out all day takes no
// memory away from others. The caller holds mu.
func (r *Revocations) note(id, user string) {
	if user == "" {
		return
	}
	p := r.persons[user]
	if p == nil {
		p = &personEndings{}
		r.persons[user] = p
	}
	p.ids = append(p.ids, id)
	if len(p.ids) <= personLimit {
		return
	}
	for _, id := range p.ids {
		if until := r.ended[id]; until.After(p.until) {
			p.until = until
		}
		delete(r.ended, id)
	}
	p.ids, p.all = nil, r.now().UnixMilli()+1
	ended := map[string]bool{}
	for s := range r.streams.all() {
		ended[s.state.ID] = ended[s.state.ID] || r.hasEnded(s.state)
	}
	for id, over := range ended {
		if over {
			r.cut(id)
		}
	}
}

// sweepPersons drops what may be forgotten, once ended has been swept. The caller
// holds mu.
func (r *Revocations) sweepPersons(now time.Time) {
	for user, p := range r.persons {
		p.ids = slices.DeleteFunc(p.ids, func(id string) bool { _, kept := r.ended[id]; return !kept })
		if len(p.ids) == 0 && now.After(p.until) {
			delete(r.persons, user)
		}
	}
}

// hasEnded is that of Revocations for a state of the person's.
func (p *personEndings) hasEnded(s *State) bool { return s.Signed < p.all }
