package secrets

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// State is what an operator must know of the secrets. It holds none.
type State struct {
	// Targets are the files, variables and inputs that are rendered.
	Targets int
	// FreshUntil is how long everything that was rendered is valid if Vault is not heard
	// of again: the end of the lease, certificate or token that ends first, of those that
	// were replaced as long as the application has them; zero if nothing has an end.
	FreshUntil time.Time
	// Excused says that nobody could do better than to go on with what there is: Away, that
	// Vault is away, and nothing else keeps something from being renewed, replaced or
	// rendered; or what ended while it was is replaced, and the application about to be
	// told.
	Excused, Away bool
	// Leases are those that are kept alive, and Retired those that were replaced and still
	// live, because the application may use them.
	Leases, Retired int
	// Pending are actions that are still to be done.
	Pending int
	// Faults say what does not succeed now, one line each, sorted.
	Faults []string

	// Held is everything that was read, sorted by path.
	Held []Held

	// What has been done since the start: renderings put in use and those that failed, by
	// target; actions and those that failed; leases renewed and credentials replaced.
	Renders, RenderFailures map[string]int
	Actions, ActionFailures map[Verb]int
	Renewals, Replacements  int
}

// Held is one thing that was read of Vault and is in use.
type Held struct {
	Path  string
	Since time.Time // of the reading, or the last renewal
	Until time.Time // its end, unless it is renewed or replaced; zero for none
	Lease bool      // it has a lease, or is a token
	Fault string    // why it could not be renewed, replaced or read; "" if it could
}

// Fresh says whether all that was rendered is still valid at a moment.
func (st State) Fresh(now time.Time) bool { return st.FreshUntil.IsZero() || now.Before(st.FreshUntil) }

// excuse fills in why it is nobody's fault if something is stale.
func (st *State) excuse(s *Secrets, now time.Time) {
	var faults []error
	for _, i := range s.items {
		faults = append(faults, i.fault)
	}
	for _, t := range s.targets {
		faults = append(faults, t.fault)
	}
	for _, fault := range faults {
		if fault != nil && !isAway(fault) {
			return
		}
	}
	telling := false
	for _, r := range s.retired {
		if r.ended(now) && r.awaited() {
			if !r.late || s.failsToTell(r) {
				return
			}
			telling = true
		}
	}
	st.Away = slices.ContainsFunc(faults, isAway)
	st.Excused = st.Away || telling
}

// failsToTell says whether the application could not be told of what is in the place of
// retired credentials.
func (s *Secrets) failsToTell(r *retired) bool {
	changes := slices.Collect(maps.Values(s.changes))
	if s.acting != nil {
		changes = append(changes, s.acting)
	}
	for _, c := range changes {
		for t := range r.needs {
			if _, waits := c.targets[t]; waits && c.fault != "" {
				return true
			}
		}
	}
	return false
}

// State returns the state at this moment. What it returns is the caller's.
func (s *Secrets) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	st.Faults, st.Held = slices.Clone(st.Faults), slices.Clone(st.Held)
	st.Renders, st.RenderFailures = maps.Clone(st.Renders), maps.Clone(st.RenderFailures)
	st.Actions, st.ActionFailures = maps.Clone(st.Actions), maps.Clone(st.ActionFailures)
	return st
}

// publish makes what is in use, and the state, visible to everybody.
func (s *Secrets) publish() {
	session, now := s.cfg.Vault.Session(), time.Now()
	st := State{
		Targets: len(s.targets), Pending: len(s.changes),
		Renders: maps.Clone(s.counts.renders), RenderFailures: maps.Clone(s.counts.renderFailures),
		Actions: maps.Clone(s.counts.actions), ActionFailures: maps.Clone(s.counts.actionFailures),
		Renewals: s.counts.renewals, Replacements: s.counts.replacements,
	}
	st.excuse(s, now)
	if s.acting != nil {
		st.Pending++
	}
	for _, i := range s.items {
		st.FreshUntil = earlier(st.FreshUntil, i.until(session))
		if i.lease != nil {
			st.Leases++
		}
		held := Held{Path: i.question.path, Since: i.since, Until: i.until(session), Lease: i.lease != nil}
		if i.fault != nil {
			held.Fault = i.fault.Error()
			st.Faults = append(st.Faults, held.Fault)
		}
		st.Held = append(st.Held, held)
	}
	slices.SortFunc(st.Held, func(a, b Held) int { return strings.Compare(a.Path, b.Path) })
	for _, r := range s.retired {
		if r.awaited() {
			st.FreshUntil = earlier(st.FreshUntil, r.until(session))
		}
		if r.lives(now) {
			st.Retired++
		}
	}
	st.Faults = append(st.Faults, s.targetFaults()...)
	slices.Sort(st.Faults)
	st.Faults = slices.Compact(st.Faults)
	env, stdin := s.inUse()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.env, s.stdin = st, env, stdin
}

// targetFaults says which targets could not be rendered, and which actions failed.
func (s *Secrets) targetFaults() []string {
	var faults []string
	for _, t := range s.targets {
		if t.fault != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", t.name, t.fault))
		}
	}
	for _, c := range s.changes {
		if c.fault != "" {
			faults = append(faults, c.fault)
		}
	}
	return faults
}

// inUse is what variables and the standard input are now.
func (s *Secrets) inUse() (env []string, stdin []byte) {
	for _, t := range s.targets {
		switch {
		case t.place != nil || t.renders == 0:
		case t.variable != "":
			env = append(env, t.variable+"="+string(t.output))
		default:
			stdin = bytes.Clone(t.output)
		}
	}
	return env, stdin
}
