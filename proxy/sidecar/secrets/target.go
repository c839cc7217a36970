package secrets

import (
	"crypto/sha256"
	"time"
)

// target is one thing that is rendered: a file, a variable or the standard input. It is
// used by one goroutine.
type target struct {
	name   string
	source *source
	action Action
	place  *place // nil but for a file
	// variable is the name of an environment variable.
	variable string

	output []byte            // of a variable or the standard input: what is in use
	sum    [sha256.Size]byte // of what is in use
	used   map[string]bool   // keys of the questions that it asked
	// renders counts the successful renderings, and moved is the one that the application
	// has taken over, as far as can be known.
	renders, moved int

	failures int       // since the last success
	again    time.Time // of the next attempt after a failure; zero if there is none to be made
	fault    error
}

// change is an action that is to be done.
type change struct {
	action  Action
	targets map[*target]int // what changed, and in which rendering
	first   time.Time       // when the first of them did
	due     time.Time
	attempt int
	fault   string // of the last attempt, with the action's name and without secrets; "" for none
}
