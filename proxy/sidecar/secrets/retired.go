package secrets

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
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

// chore is what is to be done about retired credentials.
type chore int

const (
	idle     chore = iota
	outlive        // they have ended, or nobody can end them
	renewing       // Vault is asked for another life
	revoking       // Vault is asked to end them
)

// swept is what came of the chore of one.
type swept struct {
	chore  chore
	answer *Answer // to a renewal
	err    error
}

// mostDead is how many of those that ended are remembered, the oldest: these are what an
// application has that cannot be told of others, be it for months.
const mostDead = 32

// sweep revokes the credentials that nobody uses any more, and forgets those that ended. It
// keeps those alive that the application has to work with for now. Vault is asked about
// several at a time, as it may have to wait for a database that does not answer.
func (s *Secrets) sweep(ctx context.Context, now time.Time) {
	results := make([]swept, len(s.retired))
	var group errgroup.Group
	group.SetLimit(tendAtOnce)
	for at, r := range s.retired {
		if results[at].chore = s.chore(r, now); results[at].chore >= renewing {
			group.Go(func() error { s.pursue(ctx, r.lease, &results[at]); return nil })
		}
	}
	_ = group.Wait() // its functions return none
	if ctx.Err() != nil {
		return // end revokes what lives
	}
	dead, kept := 0, s.retired[:0]
	for at, r := range s.retired {
		over := s.finish(r, results[at], time.Now())
		if !over && results[at].chore == outlive {
			dead++
			over = dead > mostDead
		}
		if !over {
			kept = append(kept, r)
		}
	}
	clear(s.retired[len(kept):])
	s.retired = kept
}

// pursue asks Vault for what a chore takes.
func (s *Secrets) pursue(ctx context.Context, l *lease, result *swept) {
	ctx, cancel := context.WithTimeout(ctx, tendBound)
	defer cancel()
	if result.chore == revoking {
		result.err = revoke(ctx, s.cfg.Vault, l)
		return
	}
	result.answer, result.err = s.cfg.Vault.Do(ctx, l.renewal())
}

// chore says what is to be done now. Once the application has moved, it is time for that.
func (s *Secrets) chore(r *retired, now time.Time) chore {
	switch {
	case !r.lives(now) || r.ended(now) && r.awaited():
		return outlive
	case r.due.IsZero() && r.moved():
		r.due, r.renew = now.Add(s.cfg.Grace), time.Time{}
	case !r.awaited() || !s.prolongs(r):
		r.renew = time.Time{}
	}
	switch {
	case !r.due.IsZero() && !now.Before(r.due):
		return revoking
	case !r.renew.IsZero() && !now.Before(r.renew):
		return renewing
	}
	return idle
}

// finish takes in what came of a chore, and says whether the credentials need no more
// attention.
func (s *Secrets) finish(r *retired, result swept, now time.Time) bool {
	switch result.chore {
	case outlive:
		return s.outlived(r, now)
	case revoking:
		return s.revoked(r, result.err, now)
	case renewing:
		s.prolonged(r, result.answer, result.err, now)
	case idle:
	}
	return false
}

// revoked says whether a revocation was the last that is to be tried.
func (s *Secrets) revoked(r *retired, err error, now time.Time) bool {
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

// prolonged takes in a renewal of retired credentials, which are all that the application has.
func (s *Secrets) prolonged(r *retired, answer *Answer, err error, now time.Time) {
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
