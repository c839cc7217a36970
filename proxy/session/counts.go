package session

// Counts says how much is remembered of sessions, which live in their cookies. It is of
// this process alone, as it is now.
type Counts struct {
	// Connected is how many sessions have a request or a stream under way, and
	// Connections how many requests and streams those are.
	Connected, Connections int
	// Revoked is how many ended sessions are remembered one by one, and how many ends
	// that identity providers have told of.
	Revoked int
}

// Counts goes through all that is under way. It is safe for concurrent use.
func (r *Revocations) Counts() Counts {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := Counts{Connected: len(r.streams.first), Revoked: len(r.ended)}
	for range r.streams.all() {
		c.Connections++
	}
	for _, remote := range r.remote {
		c.Revoked += len(remote.subjects) + len(remote.indexes)
	}
	return c
}
