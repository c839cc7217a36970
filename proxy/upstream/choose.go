package upstream

import "time"

// marks are members by their place in a Pool: those that are out of the question.
type marks uint64

func (m marks) has(i int) bool { return m&(1<<i) != 0 }
func (m *marks) add(i int)     { *m |= 1 << i }

// acquire chooses a member for a request, enters it and marks it as tried; nil if
// there is none. Whoever is thought well of comes first; else anybody does, since
// to refuse would help nobody.
func (p *Pool) acquire(session string, tried *marks) *slot {
	now := time.Now().UnixNano()
	for _, anybody := range [...]bool{false, true} {
		out := *tried
		for {
			i := p.best(session, out, anybody, now)
			if i < 0 {
				break
			}
			if s := p.slots[i]; (anybody || s.claim(now)) && s.enter(p.cfg.MaxRequests) {
				tried.add(i)
				return s
			}
			out.add(i)
		}
	}
	return nil
}

// best is the place of the member that the request should go to, leaving out
// some; -1 if none is left.
func (p *Pool) best(session string, out marks, anybody bool, now int64) int {
	best, rank := -1, uint64(0)
	first := int(p.turn.Add(1)) % len(p.slots)
	for n := range p.slots {
		i := (first + n) % len(p.slots)
		s := p.slots[i]
		if out.has(i) || s.draining || !anybody && !s.available(now, p.cfg.Health.on()) {
			continue
		}
		if r := s.rank(session); best < 0 || r > rank {
			best, rank = i, r
		}
	}
	return best
}

// rank is how well m suits a request of that session: the higher, the better.
// With a session it is rendezvous hashing: every process ranks alike without
// having to remember anything, and when a member goes or comes, only its own
// sessions move. Without, it is how little m has under way.
func (m *member) rank(session string) uint64 {
	if session == "" {
		return ^uint64(0) - uint64(max(m.inFlight.Load(), 0))
	}
	return mix(hashOf(session) ^ m.hash)
}

// hashOf is FNV-1a, without an allocation.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix spreads every bit of h over all (the finalizer of MurmurHash3).
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
