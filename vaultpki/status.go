package vaultpki

import "time"

// Status is what an operator must know of the process's identity. It holds no
// secret.
type Status struct {
	Method    string        // Vault's word for how the process logged in; "" for a token of somebody else's
	Since     time.Time     // of the login that the token comes from
	Expires   time.Time     // of the token, unless it is renewed; zero for never
	TTL       time.Duration // that Vault granted last
	Renewable bool
	Next      time.Time // of the next renewal or login; zero if none is due

	Lost      bool // there is no token: nothing can be read or signed
	LostSince time.Time
	LostCause string

	// HeirEnds is until when a restart, or a token that ends, can do without
	// another introduction; zero if it cannot, also because the heir file cannot
	// be written.
	HeirEnds time.Time
	// Outlasts is how long a Vault may at worst be away, from now or later,
	// without anybody having to do something when it is back: from the latest
	// point of a renewal to the end of the token, or of the heir if that is
	// longer.
	Outlasts time.Duration
	// ComesBack says that after a longer outage the process logs in again with
	// what its host gives it: a JWT, a certificate, an agent's token.
	ComesBack bool
}

// Status returns the state of the token at this moment.
func (c *Client) Status() Status {
	c.mu.Lock()
	g, lost, next := c.grant, c.lost, c.next
	c.mu.Unlock()
	s := Status{
		Method: c.policy.method, Since: g.since, Expires: g.expires, TTL: g.ttl, Renewable: g.renewable, Next: next,
		Outlasts: g.ttl - g.ttl*2/3,
	}
	if !g.renewable || g.last {
		s.Outlasts = g.ttl - g.ttl*5/6
	}
	if lost != nil {
		s.Lost, s.LostSince, s.LostCause, s.Outlasts = true, lost.since, causeOf(lost.cause), 0
	}
	if c.auth != nil {
		s.ComesBack = c.auth.again
		s.HeirEnds = c.auth.heir.ends()
		s.Outlasts = max(s.Outlasts, c.auth.heir.outlasts())
	}
	return s
}
