package otlp

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Error says that a message was not taken.
type Error struct {
	// Code is the status of HTTP ("503") or the name of the one of gRPC ("UNAVAILABLE");
	// empty if there was no answer.
	Code string
	// Message is what the collector says of it, printable and short; may be empty.
	Message string
	// Retry says that the same message may be sent once more, and After how long the
	// collector wants to be left alone before that, zero if it does not say.
	Retry bool
	After time.Duration
	// Content says that it is the message itself which the collector does not take.
	Content bool

	err error // why there was no answer
}

// Error names the status, and what the collector says.
func (e *Error) Error() string {
	switch {
	case e.err != nil:
		return "collector did not answer: " + e.err.Error()
	case e.Message != "":
		return fmt.Sprintf("collector answered %s: %s", e.Code, e.Message)
	}
	return "collector answered " + e.Code
}

// Unwrap returns why there was no answer, nil if there was one.
func (e *Error) Unwrap() error { return e.err }

// PartialError says that the collector has taken a message but for some of its records,
// which must not be sent again (OTLP, "Partial Success").
type PartialError struct {
	// Rejected is how many it has not taken. Zero makes Message a warning.
	Rejected int64
	// Message is what it says of them, printable and short.
	Message string
}

// Error says how many records were rejected, and why.
func (e *PartialError) Error() string {
	return fmt.Sprintf("collector rejected %d records: %s", e.Rejected, e.Message)
}

// maxMessage bounds what is kept of a collector's text, in bytes.
const maxMessage = 256

// printable is a collector's text as it may stand in a log.
func printable(text string) string {
	if len(text) > maxMessage {
		text = text[:maxMessage]
	}
	quoted := strconv.Quote(strings.ToValidUTF8(text, ""))
	return quoted[1 : len(quoted)-1]
}
