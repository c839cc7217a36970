package audit

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Filter says which entries are asked for: those that meet all of what is set. The
// zero value asks for every entry. It is not changed while it is in use.
type Filter struct {
	// Since and Until bound the time of an entry: Since is within, Until is not. The
	// zero time is no bound.
	Since, Until time.Time

	// These are compared whole, byte for byte, or by their beginning if they end in "*".
	User, Route, Host, Decision, Action, Reason, RequestID, Session, Method, Status, Service, Accessor, Instance string

	// Rule is compared whole, too, or with the part before or behind a slash: of
	// "admin/group:admins" with "admin" and with "group:admins".
	Rule string
	// Address is an IP address, or a prefix such as 10.0.0.0/8 that has it.
	Address string
	// PathPrefix is how the path begins.
	PathPrefix string
	// Text stands somewhere in the line, in letters of either case. Lines are read for
	// it, which takes longer than anything else.
	Text string
}

// Condition is what a filter demands of one field.
type Condition struct {
	Field Field
	Match func(value string) bool
}

// Conditions are all that f demands but times and text. An error says which part of f
// cannot be met by anything.
func (f *Filter) Conditions() ([]Condition, error) {
	var all []Condition
	words := [Fields]string{
		User: f.User, Route: f.Route, Host: f.Host, Decision: f.Decision, Action: f.Action, Reason: f.Reason, RequestID: f.RequestID,
		Session: f.Session, Method: f.Method, Status: f.Status, Service: f.Service, Accessor: f.Accessor, Instance: f.Instance,
	}
	for field, want := range words {
		if want != "" {
			all = append(all, Condition{Field(field), matchWord(want)})
		}
	}
	if f.Rule != "" {
		all = append(all, Condition{Rule, func(value string) bool { return hasPart(value, f.Rule) }})
	}
	if f.PathPrefix != "" {
		all = append(all, Condition{Path, func(value string) bool { return strings.HasPrefix(value, f.PathPrefix) }})
	}
	if f.Address != "" {
		match, err := matchAddress(f.Address)
		if err != nil {
			return nil, err
		}
		all = append(all, Condition{Address, match})
	}
	return all, nil
}

// matchWord compares whole words, or their beginning.
func matchWord(want string) func(string) bool {
	if prefix, open := strings.CutSuffix(want, "*"); open {
		return func(value string) bool { return strings.HasPrefix(value, prefix) }
	}
	return func(value string) bool { return value == want }
}

// hasPart reports whether a rule is what is wanted, or has it at one end.
func hasPart(rule, want string) bool {
	return rule == want ||
		len(rule) > len(want) && (rule[len(want)] == '/' && strings.HasPrefix(rule, want) ||
			rule[len(rule)-len(want)-1] == '/' && strings.HasSuffix(rule, want))
}

func matchAddress(want string) (func(string) bool, error) {
	prefix, err := netip.ParsePrefix(want)
	if err != nil {
		address, err := netip.ParseAddr(want)
		if err != nil {
			return nil, fmt.Errorf("address %q: expected an IP address, or a prefix such as 10.0.0.0/8", want)
		}
		address = address.Unmap()
		prefix = netip.PrefixFrom(address, address.BitLen())
	}
	prefix = prefix.Masked()
	return func(value string) bool {
		address, err := netip.ParseAddr(value)
		return err == nil && prefix.Contains(address.Unmap())
	}, nil
}

// Matcher is a filter that has been made ready. It is for use by one goroutine or by
// many.
type Matcher struct {
	since, until int64 // microseconds; until is within
	conditions   []Condition
	text         string // in small letters
}

// Matcher makes f ready, or says what is wrong with it.
func (f *Filter) Matcher() (*Matcher, error) {
	conditions, err := f.Conditions()
	if err != nil {
		return nil, err
	}
	m := &Matcher{since: -1 << 63, until: 1<<63 - 1, conditions: conditions, text: strings.ToLower(f.Text)}
	if !f.Since.IsZero() {
		m.since = ceilMicro(f.Since)
	}
	if !f.Until.IsZero() {
		m.until = ceilMicro(f.Until) - 1
	}
	return m, nil
}

// ceilMicro is the first whole microsecond at or after t: records know no smaller.
func ceilMicro(t time.Time) int64 {
	n := t.UnixMicro()
	if t.Nanosecond()%1000 != 0 {
		n++
	}
	return n
}

// Between are the bounds in microseconds since 1970, both within.
func (m *Matcher) Between() (first, last int64) { return m.since, m.until }

// Conditions are what is demanded of single fields.
func (m *Matcher) Conditions() []Condition { return m.conditions }

// ByText reports whether the line itself has to be read.
func (m *Matcher) ByText() bool { return m.text != "" }

// Match reports whether e is asked for.
func (m *Matcher) Match(e *Entry) bool { return m.MatchFields(e) && m.MatchText(e.Line) }

// MatchFields is Match without the text.
func (m *Matcher) MatchFields(e *Entry) bool {
	if t := e.Time.UnixMicro(); t < m.since || t > m.until {
		return false
	}
	for _, c := range m.conditions {
		if !c.Match(e.Value(c.Field)) {
			return false
		}
	}
	return true
}

// MatchText reports whether a line has the text that is asked for.
func (m *Matcher) MatchText(line []byte) bool { return m.text == "" || containsFolded(line, m.text) }

// containsFolded reports whether line has lower in it, in letters of either case. It
// folds letters of ASCII alone, as lines have them in names, addresses and paths.
func containsFolded(line []byte, lower string) bool {
	first := []byte{lower[0], lower[0]}
	if lower[0] >= 'a' && lower[0] <= 'z' {
		first[1] -= 'a' - 'A'
	}
	for _, c := range first {
		for rest := line; ; {
			at := bytes.IndexByte(rest, c)
			if at < 0 || len(rest)-at < len(lower) {
				break
			}
			if foldedPrefix(rest[at:], lower) {
				return true
			}
			rest = rest[at+1:]
		}
		if first[0] == first[1] {
			break
		}
	}
	return false
}

func foldedPrefix(text []byte, lower string) bool {
	for i := range len(lower) {
		c := text[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
