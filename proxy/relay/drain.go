package relay

import "errors"

// ErrDrain says that something was still under way when the deadline for stopping had
// passed.
var ErrDrain = errors.New("drain deadline passed with requests in flight")
