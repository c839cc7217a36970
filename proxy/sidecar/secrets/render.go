package secrets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"
)

// answerBound is how long a question may take that a template asks.
const answerBound = 15 * time.Second

// rendering is what one template made.
type rendering struct {
	target *target
	output []byte
	used   map[string]bool
}

// render executes a target's template; what it asks for first is fetched on the way.
func (s *Secrets) render(ctx context.Context, t *target) (rendering, error) {
	output, used, err := t.source.render(
		func(q question) (any, error) { return s.answer(ctx, q) },
		s.hide)
	r := rendering{target: t, output: output, used: map[string]bool{}}
	for _, key := range used {
		r.used[key] = true
	}
	switch {
	case err != nil:
		return r, err
	case t.variable != "" && bytes.IndexByte(output, 0) >= 0:
		return r, &Error{Where: t.name, Err: fmt.Errorf("it has a zero byte, which no variable can hold")}
	}
	return r, nil
}

// answer is the answer to a question: what is held, or else what Vault says now.
func (s *Secrets) answer(ctx context.Context, q question) (any, error) {
	key := q.key()
	if held := s.items[key]; held != nil {
		return cloned(held.value), nil
	}
	ctx, cancel := asking(ctx, answerBound)
	defer cancel()
	got, err := s.fetcher.fetch(ctx, q, false)
	if err != nil {
		return nil, err
	}
	held := &item{question: q, found: got}
	held.plan()
	s.items[key] = held
	return cloned(held.value), nil
}

// use puts a rendering in use: a file is written, a variable remembered. What is in use
// already is left alone. After an error what was in use stays.
func (s *Secrets) use(r rendering) error {
	t := r.target
	sum := sha256.Sum256(r.output)
	if t.renders == 0 || sum != t.sum {
		if t.place != nil {
			if err := t.place.put(r.output); err != nil {
				return err
			}
		} else {
			t.output = r.output
		}
		s.counts.renders[t.name]++
	}
	t.sum, t.used = sum, r.used
	t.renders++
	t.failures, t.again, t.fault = 0, time.Time{}, nil
	return nil
}

// rerender renders the targets that asked for one of the changed items, or whose last attempt
// failed, and queues what is to be done about those that came out otherwise.
func (s *Secrets) rerender(ctx context.Context, changed map[string]bool, now time.Time) {
	for _, t := range s.targets {
		if !t.concerned(changed, now) {
			continue
		}
		before, wasMoved := t.sum, t.moved == t.renders
		r, err := s.render(ctx, t)
		if err == nil {
			err = s.use(r)
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			s.postponeTarget(t, r, err, now)
		case t.sum != before:
			s.log.Info("a secret of the application was rendered anew", "target", t.name, "action", t.action.shown())
			s.queue(t, now)
		case wasMoved:
			t.moved = t.renders
		default:
			s.same(t)
		}
	}
	s.drop(now)
}

// concerned says whether a target is to be rendered.
func (t *target) concerned(changed map[string]bool, now time.Time) bool {
	if !t.again.IsZero() && !now.Before(t.again) {
		return true
	}
	for key := range t.used {
		if changed[key] {
			return true
		}
	}
	return false
}

// postponeTarget plans another attempt. What the template asked for on the way is kept.
func (s *Secrets) postponeTarget(t *target, r rendering, err error, now time.Time) {
	for key := range r.used {
		t.used[key] = true
	}
	t.failures++
	t.fault = err
	delay := backoff(t.failures)
	t.again = now.Add(delay)
	s.counts.renderFailures[t.name]++
	s.log.Error("a secret of the application cannot be rendered: what it has stays as it is",
		"target", t.name, "cause", err.Error(), "what_to_do", Hint(err), "attempt", t.failures, "next_try", delay.Round(time.Millisecond).String())
}

// backoff is a growing delay with jitter.
func backoff(failures int) time.Duration {
	delay := longestDelay
	if failures < 8 {
		delay = min(longestDelay, time.Second<<max(failures-1, 0))
	}
	return between(delay, 0.5, 1.5)
}

// drop forgets the items that no template asks for any more.
func (s *Secrets) drop(now time.Time) {
	for key, i := range s.items {
		asked := false
		for _, t := range s.targets {
			asked = asked || t.used[key]
		}
		if asked {
			continue
		}
		delete(s.items, key)
		s.remember(i.value)
		s.retire(i, now)
	}
}
