package assertion

import "encoding/binary"

// MostBytes is what an Issuer remembers at most.
const MostBytes = parts * mostPerPart

// Remembered says how much it remembers.
func Remembered(i *Issuer) (entries, bytes int) {
	for n := range i.memory.part {
		p := &i.memory.part[n]
		p.mu.RLock()
		entries, bytes = entries+len(p.entries), bytes+p.bytes
		p.mu.RUnlock()
	}
	return entries, bytes
}

// RememberFor is how long a Verifier remembers, and MostVerdicts how many at most.
const (
	RememberFor  = rememberFor
	MostVerdicts = mostVerdicts
)

// Remember has v remember something, another for each n.
func Remember(v *Verifier, n int) {
	var at verdictKey
	binary.BigEndian.PutUint64(at.token[:], uint64(n))
	now := v.cfg.Now()
	v.verdicts.add(at, &Claims{}, now, now.Add(Life))
}

// Verdicts says how many v remembers.
func Verdicts(v *Verifier) int { return len(v.verdicts.newer) + len(v.verdicts.older) }

// ForgetVerdicts has v remember nothing.
func ForgetVerdicts(v *Verifier) { v.verdicts = verdicts{} }
