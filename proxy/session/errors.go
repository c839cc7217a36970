package session

import "errors"

// ErrEnded is the cause with which a connection's context ends when its
// session does.
var ErrEnded = errors.New("session ended")

// ErrWithdrawn is the cause with which it ends when the session may not have it any
// more.
var ErrWithdrawn = errors.New("access withdrawn")

// ErrTooLarge says that a session does not fit into a cookie.
var ErrTooLarge = errors.New("session does not fit into a cookie")

// Absence says why a request carries no usable session. Its text is the reason
// code in the access log.
type Absence string

// Why there is no session.
const (
	Present       Absence = ""                // there is one
	AbsentCookie  Absence = "no_session"      // no cookie of ours
	AbsentTwice   Absence = "two_cookies"     // more than one: somebody tosses cookies
	AbsentForged  Absence = "session_invalid" // does not open for this host under our keys
	AbsentIdle    Absence = "session_idle"    // unused for too long
	AbsentExpired Absence = "session_expired" // past its absolute end
	AbsentRevoked Absence = "session_revoked" // ended by a sign-out or an operator
)
