package policy

import (
	"slices"
	"time"
)

// StepUp is what a route demands of how a person has signed in, beyond who they are.
// The zero value demands nothing.
type StepUp struct {
	// MaxAge is how long ago they may have proved who they are; zero: any time.
	MaxAge time.Duration
	// Contexts are authentication context classes, the weakest first: one of them must
	// have been used. Nil: any.
	Contexts []string
	// Minimum asks the identity provider for the first of Contexts or a stronger one,
	// in place of exactly one of them.
	Minimum bool
}

// Reasons of decisions about how somebody has signed in.
const (
	ReasonTooOld  = "authn_too_old"
	ReasonContext = "authn_context"
)

// ClockSlack is how far ahead of our clock a person may have proved who they are:
// another replica, whose clock is not quite ours, may have written it down. MaxAge
// itself has no allowance: whoever calls knows the instant by our own clocks.
const ClockSlack = time.Minute

// Satisfied returns whether somebody may enter who proved who they are at authnAt, in
// the authentication context class: if not, the verdict is Again and never Deny, since
// the same person may enter after another sign-on. Who may enter at all is for a Rule
// to say, and to say first.
//
// Whatever Minimum asks for, the class must be one of Contexts: what an identity
// provider holds to be stronger is unknown here.
func (s StepUp) Satisfied(authnAt time.Time, class string, now time.Time) Decision {
	age := now.Sub(authnAt)
	switch {
	case s.MaxAge > 0 && (age > s.MaxAge || age < -ClockSlack):
		return Decision{Verdict: Again, Reason: ReasonTooOld}
	case len(s.Contexts) > 0 && (class == "" || !slices.Contains(s.Contexts, class)):
		return Decision{Verdict: Again, Reason: ReasonContext}
	}
	return Decision{Verdict: Allow}
}
