package secrets

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Bounds of what Run does at a time.
const (
	tendAtOnce = 8
	tendBound  = 15 * time.Second
	// endBound is how much a question that is under way may delay a stop, and then revoking.
	endBound = 5 * time.Second
	// lastDelay is between attempts to do that.
	lastDelay = time.Second
)

// Run keeps everything fresh until ctx ends, then returns nil. Before it returns it ends
// what it can, if there is an application, which must have ended by then: its leases are
// revoked and its files removed.
func (s *Secrets) Run(ctx context.Context) error {
	defer s.end(ctx)
	for {
		session := s.cfg.Vault.Session() // before anything is asked, so that no news is missed
		s.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.wait(ctx, session)
	}
}

// wait sleeps until something is to be done, or there is news of the session.
func (s *Secrets) wait(ctx context.Context, session Session) {
	timer := time.NewTimer(time.Until(s.next()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-s.turn:
		s.hasten(time.Now())
	case <-session.Back:
		s.hasten(time.Now())
	case <-s.looks:
		s.hurry(time.Now())
	case o := <-s.done:
		s.acted(ctx, o, time.Now())
	}
}

// Look has Vault be asked now what would be asked in time: what is read again and again is
// read, and leases are renewed, by which one that somebody has revoked is found and replaced.
// What is valid until its end is not replaced for that. It returns at once.
func (s *Secrets) Look() {
	select {
	case s.looks <- struct{}{}:
	default: // somebody has just asked for it
	}
}

// hurry has due what Look is about, and what has failed.
func (s *Secrets) hurry(now time.Time) {
	for _, i := range s.items {
		if renews := i.lease != nil && i.lease.renews(); renews || i.lease == nil && i.ends.IsZero() && !i.due.IsZero() || i.fault != nil {
			i.due = now
		}
	}
	for _, t := range s.targets {
		if !t.again.IsZero() {
			t.again = now
		}
	}
}

// next is when there is something to be done; a minute at the latest.
func (s *Secrets) next() time.Time {
	next := time.Now().Add(time.Minute)
	sooner := func(at time.Time) {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	for _, i := range s.items {
		sooner(i.due)
	}
	for _, t := range s.targets {
		sooner(t.again)
	}
	for _, r := range s.retired {
		sooner(r.due)
		sooner(r.renew)
	}
	if s.acting == nil {
		for _, c := range s.changes {
			if !s.superseded(c) {
				sooner(c.due)
			}
		}
	}
	return next
}

// hasten has everything tried again that did not succeed because Vault was away, or there
// was no token.
func (s *Secrets) hasten(now time.Time) {
	for _, i := range s.items {
		if isAway(i.fault) {
			i.due = now
		}
	}
	for _, t := range s.targets {
		if isAway(t.fault) {
			t.again = now
		}
	}
}

// step does all that is due.
func (s *Secrets) step(ctx context.Context) {
	now := time.Now()
	s.turned(now)
	changed := s.tendAll(ctx, now)
	if ctx.Err() != nil {
		return
	}
	s.rerender(ctx, changed, time.Now())
	s.publish()
	s.act(ctx, time.Now())
	s.sweep(ctx, time.Now())
	s.publish()
}

// turned replaces what ends with a token that was replaced: Vault revokes its leases with
// it, and that is soon.
func (s *Secrets) turned(now time.Time) {
	session := s.cfg.Vault.Session()
	s.turn = session.Turned // of a later one, it would be missed that this one was replaced
	if session.Since.Equal(s.sessions) {
		return
	}
	s.sessions = session.Since
	for _, i := range s.items {
		if i.lease != nil && !i.lease.session.Equal(s.sessions) {
			i.due = now
		}
	}
}

// asking is the context of a question that may be answered with a lease. When ctx ends the
// question has a while to be answered: a lease that was granted, and of which nobody has
// heard, could not be revoked.
func asking(ctx context.Context, bound time.Duration) (context.Context, context.CancelFunc) {
	asked, cancel := context.WithTimeout(context.WithoutCancel(ctx), bound)
	forget := context.AfterFunc(ctx, func() {
		late := time.NewTimer(endBound)
		defer late.Stop()
		select {
		case <-late.C:
			cancel()
		case <-asked.Done():
		}
	})
	return asked, func() { forget(); cancel() }
}

// tended is what came of tending one item.
type tended struct {
	item    *item
	renewed *Answer // of a lease that was renewed
	got     *found  // another answer
	gone    error   // why the lease was found to be gone
	err     error
}

// tendAll renews, replaces and reads what is due, several at a time, and returns the keys
// of what changed.
func (s *Secrets) tendAll(ctx context.Context, now time.Time) map[string]bool {
	var due []*item
	for _, i := range s.items {
		if !i.due.IsZero() && !now.Before(i.due) {
			due = append(due, i)
		}
	}
	results := make([]tended, len(due))
	var group errgroup.Group
	group.SetLimit(tendAtOnce)
	for at, i := range due {
		group.Go(func() error {
			ctx, cancel := asking(ctx, tendBound)
			defer cancel()
			results[at] = s.tend(ctx, i, now)
			return nil
		})
	}
	_ = group.Wait() // its functions return none
	changed := map[string]bool{}
	for _, result := range results {
		if s.take(ctx, result, time.Now()) {
			changed[result.item.question.key()] = true
		}
	}
	return changed
}

// tend asks Vault what is to be asked about one item, and changes nothing.
func (s *Secrets) tend(ctx context.Context, i *item, now time.Time) tended {
	result := tended{item: i}
	renews := i.lease != nil && i.lease.renews() && i.lease.session.Equal(s.sessions) && now.Before(i.lease.expires) &&
		(i.again.IsZero() || now.Before(i.again))
	if renews {
		answer, err := s.cfg.Vault.Do(ctx, i.lease.renewal())
		switch kind := kindOf(err); {
		case err != nil && i.lease.isGone(err):
			result.gone = err
		case err == nil || kind != Refused || !i.lease.isLate(now):
			result.renewed, result.err = answer, err
			return result
		}
	}
	got, err := s.fetcher.fetch(ctx, i.question, i.lease != nil || !i.ends.IsZero())
	result.got, result.err = &got, err
	return result
}

// take takes in what came of tending an item, and says whether its value changed.
func (s *Secrets) take(ctx context.Context, result tended, now time.Time) bool {
	i := result.item
	if ctx.Err() != nil {
		if result.got != nil && result.got.lease != nil { // nobody will use it
			s.retired = append(s.retired, &retired{path: i.question.path, lease: result.got.lease})
		}
		return false
	}
	if result.gone != nil {
		s.log.Warn("a lease of the application is gone before its time: its credentials are replaced", "path", i.question.path, "cause", result.gone.Error())
	}
	switch {
	case result.err != nil && result.got == nil && kindOf(result.err) == Denied:
		i.lease.renewable = false
		s.log.Warn("vault does not let a lease of the application be renewed: it is replaced before it ends", "path", i.question.path,
			"cause", result.err.Error(), "what_to_do", "grant it in the policy: path \"sys/leases/renew\" { capabilities = [\"update\"] }")
		i.plan()
		return false
	case result.err != nil:
		if result.gone != nil {
			i.lease.expires = now // nobody can use it any more
		}
		s.postpone(i, result.err, now)
		return false
	case result.got == nil:
		if err := i.lease.renewed(result.renewed, now); err != nil {
			s.postpone(i, err, now)
			return false
		}
		s.counts.renewals++
		s.log.Debug("a lease of the application was renewed", "path", i.question.path, "lease_ttl", i.lease.ttl.String(), "last", i.lease.last)
		i.plan()
		return false
	}
	return s.replace(i, *result.got, result.gone != nil, now)
}

// replace puts another answer in the place of an item's, and says whether it differs.
func (s *Secrets) replace(i *item, got found, gone bool, now time.Time) bool {
	changed := got.sum != i.sum || i.lease != nil || got.lease != nil
	if i.lease != nil {
		s.counts.replacements++
		s.log.Info("credentials of the application were replaced", "path", i.question.path, "before_their_end", max(time.Until(i.lease.expires), 0).Round(time.Second).String())
	}
	if gone {
		i.lease.expires = now // nobody can use it any more
	}
	if changed {
		s.retire(i, now)
		s.remember(i.value)
		i.found = got
	} else {
		i.ends, i.again = got.ends, got.again
	}
	i.plan()
	return changed
}

// shortestDelay is how short before the end of a lease it is still worth another attempt.
const shortestDelay = 100 * time.Millisecond

// overdueDelay is between attempts to replace what has ended, before jitter: somebody waits
// for it, and a Vault that has just come back has ended what it let live until then.
const overdueDelay = 5 * time.Second

// postpone plans another attempt about an item: before it ends, if it has not. Of one that
// has, the log is told once in a minute.
func (s *Secrets) postpone(i *item, err error, now time.Time) {
	i.failures++
	i.fault = err
	ends := i.until(s.cfg.Vault.Session())
	delay, left := backoff(i.failures), ends.Sub(now)
	told := []any{"path", i.question.path, "cause", err.Error(), "what_to_do", Hint(err), "attempt", i.failures}
	switch {
	case ends.IsZero():
	case left > 0:
		delay = min(delay, max(left/2, shortestDelay))
	default:
		delay = min(delay, between(overdueDelay, 0.5, 1.5))
	}
	if !ends.IsZero() {
		told = append(told, "fresh_until", ends.UTC().Format(time.RFC3339), "time_left", max(left, 0).Round(time.Second).String())
	}
	i.due = now.Add(delay)
	if !ends.IsZero() && left <= 0 && now.Sub(i.told) < longestDelay {
		return
	}
	i.told = now
	s.log.Warn("a secret of the application could not be kept fresh", append(told, "next_try", delay.Round(time.Millisecond).String())...)
}

// tellUnrevoked says that credentials live longer than they need, and why.
func (s *Secrets) tellUnrevoked(path string, l *lease, err error) {
	s.log.Warn("revoking a lease of the application did not succeed: it lives on until it ends", "path", path, "cause", err.Error(),
		"fresh_until", l.expires.UTC().Format(time.RFC3339))
}

// tellDenied says that credentials live longer than they need.
func (s *Secrets) tellDenied(path string, err error) {
	s.log.Warn("vault does not let a lease of the application be revoked: it lives on until it ends", "path", path, "cause", err.Error(),
		"what_to_do", "grant it in the policy: path \"sys/leases/revoke\" { capabilities = [\"update\"] }")
}

// Close ends everything that New has begun, for a caller that does not call Run.
func (s *Secrets) Close(ctx context.Context) { s.undo(ctx) }

// end revokes every lease and removes every file, if there is an application to end with.
func (s *Secrets) end(ctx context.Context) {
	if s.acting != nil {
		<-s.done // it ends with ctx
	}
	if s.cfg.App == nil {
		return
	}
	s.undo(ctx)
}

// undo leaves nothing behind.
func (s *Secrets) undo(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endBound)
	defer cancel()
	leases := map[*lease]string{}
	for _, r := range s.retired {
		if r.lives(time.Now()) {
			leases[r.lease] = r.path
		}
	}
	for _, i := range s.items {
		if i.lease != nil {
			leases[i.lease] = i.question.path
		}
	}
	var group sync.WaitGroup
	for l, path := range leases {
		group.Go(func() {
			err := revoke(ctx, s.cfg.Vault, l)
			for err != nil && kindOf(err) == Refused && sleep(ctx, lastDelay) { // the database may be back soon
				err = revoke(ctx, s.cfg.Vault, l)
			}
			switch {
			case err == nil:
				s.cfg.passed(leaseEnded)
				s.log.Info("a lease of the application was revoked", "path", path)
			case kindOf(err) == Denied:
				s.tellDenied(path, err)
			default:
				s.tellUnrevoked(path, l, err)
			}
		})
	}
	group.Wait() // ends with ctx at the latest
	var faults []error
	for _, t := range s.targets {
		if t.place != nil && t.renders > 0 {
			faults = append(faults, t.place.remove())
		}
	}
	if err := errors.Join(faults...); err != nil {
		s.log.Warn("removing the application's secrets did not succeed", "cause", err.Error())
	}
}
