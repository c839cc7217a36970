package secrets

import (
	"context"
	"time"
)

// retired are credentials that have been replaced. They stay valid until the application
// has moved, if they can; that it still has some which ended is remembered.
type retired struct {
	path  string
	lease *lease // nil for what only has an end, as a certificate
	ends  time.Time
	// needs says which rendering of each target has the credentials after them.
	needs map[*target]int
	// due is when they are revoked; zero as long as somebody may use them.
	due      time.Time
	failures int
	fault    error // of the last attempt to revoke them

	renew time.Time // when to renew them; zero for never
	tries int       // of that, since the last success
	told  bool      // that they ended
	late  bool      // they had ended when they were replaced
}

// retire keeps the lease of an item that is replaced or dropped until nobody uses it.
func (s *Secrets) retire(i *item, now time.Time) {
	if i.lease == nil && i.ends.IsZero() {
		return
	}
	r := &retired{path: i.question.path, lease: i.lease, ends: i.ends, needs: map[*target]int{}}
	for _, t := range s.targets {
		switch {
		case t.used[i.question.key()]:
			r.needs[t] = t.renders + 1 // the next rendering is without it
		case t.moved < t.renders:
			r.needs[t] = t.renders
		}
	}
	r.late = r.ended(now)
	r.told = r.late // by whoever found that out
	if s.prolongs(r) {
		r.renew = r.lease.due()
	}
	s.retired = append(s.retired, r)
}

// until is how long they are good for; zero for ever.
func (r *retired) until(session Session) time.Time {
	if r.lease == nil {
		return r.ends
	}
	return earlier(r.lease.ends(session), r.ends)
}

// ended says whether they are of no more use.
func (r *retired) ended(now time.Time) bool {
	return r.lease != nil && !now.Before(r.lease.expires) || !r.ends.IsZero() && !now.Before(r.ends)
}

// lives says whether they have a lease that may be revoked.
func (r *retired) lives(now time.Time) bool { return r.lease != nil && now.Before(r.lease.expires) }

// moved says whether nobody uses the credentials any more.
func (r *retired) moved() bool {
	for t, need := range r.needs {
		if t.moved < need {
			return false
		}
	}
	return true
}

// awaited says whether the application is still to be given those after them, or to be told
// of them. When it takes over what it is not told of is its own affair.
func (r *retired) awaited() bool {
	for t, need := range r.needs {
		if t.renders < need || t.action.Verb != None && t.moved < need {
			return true
		}
	}
	return false
}

// sweep revokes the credentials that nobody uses any more, and forgets those that ended. It
// keeps those alive that the application has to work with for now.
func (s *Secrets) sweep(ctx context.Context, now time.Time) {
	kept := s.retired[:0]
	for _, r := range s.retired {
		if !s.finish(ctx, r, now) {
			kept = append(kept, r)
		}
	}
	clear(s.retired[len(kept):])
	s.retired = kept
}

// finish says whether retired credentials need no more attention.
func (s *Secrets) finish(ctx context.Context, r *retired, now time.Time) bool {
	switch {
	case !r.lives(now) || r.ended(now) && r.awaited():
		return s.outlived(r, now)
	case r.due.IsZero() && r.moved():
		r.due, r.renew = now.Add(s.cfg.Grace), time.Time{}
	case r.due.IsZero():
		s.prolong(ctx, r, now)
	}
	if r.due.IsZero() || now.Before(r.due) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, tendBound)
	defer cancel()
	err := revoke(ctx, s.cfg.Vault, r.lease)
	switch {
	case err == nil:
		s.cfg.passed(leaseEnded)
		s.log.Info("replaced credentials of the application were revoked", "path", r.path)
		return true
	case kindOf(err) == Denied:
		s.tellDenied(r.path, err)
		return true
	}
	if r.failures == 0 { // the next that is told is that it was given up
		s.tellUnrevoked(r.path, r.lease, err)
	}
	r.failures++
	r.fault = err
	r.due = now.Add(backoff(r.failures))
	return false
}

// outlived says whether credentials that ended, or that nobody can end, may be forgotten:
// not as long as the application has no others.
func (s *Secrets) outlived(r *retired, now time.Time) bool {
	r.renew = time.Time{}
	switch {
	case !r.awaited():
		if r.fault != nil {
			s.tellUnrevoked(r.path, r.lease, r.fault)
		}
		return true
	case !r.told && r.ended(now):
		r.told = true
		s.log.Error("credentials of the application ended before it could be told of those after them", "path", r.path)
	}
	return false
}

// prolongs says whether retired credentials can be kept alive.
func (s *Secrets) prolongs(r *retired) bool {
	return r.lease != nil && r.lease.renews() && r.lease.session.Equal(s.sessions)
}

// prolong renews retired credentials, while the application has no others.
func (s *Secrets) prolong(ctx context.Context, r *retired, now time.Time) {
	if !r.awaited() || !s.prolongs(r) {
		r.renew = time.Time{}
	}
	if r.renew.IsZero() || now.Before(r.renew) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tendBound)
	defer cancel()
	answer, err := s.cfg.Vault.Do(ctx, r.lease.renewal())
	now = time.Now()
	if err == nil {
		err = r.lease.renewed(answer, now)
	}
	switch {
	case err == nil:
		s.counts.renewals++
		r.tries, r.renew = 0, r.lease.due()
	case r.lease.isGone(err):
		r.lease.expires = now
	case kindOf(err) == Denied:
		r.renew = time.Time{}
	default:
		r.tries++
		r.renew = now.Add(min(backoff(r.tries), max(r.lease.expires.Sub(now)/2, shortestDelay)))
	}
}
