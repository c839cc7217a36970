package proxy

import (
	"sync"
	"time"

	"github.com/sallyport/sallyport/saml"
)

// maxTraces is how many messages are remembered: about 10 kB each.
const maxTraces = 200

// Traced is one message of an identity provider, and what became of it.
type Traced struct {
	// RequestID is the number on the page that the person saw, and of the line in the
	// access log.
	RequestID string
	Time      time.Time
	IdP       string // its name in the configuration; empty if it is not known
	Decision  string // allow or deny
	Reason    string // stable code
	Cause     string // private
	Trace     saml.Trace
}

// Traces remembers what was found out about the last messages of identity providers,
// good and bad, in memory alone. Safe for concurrent use; make one with NewTraces.
// All methods do nothing on nil.
type Traces struct {
	mu   sync.Mutex
	ring []Traced // the oldest first
}

// NewTraces returns an empty memory.
func NewTraces() *Traces { return &Traces{} }

// add remembers t, which must not be changed any more.
func (ts *Traces) add(t Traced) {
	if ts == nil {
		return
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.ring) >= maxTraces {
		ts.ring = append(ts.ring[:0:0], ts.ring[1:]...)
	}
	ts.ring = append(ts.ring, t)
}

// All returns what is remembered, the latest first.
func (ts *Traces) All() []Traced {
	if ts == nil {
		return nil
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	all := make([]Traced, len(ts.ring))
	for i, t := range ts.ring {
		all[len(all)-1-i] = t
	}
	return all
}
