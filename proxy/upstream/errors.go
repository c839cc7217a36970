package upstream

import (
	"errors"
	"fmt"
)

// ErrBusy says that every upstream has as many requests as it may have at once.
var ErrBusy = errors.New("every upstream has as many requests as it may have")

// unsent is what the error of a transport says when not one byte of the request
// was written, on a connection that was made for it: any request can go
// elsewhere, and the upstream cannot be reached. A transport that finds an idle
// connection gone makes another one before it says so.
type unsent interface {
	error
	// Unsent reports whether no byte was written.
	Unsent() bool
}

// connectError is a connection that was not made.
type connectError struct {
	address string
	cause   error
}

func (e *connectError) Error() string { return fmt.Sprintf("connecting to %s: %v", e.address, e.cause) }

// Unwrap returns what went wrong.
func (e *connectError) Unwrap() error { return e.cause }

// Unsent implements unsent.
func (e *connectError) Unsent() bool { return true }

// Unsent reports whether err, of a Pool, says that not one byte of the request was
// sent: no connection came about.
func Unsent(err error) bool {
	var u unsent
	return errors.As(err, &u) && u.Unsent()
}

// answeredError is of a request whose answer had begun.
type answeredError struct{ cause error }

func (e *answeredError) Error() string { return e.cause.Error() }

// Unwrap returns what went wrong.
func (e *answeredError) Unwrap() error { return e.cause }

// Answered reports whether a byte of an answer had come.
func (e *answeredError) Answered() bool { return true }

// wasAnswered reports whether err says that an answer had begun.
func wasAnswered(err error) bool {
	var a interface{ Answered() bool }
	return errors.As(err, &a) && a.Answered()
}

// fault is an answer in which a sidecar says that its application does not answer.
type fault string

func (f fault) Error() string { return fmt.Sprintf("sidecar reports %q", string(f)) }
