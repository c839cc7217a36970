package secrets

import (
	"context"
	"errors"
	"net/url"
	"time"
)

// Vault is the session in which secrets are read: one that somebody else opened and keeps
// alive. Its methods are called concurrently.
type Vault interface {
	// Do makes one call, once; it neither waits for a Vault that is away nor repeats
	// anything. An error that is a [*CallError] says what kind of failure it is; every
	// other counts as [Away]. An answer without a body is nil.
	Do(ctx context.Context, call Call) (*Answer, error)
	// Session is the state of the session at this moment.
	Session() Session
}

// Call is one request to Vault.
type Call struct {
	Method string // GET, PUT or LIST
	Path   string // below /v1/
	Query  url.Values
	Body   map[string]any
	// Token, if not empty, takes the place of the session's: a token that Vault gave as
	// a secret is renewed and revoked by itself.
	Token string
	// Urgent says that the answer replaces something that ends: a Vault that was away a
	// moment ago is to be asked, too.
	Urgent bool
}

// Answer is what Vault answers to a Call.
type Answer struct {
	RequestID string
	Data      map[string]any
	LeaseID   string
	Lease     time.Duration // of LeaseID, or how long Vault thinks the data is good; 0 if it does not say
	Renewable bool
	Auth      *Auth // a token, if that is what was asked for
}

// Auth is a token in an Answer.
type Auth struct {
	Token, Accessor string
	Policies        []string
	Metadata        map[string]string
	Lease           time.Duration
	Renewable       bool
}

// Session is the state of the token with which Vault is asked. Leases end with the token
// under which they were granted.
type Session struct {
	// Since is when the token was granted; another time is another token.
	Since time.Time
	// Expires is when it ends unless it is renewed; zero for never.
	Expires time.Time
	// Turned is closed when the token was renewed or replaced; nil if that is not told.
	Turned <-chan struct{}
	// Back is closed when Vault has answered after it was away, to whomever; nil if that
	// is not told.
	Back <-chan struct{}
}

// Kind is what kind of failure a call met.
type Kind int

// The kinds.
const (
	Away    Kind = iota // Vault is unreachable or sealed, or there is no token now: it may pass
	Denied              // the token's policies do not allow the call
	Absent              // there is nothing at the path
	Refused             // Vault does not do what is asked
)

// CallError is the failure of a call.
type CallError struct {
	Kind Kind
	Err  error // without secrets
}

// Error is the cause.
func (e *CallError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *CallError) Unwrap() error { return e.Err }

// kindOf is the kind of a failure.
func kindOf(err error) Kind {
	var call *CallError
	if errors.As(err, &call) {
		return call.Kind
	}
	return Away
}
