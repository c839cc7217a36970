package supervise

import (
	"fmt"
	"syscall"
	"time"
)

// ExitedError is how an application has ended.
type ExitedError struct {
	Command string
	Code    int            // its exit code, or -1 if a signal has ended it
	Signal  syscall.Signal // 0 for none
	Cause   error          // why we have ended it; nil if it has ended by itself
}

// Error says how.
func (e *ExitedError) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("app %s was ended: %v", e.Command, e.Cause)
	}
	return fmt.Sprintf("app %s has ended by itself: %s", e.Command, e.String())
}

// Unwrap returns why we have ended it.
func (e *ExitedError) Unwrap() error { return e.Cause }

// String is the exit code, or the signal.
func (e *ExitedError) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("signal %d (%s)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Success reports whether it has ended by itself and with exit code 0.
func (e *ExitedError) Success() bool { return e.Cause == nil && e.Signal == 0 && e.Code == 0 }

// StartError is an application that could not be started.
type StartError struct {
	Command string
	Err     error
}

// Error names the program and the cause, and no argument: these may be anything.
func (e *StartError) Error() string {
	return fmt.Sprintf("starting the app %s: %v", e.Command, e.Err)
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// CheckState is what the check of an application has found.
type CheckState string

// What a check finds.
const (
	Unchecked CheckState = ""         // there is no check, or the application does not run
	Starting  CheckState = "starting" // it has not passed since the last start
	Passing   CheckState = "passing"
	Failing   CheckState = "failing" // as often in a row as is too often
)

// State is what is known of an application.
type State struct {
	Running  bool
	PID      int
	Since    time.Time    // of the start, or of the end if it does not run
	Restarts int          // after an end; those that were asked for are not counted
	Next     time.Time    // of the next start, if it waits for that
	Last     *ExitedError // the last end, nil if there was none
	Ended    bool         // for good
	Check    CheckState
	Cause    string // what the last check that did not pass has found
}

// OK reports whether the application runs and passes its check, if it has one.
func (s State) OK() bool {
	return s.Running && (s.Check == Passing || s.Check == Unchecked)
}

// State returns what is known now.
func (c *Child) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// note changes what is known.
func (c *Child) note(change func(*State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.state)
}

// Answering is closed when the application has passed its check for the first time, or
// has been started if there is none.
func (c *Child) Answering() <-chan struct{} { return c.answering }

// answers says that it has.
func (c *Child) answers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.answering:
	default:
		close(c.answering)
	}
}
