package proxy

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/saml"
)

const (
	// maxTraces is how many messages with a good signature are remembered.
	maxTraces = 200
	// maxStrangers is how many others are: whoever likes can send those. They have
	// a place of their own, so that no flood of them washes out what an identity
	// provider has said.
	maxStrangers = 64
)

// Traced is one message of an identity provider, and what became of it.
type Traced struct {
	// RequestID is the number on the page that the person saw, and of the line in the
	// access log.
	RequestID string
	Time      time.Time
	IdP       string // its name in the configuration; empty if it is not known
	Decision  string // accesslog.DecisionAllow or DecisionDeny
	Reason    string // stable code
	Cause     string // private, and empty if a person's value may stand in it
	Trace     saml.Trace

	from netip.Addr // who brought it, as admission counts them
}

// Traces remembers what was found out about the last messages of identity providers,
// good and bad, in memory alone: at most 264 of them, of 16 kB each. Safe for
// concurrent use; make one with NewTraces. All methods do nothing on nil.
type Traces struct {
	mu sync.Mutex
	// verified are the messages that an identity provider has signed; strangers are
	// all others. The oldest stands first. Guarded by mu.
	verified, strangers []Traced
}

// NewTraces returns an empty memory.
func NewTraces() *Traces { return &Traces{} }

// add remembers t, which must not be changed any more.
func (ts *Traces) add(t Traced) {
	if ts == nil {
		return
	}
	t = bounded(t)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.Trace.Certificate != "" {
		ts.verified = appendTo(ts.verified, t, maxTraces)
		return
	}
	ts.strangers = appendTo(ts.strangers, t, maxStrangers)
}

// appendTo makes room for t if need be. Those that an identity provider has signed are
// not spared: whoever has one such message can bring it again and again.
func appendTo(entries []Traced, t Traced, most int) []Traced {
	if len(entries) >= most {
		i := crowded(entries)
		entries = slices.Delete(entries, i, i+1)
	}
	return append(entries, t)
}

// crowded is the place of the oldest entry of the address that has the most: who
// floods the memory forgets but his own.
func crowded(entries []Traced) int {
	count := make(map[netip.Addr]int, len(entries))
	most := 0
	for _, t := range entries {
		count[t.from]++
		most = max(most, count[t.from])
	}
	return slices.IndexFunc(entries, func(t Traced) bool { return count[t.from] == most })
}

// All returns what is remembered, the latest first. The caller must not change what
// the entries hold.
func (ts *Traces) All() []Traced {
	if ts == nil {
		return nil
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	all := slices.Concat(ts.verified, ts.strangers)
	slices.SortStableFunc(all, func(a, b Traced) int { return b.Time.Compare(a.Time) })
	return all
}

// find returns the message of that request.
func (ts *Traces) find(requestID string) (Traced, bool) {
	all := ts.All()
	if i := slices.IndexFunc(all, func(t Traced) bool { return t.RequestID == requestID }); i >= 0 {
		return all[i], true
	}
	return Traced{}, false
}

// What one entry may hold. A check's texts are bounded where they are made, but
// what is kept for long is bounded here, whoever made it.
const (
	maxTracedBytes = 16 << 10
	maxTracedText  = 512
	maxTracedParts = 128 // checks, and attributes
)

// bounded returns a copy of t that has an end, and keeps nothing of the message
// alive. Of the checks, the last is the one that says why: the first go.
func bounded(t Traced) Traced {
	left := budget(maxTracedBytes)
	t.Cause = left.text(t.Cause)
	t.RequestID, t.IdP, t.Decision, t.Reason = left.text(t.RequestID), left.text(t.IdP), left.text(t.Decision), left.text(t.Reason)
	m := &t.Trace
	m.Message, m.ID, m.Encrypted, m.Certificate = left.text(m.Message), left.text(m.ID), left.text(m.Encrypted), left.text(m.Certificate)
	m.Checks = slices.Clone(m.Checks[max(0, len(m.Checks)-maxTracedParts):])
	for i := range slices.Backward(m.Checks) {
		if left <= 0 {
			m.Checks = slices.Clone(m.Checks[i+1:])
			break
		}
		c := &m.Checks[i]
		c.Name, c.Want, c.Got, c.Code = left.text(c.Name), left.text(c.Want), left.text(c.Got), left.text(c.Code)
	}
	m.Attributes = slices.Clone(m.Attributes[:min(len(m.Attributes), maxTracedParts)])
	for i := range m.Attributes {
		if left <= 0 {
			m.Attributes = slices.Clone(m.Attributes[:i])
			break
		}
		m.Attributes[i].Name = left.text(m.Attributes[i].Name)
	}
	return t
}

// budget is how many bytes an entry may still take.
type budget int

// text returns a copy of s, cut to what there is room for. Every text costs its
// place too.
func (b *budget) text(s string) string {
	const place = 16
	if room := min(maxTracedText, max(0, int(*b))); len(s) > room {
		for room > 0 && !utf8.RuneStart(s[room]) {
			room--
		}
		s = s[:room] + "…"
	}
	*b -= budget(len(s) + place)
	return strings.Clone(s)
}
