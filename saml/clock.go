package saml

import (
	"time"

	"github.com/jonboulle/clockwork"
)

// clock is the time that the libraries are told: ours, and behind by a lag.
type clock struct {
	clockwork.Clock // for the methods that tell no time; nobody calls them
	now             func() time.Time
	lag             time.Duration
}

func newClock(now func() time.Time, lag time.Duration) clock {
	return clock{Clock: clockwork.NewRealClock(), now: now, lag: lag}
}

// Now implements [clockwork.Clock].
func (c clock) Now() time.Time { return c.now().Add(-c.lag) }
