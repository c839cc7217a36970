package secrets

import (
	"context"
	"fmt"
	"maps"
	"time"
)

// debounces is how many times the debounce an action is put off at most.
const debounces = 5

// queue has the application told of a target that changed.
func (s *Secrets) queue(t *target, now time.Time) {
	if t.action.Verb == None {
		return
	}
	name := t.action.name()
	c := s.changes[name]
	if c == nil {
		c = &change{action: t.action, targets: map[*target]int{}, first: now}
		s.changes[name] = c
	}
	c.targets[t] = t.renders
	due := now.Add(t.action.Debounce)
	if latest := c.first.Add(debounces * t.action.Debounce); due.After(latest) {
		due = latest
	}
	c.due, c.attempt = due.Add(between(t.action.Jitter, 0, 1)), 0
}

// same notes that a target was rendered again and came out as it was: what is to be done
// about the rendering before is done about this one, too.
func (s *Secrets) same(t *target) {
	for _, c := range s.changes {
		if _, waits := c.targets[t]; waits {
			c.targets[t] = t.renders
		}
	}
	if s.acting != nil {
		if _, waits := s.acting.targets[t]; waits {
			s.acting.targets[t] = t.renders
		}
	}
}

// act starts the action that is due, if none is under way.
func (s *Secrets) act(ctx context.Context, now time.Time) {
	if s.acting != nil {
		return
	}
	for name, c := range s.changes {
		if now.Before(c.due) || s.superseded(c) {
			continue
		}
		delete(s.changes, name)
		if c.action.Verb == Restart {
			c.targets = s.all()
		}
		s.acting = c
		action, env, stdin := c.action, s.Environment(), s.Stdin()
		go func() { s.done <- s.actor.do(ctx, action, env, stdin) }()
		return
	}
}

// all are the targets with what they are now: an application that is started has all.
func (s *Secrets) all() map[*target]int {
	targets := map[*target]int{}
	for _, t := range s.targets {
		targets[t] = t.renders
	}
	return targets
}

// superseded says whether a change need not be told because a restart, which tells it, is
// due soon and can be hoped to succeed.
func (s *Secrets) superseded(c *change) bool {
	restart := s.changes[string(Restart)]
	return restart != nil && restart.attempt == 0 && (c.action.Verb == Signal || c.action.Verb == HTTP)
}

// acted takes in how the action ended.
func (s *Secrets) acted(ctx context.Context, o outcome, now time.Time) {
	c := s.acting
	s.acting = nil
	s.cfg.passed(appTold)
	verb := c.action.Verb
	if o.output != "" {
		o.output = s.hide(o.output)
		o.output = o.output[:min(len(o.output), maxToldOutput)]
	}
	if ctx.Err() != nil {
		return
	}
	s.counts.actions[verb]++
	if o.err != nil {
		s.counts.actionFailures[verb]++
		s.postponeChange(c, o, now)
		return
	}
	for t, n := range c.targets {
		t.moved = max(t.moved, n)
	}
	if verb == Restart {
		for name, other := range s.changes {
			if (other.action.Verb == Signal || other.action.Verb == HTTP) && other.told() {
				delete(s.changes, name)
			}
		}
	}
	s.log.Info("the application was told of its new secrets", "action", c.action.shown(), "attempts", c.attempt+1, "output", o.output)
}

// told says whether the application has all that changed.
func (c *change) told() bool {
	for t, n := range c.targets {
		if t.moved < n {
			return false
		}
	}
	return true
}

// postponeChange plans another attempt. What changed meanwhile joins it.
func (s *Secrets) postponeChange(c *change, o outcome, now time.Time) {
	name := c.action.name()
	if newer := s.changes[name]; newer != nil {
		maps.Copy(c.targets, newer.targets)
	}
	c.attempt++
	c.fault = s.hide(fmt.Sprintf("action %s: %v", c.action.shown(), o.err))
	delay := backoff(c.attempt)
	c.due = now.Add(delay)
	s.changes[name] = c
	s.log.Error("the application could not be told of its new secrets", "action", c.action.shown(),
		"cause", s.hide(o.err.Error()), "output", o.output, "attempt", c.attempt, "next_try", delay.Round(time.Millisecond).String())
}
