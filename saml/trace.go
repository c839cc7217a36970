package saml

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/beevik/etree"
)

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

// Withheld reports whether the check that refused did so for a text in which a value
// of a person may stand: then the refusal's own text is for the log alone.
func (t *Trace) Withheld() bool {
	if t == nil || len(t.Checks) == 0 {
		return false
	}
	last := t.Checks[len(t.Checks)-1]
	return last.Code != "" && last.Got == onlyInTheLog
}

// begin starts a trace anew.
func (t *Trace) begin(message string, now time.Time) {
	if t != nil {
		*t = Trace{Message: message, Received: now}
	}
}

// describe notes what a message says about itself.
func (t *Trace) describe(root *etree.Element) {
	if t != nil {
		t.ID, t.Issued = quotable(root.SelectAttrValue("ID", "")), instantOf(root, "IssueInstant")
	}
}

// add records a check.
func (t *Trace) add(c Check) {
	if t != nil {
		c.Want, c.Got = quotable(c.Want), quotable(c.Got)
		t.Checks = append(t.Checks, c)
	}
}

// fail records a check that refused.
func (t *Trace) fail(name string, err error) {
	if t == nil {
		return
	}
	c := Check{Name: name, Code: CodeInternal}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		c.Code, c.Got = refusal.Code, refusal.Err.Error()
	}
	t.add(c)
}

const maxTraced = 200 // bytes of what a trace quotes of one thing

// quotable makes any text fit to be shown on a terminal or a page: bounded, valid
// UTF-8, with every character that cannot be seen written as an escape.
func quotable(s string) string {
	var b strings.Builder
	for i, r := range s {
		piece := string(r)
		switch {
		case r == utf8.RuneError && s[i] != "\uFFFD"[0]:
			piece = fmt.Sprintf(`\x%02x`, s[i])
		case r != ' ' && (!unicode.IsPrint(r) || invisible(r)):
			piece = strings.Trim(strconv.QuoteRuneToASCII(r), "'")
		}
		if b.Len()+len(piece) > maxTraced-len("…") {
			b.WriteString("…")
			break
		}
		b.WriteString(piece)
	}
	return b.String()
}
