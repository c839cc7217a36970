package vaultpki

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Reason says why an operation of this package failed, in terms that a caller
// can act on: an exit code, an alarm, another attempt.
type Reason int

// The reasons. Their order is not stable across releases; their names are.
const (
	// ReasonUnknown is the zero value; no error of this package carries it.
	ReasonUnknown Reason = iota
	// ReasonConfig: a Config value is missing or not acceptable.
	ReasonConfig
	// ReasonNoToken: there is no usable wrapping token: the file is missing,
	// empty, too large or does not look like a token.
	ReasonNoToken
	// ReasonExpired: Vault does not know the wrapping token, and it is past the
	// end that is known of it. Whether anybody used it before, Vault does not
	// say.
	ReasonExpired
	// ReasonIntercepted: Vault does not know the wrapping token: it was used,
	// it expired, or it never existed. Somebody else may hold the credential:
	// this is the interception alarm.
	ReasonIntercepted
	// ReasonForged: the wrapping token is alive but was not made by the
	// expected call, lives longer than allowed, or has an impossible age.
	ReasonForged
	// ReasonUnreachable: Vault did not answer, or gave no service, for too long.
	ReasonUnreachable
	// ReasonSealed: Vault said for too long that it is sealed.
	ReasonSealed
	// ReasonAmbiguous: the connection was lost during a one-time call, so that
	// the credential may or may not be spent.
	ReasonAmbiguous
	// ReasonLoginRefused: Vault refused the RoleID and SecretID, or granted a
	// token that is not fit for use.
	ReasonLoginRefused
	// ReasonDenied: the token's policies do not allow the call.
	ReasonDenied
	// ReasonMissingSecret: there is no such secret, or its latest version is
	// deleted.
	ReasonMissingSecret
	// ReasonMissingField: the secret exists, but a field is absent or empty.
	ReasonMissingField
	// ReasonBadCertificate: what Vault returned is not what was asked for.
	ReasonBadCertificate
	// ReasonTokenLost: the Vault token ended: it expired or was revoked, and
	// there is no other yet.
	ReasonTokenLost
	// ReasonClock: an heir cannot have the age that it has by the clock of this
	// host. It was not used, and is kept.
	ReasonClock
)

// reasonNames has one stable, lower-case name per Reason, for logs and metrics.
var reasonNames = [...]string{
	ReasonUnknown:        "unknown",
	ReasonConfig:         "config",
	ReasonNoToken:        "no_token",
	ReasonExpired:        "expired",
	ReasonIntercepted:    "intercepted",
	ReasonForged:         "forged",
	ReasonUnreachable:    "unreachable",
	ReasonSealed:         "sealed",
	ReasonAmbiguous:      "ambiguous",
	ReasonLoginRefused:   "login_refused",
	ReasonDenied:         "denied",
	ReasonMissingSecret:  "missing_secret",
	ReasonMissingField:   "missing_field",
	ReasonBadCertificate: "bad_certificate",
	ReasonTokenLost:      "token_lost",
	ReasonClock:          "clock",
}

// String returns the stable name of the reason, such as "intercepted".
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) {
		return fmt.Sprintf("reason(%d)", int(r))
	}
	return reasonNames[r]
}

// Errors of [Certificates.Renew] that are the caller's; each is in an [*Error].
var (
	ErrUnknownName = errors.New("there is no certificate of that name")
	ErrTooSoon     = errors.New("it was renewed on demand just now")
)

// Error is every failure of this package. It never holds a secret.
type Error struct {
	Reason Reason // what kind of failure; never ReasonUnknown
	Op     string // what was being done, as a gerund phrase: "unwrapping the SecretID"
	Where  string // the file, Vault path or name concerned; may be empty
	Hint   string // what an operator should do; may be empty
	Err    error  // the cause; may be nil
}

// Error joins operation, place and cause: "reading secret/app: permission
// denied". The hint is left to whoever shows the error to a person.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Where != "" {
		b.WriteString(" ")
		b.WriteString(e.Where)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the Reason of the outermost [*Error] in err's chain, and
// ReasonUnknown if there is none.
func ReasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ReasonUnknown
}

// Classify makes an [*Error] of the error of a Vault call that may be repeated,
// made to where while doing op. It is meant for this package and the packages
// below it.
func Classify(op, where string, err error) *Error {
	e := &Error{Reason: ReasonUnreachable, Op: op, Where: where, Err: err}
	switch status := wire.Status(err); {
	case ReasonOf(err) == ReasonTokenLost:
		e.Reason, e.Hint = ReasonTokenLost, hintLost
	case wire.Untrusted(err):
		e.Hint = "check that the address is Vault's and that the CA file holds the authority of its certificate"
	case isInvalidToken(err): // an operator's: a process finds out whether it is dead
		e.Reason, e.Hint = ReasonDenied, hintLogin
	case status == http.StatusForbidden:
		e.Reason = ReasonDenied
		e.Hint = "check the policies of the token"
	case isSealed(err):
		e.Reason = ReasonSealed
		e.Hint = "unseal Vault; a start can then be repeated"
	case status >= 400 && status < 500 && !wire.MaySucceedLater(err):
		e.Reason = ReasonConfig
		e.Hint = "check that Vault is provisioned: mounts, roles and paths"
	default:
		e.Hint = "check the address, the network and that Vault runs"
	}
	return e
}

// isSealed recognises a Vault that runs and has not got its key. A proxy's page
// of the same status says nothing of the kind.
func isSealed(err error) bool {
	var status *wire.StatusError
	return errors.As(err, &status) && status.FromVault && status.Status == http.StatusServiceUnavailable &&
		strings.Contains(status.Error(), "sealed")
}
