package saml

import "time"

// Trace is what was found out about one message, check by check, for an operator
// who wants to know why somebody cannot sign in. It holds no value of a person: no
// name, no attribute value, no signature; but it quotes what a stranger sent,
// bounded. It must not be used by two messages at once. All methods do nothing on
// nil.
type Trace struct {
	Message   string    // Response, LogoutRequest or LogoutResponse
	ID        string    // of the message, as it says; may be empty
	Issued    time.Time // IssueInstant, as it says; zero if that is unreadable
	Received  time.Time // by our clock
	Encrypted string    // how the assertion was encrypted; empty if it was not
	// Certificate is the SHA-256 of the certificate that verified, in hex; empty if
	// none did.
	Certificate string
	// Attributes are the names of the assertion's attributes, in its order.
	Attributes []TracedAttribute
	// Checks are in the order in which they were made. Only the last may have failed.
	Checks []Check
}

// TracedAttribute is an attribute without its values.
type TracedAttribute struct {
	Name   string
	Values int // how many
}

// Check is one thing that was looked at.
type Check struct {
	Name string // of the function that looked, in words: "audience"
	Want string // what was expected; may be empty
	Got  string // what came; may be empty
	Code string // of the refusal; empty if it passed
}

// ClockOffset is how far the sender's clock seems to be ahead of ours (negative:
// behind), the time on the way included; zero if it is not known.
func (t *Trace) ClockOffset() time.Duration {
	if t == nil || t.Issued.IsZero() || t.Received.IsZero() {
		return 0
	}
	return t.Issued.Sub(t.Received)
}
