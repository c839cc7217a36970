package assertion

import (
	"container/list"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/session"
)

// Bounds of what an Issuer remembers: an assertion takes two to six kilobytes.
const (
	parts         = 16 // apart from each other, so that sessions do not wait for one lock
	mostPerPart   = 2 << 20
	entryOverhead = 512
)

// memory holds the assertions that still serve, by session and route. A backend
// is only ever sent what was signed for its own route: the route is part of the
// key, and of what is signed.
//
// What has served its time goes with the next one that is signed, and the oldest
// goes if there is no room. An assertion of a session that has ended stays until
// then and is sent to nobody: whoever asks for it has judged the session first.
type memory struct {
	seed maphash.Seed
	part [parts]part
}

type part struct {
	mu      sync.RWMutex // guards the rest
	entries map[place]*entry
	age     *list.List // of *entry that are signed, in the order of signing
	bytes   int
}

// place is where an assertion is found.
type place struct {
	session string
	route   *Route
}

// entry is one assertion, or one that is being signed.
type entry struct {
	route *Route
	state session.State // what it says; it names those of the groups that the route releases
	until time.Time     // it serves no longer

	done  atomic.Bool   // set before ready is closed: saves those who come later its lock
	ready chan struct{} // closed when token, logID and err are set
	token string
	logID string // what logs call it
	err   error
	size  int // of memory, once it is signed; guarded by the part
}

// prepare makes the zero memory usable.
func (m *memory) prepare() {
	m.seed = maphash.MakeSeed()
	for i := range m.part {
		m.part[i].entries, m.part[i].age = make(map[place]*entry), list.New()
	}
}

// forget drops what is signed.
func (m *memory) forget() {
	for i := range m.part {
		p := &m.part[i]
		p.mu.Lock()
		clear(p.entries)
		p.age.Init()
		p.bytes = 0
		p.mu.Unlock()
	}
}

func (m *memory) partOf(id string) *part { return &m.part[maphash.String(m.seed, id)%parts] }

// find returns the entry that says this. If mine, there was none: the caller signs
// it and settles it.
func (m *memory) find(route *Route, s *session.State, now time.Time) (e *entry, mine bool) {
	p, at := m.partOf(s.ID), place{s.ID, route}
	p.mu.RLock()
	e = p.entries[at]
	p.mu.RUnlock()
	if e.serves(s, now) {
		return e, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e = p.entries[at]; e.serves(s, now) { // another was faster
		return e, false
	}
	e = &entry{route: route, state: *s, until: now.Add(reuse), ready: make(chan struct{})}
	e.state.Groups = slices.Clone(s.Groups)
	if ends := s.ExpiresAt(); ends.Before(now.Add(Life)) { // an assertion that ends sooner serves no longer
		e.until = now.Add(ends.Sub(now) * 2 / 3)
	}
	p.entries[at] = e
	return e, true
}

// serves says whether e says just this, and still does.
func (e *entry) serves(s *session.State, now time.Time) bool {
	if e == nil || !now.Before(e.until) {
		return false
	}
	was := &e.state
	return was.AuthnAt == s.AuthnAt && was.Expires == s.Expires && was.User == s.User && was.Email == s.Email && was.Name == s.Name &&
		was.AuthnContext == s.AuthnContext && was.IdP == s.IdP && slices.Equal(was.Groups, s.Groups)
}

// wait returns once the assertion is signed, or is not going to be.
func (e *entry) wait() {
	if !e.done.Load() {
		<-e.ready
	}
}

// settle has those go on who wait for e, and makes room for it.
func (m *memory) settle(e *entry, now time.Time) {
	p, at := m.partOf(e.state.ID), place{e.state.ID, e.route}
	p.mu.Lock()
	defer p.mu.Unlock()
	e.done.Store(true)
	close(e.ready)
	if e.err != nil { // the next request tries again
		if p.entries[at] == e {
			delete(p.entries, at)
		}
		return
	}
	e.size = len(e.token) + entryOverhead
	p.bytes += e.size
	p.age.PushBack(e)
	for first := p.age.Front(); first != nil; first = p.age.Front() {
		old, _ := first.Value.(*entry)
		if p.bytes <= mostPerPart && now.Before(old.until) {
			return
		}
		p.age.Remove(first)
		p.bytes -= old.size
		if gone := (place{old.state.ID, old.route}); p.entries[gone] == old {
			delete(p.entries, gone)
		}
	}
}
