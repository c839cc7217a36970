package assertion

import (
	"sync"
	"time"
)

// rememberFor is how long a verdict stands, since the authorities that are trusted may
// change meanwhile; it ends with the assertion if that ends first.
const rememberFor = 30 * time.Second

// mostVerdicts bounds how many are remembered, each of a person's session at one tool.
const mostVerdicts = 8192

// verdicts are assertions that were found good, in two halves: of what is remembered,
// and not asked for any more, nothing is left when the newer half has become the older
// one and has gone. What was refused is not remembered: that would be memory for
// strangers. The zero value is ready, and safe for concurrent use.
type verdicts struct {
	mu           sync.Mutex // guards the rest
	newer, older map[verdictKey]verdict
	turned       time.Time // when newer was begun
}

// verdict is what an assertion says, and until when it need not be verified again.
type verdict struct {
	claims *Claims
	until  time.Time
}

// find returns what is remembered, nil for nothing.
func (v *verdicts) find(at verdictKey, now time.Time) *Claims {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.newer[at]
	if !ok {
		known, ok = v.older[at]
	}
	if !ok || !now.Before(known.until) {
		return nil
	}
	return known.claims
}

// add remembers that an assertion was found good now, which ends then.
func (v *verdicts) add(at verdictKey, claims *Claims, now, ends time.Time) {
	until := now.Add(rememberFor)
	if ends.Before(until) {
		until = ends
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.newer == nil || len(v.newer) >= mostVerdicts/2 || now.Sub(v.turned) >= rememberFor {
		v.newer, v.older, v.turned = make(map[verdictKey]verdict), v.newer, now
	}
	v.newer[at] = verdict{claims, until}
}
