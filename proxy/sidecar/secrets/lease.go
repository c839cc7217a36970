package secrets

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// lease is a life that Vault granted to credentials: one of the database engine and its
// like, or that of a token.
type lease struct {
	id    string // empty for a token
	token string // empty for a lease with an id
	// session is when the token was granted under which this was: they end together.
	session   time.Time
	ttl       time.Duration // that was granted last
	usual     time.Duration // that was granted first
	expires   time.Time
	renewable bool
	last      bool // Vault grants no other life: the lease nears its maximum
}

// newLease is the lease in an answer, nil if it has none.
func newLease(answer *Answer, session, now time.Time) *lease {
	l := &lease{id: answer.LeaseID, session: session, ttl: answer.Lease, renewable: answer.Renewable}
	if answer.Auth != nil && answer.Auth.Token != "" {
		l.token, l.ttl, l.renewable = answer.Auth.Token, answer.Auth.Lease, answer.Auth.Renewable
	}
	if l.id == "" && l.token == "" || l.ttl <= 0 {
		return nil
	}
	l.usual, l.expires = l.ttl, now.Add(l.ttl)
	return l
}

// between is a random point between two fractions of a life.
func between(life time.Duration, from, to float64) time.Duration {
	return time.Duration(float64(life) * (from + (to-from)*rand.Float64())) //nolint:gosec // spreads load
}

// Of the life of what cannot be renewed, the part after which it is replaced: late enough
// to use it, and early enough to try more than once, and for the application to move.
const replaceFrom, replaceTo = 0.6, 0.7

// soonest is how long what has hardly any life left is kept all the same: the next may have
// no more, and Vault is not to be asked without a pause.
const soonest = time.Second

// replacement is when to replace what cannot be renewed and lives that long from now.
func replacement(now time.Time, life time.Duration) time.Time {
	return now.Add(max(between(life, replaceFrom, replaceTo), soonest))
}

// due is when to do something about the lease: to renew it, between one half and two thirds
// of its life; to replace one that cannot be renewed; or one that nears its maximum, at
// once or nearly so.
func (l *lease) due() time.Time {
	granted := l.expires.Add(-l.ttl)
	switch {
	case l.last:
		return granted.Add(between(l.ttl, 0, 1.0/8))
	case l.renewable:
		return granted.Add(between(l.ttl, 1.0/2, 2.0/3))
	}
	return granted.Add(between(l.ttl, replaceFrom, replaceTo))
}

// renews says whether the lease is to be renewed when it is due, and not replaced.
func (l *lease) renews() bool { return l.renewable && !l.last }

// renewal asks for another life.
func (l *lease) renewal() Call {
	if l.token != "" {
		return Call{Method: http.MethodPut, Path: "auth/token/renew-self", Token: l.token, Body: map[string]any{}}
	}
	return Call{Method: http.MethodPut, Path: "sys/leases/renew", Body: map[string]any{"lease_id": l.id}}
}

// errNoLife is a lease that has ended when it is granted.
var errNoLife = errors.New("vault granted no life")

// renewed takes a granted life over. Vault grants less than usual when the rest is all
// there is.
func (l *lease) renewed(answer *Answer, now time.Time) error {
	if answer == nil {
		return errors.New("vault's answer is empty")
	}
	ttl, renewable := answer.Lease, answer.Renewable
	if l.token != "" && answer.Auth != nil {
		ttl, renewable = answer.Auth.Lease, answer.Auth.Renewable
	}
	if ttl <= 0 {
		return errNoLife
	}
	l.ttl, l.renewable, l.expires = ttl, renewable, now.Add(ttl)
	l.last = ttl < l.usual*9/10
	return nil
}

// revocation ends the lease.
func (l *lease) revocation() Call {
	if l.token != "" {
		return Call{Method: http.MethodPut, Path: "auth/token/revoke-self", Token: l.token, Body: map[string]any{}}
	}
	// Synchronously: that it succeeds means that the credentials are gone.
	return Call{Method: http.MethodPut, Path: "sys/leases/revoke", Body: map[string]any{"lease_id": l.id, "sync": true}}
}

// ends is when the lease ends if nothing is done: with the session's token at the latest.
func (l *lease) ends(session Session) time.Time {
	if !session.Expires.IsZero() && session.Since.Equal(l.session) && session.Expires.Before(l.expires) {
		return session.Expires
	}
	return l.expires
}

// revoke ends a lease now, as far as Vault can be asked.
func revoke(ctx context.Context, vault Vault, l *lease) error {
	if _, err := vault.Do(ctx, l.revocation()); err != nil && !l.isGone(err) {
		return err
	}
	return nil
}

// isGone says whether a renewal or revocation failed because there is no such lease any
// more. Vault answers 400 to every one that fails, also while the database behind the
// engine does not answer; only what it says tells those apart, and what is not understood
// is no end: credentials that may live are renewed, and revoked, again.
//
// A token is asked about with itself: that it is denied its own renewal as one that Vault
// does not know is its end, and not a lack of its policies.
func (l *lease) isGone(err error) bool {
	says := strings.ToLower(err.Error())
	switch kindOf(err) {
	case Absent:
		return true
	case Refused:
		return !strings.Contains(says, "failed to re") && // to renew or revoke entry: what follows is the engine's
			(strings.Contains(says, "lease not found") || strings.Contains(says, "lease expired"))
	case Denied:
		return l.token != "" && (strings.Contains(says, "invalid token") || strings.Contains(says, "bad token"))
	case Away:
	}
	return false
}

// late is the part of a life that is left when a lease that Vault refuses to renew is
// replaced, so that the application has moved before its end.
const late = 1.0 / 4

// isLate says whether hardly any of the life is left.
func (l *lease) isLate(now time.Time) bool {
	return l.expires.Sub(now) < time.Duration(late*float64(l.ttl))
}
