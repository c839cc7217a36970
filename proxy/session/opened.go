package session

import (
	"crypto/sha256"
	"net/http"
	"sync"
)

// opened remembers what the cookies of the last requests were opened to, so
// that a page with a hundred pictures is not unsealed a hundred times. What a Cookie
// line opens to depends on the line, the host and the keys alone, and a Manager with
// other keys remembers anew; every limit and every revocation is asked of the state
// each time. Only lines that opened are remembered, and only by their hash: what is
// here can neither be presented as a cookie nor found out by the time that looking
// takes. Safe for concurrent use.
type opened struct {
	lines          sync.Pool // of *[openedLine]byte; so much more stack would have to be made for each request
	mu             sync.RWMutex
	recent, before map[[sha256.Size]byte]*State // guarded by mu
}

const (
	// openedLimit bounds each half of the memory, about 600 bytes an entry.
	openedLimit = 4096
	// openedLine is the length of the longest line that is remembered, with its host.
	openedLine = 1024
)

// lineOf returns what the Cookie header of a request for host is known by, unless it
// is none that can be remembered.
func (o *opened) lineOf(r *http.Request, host string) (sum [sha256.Size]byte, ok bool) {
	lines := r.Header["Cookie"]
	if len(lines) != 1 || len(host)+1+len(lines[0]) > openedLine {
		return sum, false
	}
	line, ok := o.lines.Get().(*[openedLine]byte)
	if !ok {
		line = new([openedLine]byte)
	}
	n := copy(line[:], host)
	line[n] = 0 // which is part of no host
	n++
	n += copy(line[n:], lines[0])
	sum = sha256.Sum256(line[:n])
	clear(line[:n]) // it opens a session
	o.lines.Put(line)
	return sum, true
}

// get returns a copy of the state that a line opened to, or nil.
func (o *opened) get(line [sha256.Size]byte) *State {
	o.mu.RLock()
	s := o.recent[line]
	old := s == nil && o.before[line] != nil
	o.mu.RUnlock()
	if old {
		s = o.promote(line)
	}
	if s == nil {
		return nil
	}
	state := *s
	return &state
}

// promote takes a line from the older half over into the newer one.
func (o *opened) promote(line [sha256.Size]byte) *State {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.before[line]
	if s != nil {
		o.add(line, s)
	}
	return s
}

// put remembers what a line opened to. s is copied: whoever has it may change it.
func (o *opened) put(line [sha256.Size]byte, s *State) {
	state := *s
	o.mu.Lock()
	defer o.mu.Unlock()
	o.add(line, &state)
}

// add makes room by forgetting what was not asked for since the newer half was new.
// The caller holds mu.
func (o *opened) add(line [sha256.Size]byte, s *State) {
	if o.recent == nil || len(o.recent) >= openedLimit {
		o.before, o.recent = o.recent, make(map[[sha256.Size]byte]*State)
	}
	o.recent[line] = s
}
