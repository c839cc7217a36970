package policy

import "time"

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
