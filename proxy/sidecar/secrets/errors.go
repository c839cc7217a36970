package secrets

import (
	"errors"
	"fmt"
)

// Error says why something was not rendered or written. It holds no secret.
type Error struct {
	Where string // the template and its line, or the file
	Line  int    // of the template, from 1; 0 if it is not about one
	Hint  string // what an operator should do; may be empty
	Err   error
}

// Error joins place and cause.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Where, e.Err) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Hint is what an operator should do about an error of this package, "" if it does not say.
func Hint(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.Hint != "" {
			return e.Hint
		}
		err = e.Err
	}
	return ""
}
