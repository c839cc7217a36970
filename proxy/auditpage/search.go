package auditpage

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// Search is what somebody looks for. The zero value looks for all.
type Search struct {
	audit.Filter
	quiet bool // without the visits of auditors
}

// matcher makes s ready, or says that it cannot be met by anything.
func (s *Search) matcher() (func(*audit.Entry) bool, error) {
	m, err := s.Matcher()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrQuery, err)
	}
	if !s.quiet {
		return m.Match, nil
	}
	return func(e *audit.Entry) bool { return e.Value(audit.Action) != actionView && m.Match(e) }, nil
}

// The parameters of a search in an address. Those of times come in two forms: as an
// instant, or as how long ago.
const (
	paramPerson   = "person"
	paramTool     = "tool"
	paramAddress  = "address"
	paramDecision = "decision"
	paramReason   = "reason"
	paramRule     = "rule"
	paramSession  = "session"
	paramRequest  = "request"
	paramPath     = "path"
	paramAction   = "action"
	paramText     = "text"
	paramLast     = "last"
	paramFrom     = "from"
	paramUntil    = "until"
	paramBefore   = "before"
	paramAfter    = "after"
)

// actionView is what a visit to this page is in the log.
const actionView = string(accesslog.ActionAuditView)

// maxTerm is the length of what may be looked for, in bytes.
const maxTerm = 512

// decisions are what may be looked for as such; see package accesslog.
var decisions = []string{accesslog.DecisionAllow, accesslog.DecisionDeny, accesslog.DecisionSignIn, accesslog.DecisionStepUp}

// Range is a span of time up to now that can be chosen by name.
type Range struct {
	Name, Title string
	length      time.Duration
}

// rangeAll is the name of the range without a beginning.
const rangeAll = "all"

// ranges are those of the form; the first is what is chosen if nothing is.
var ranges = []Range{
	{"24h", "Last 24 hours", 24 * time.Hour},
	{"1h", "Last hour", time.Hour},
	{"15m", "Last 15 minutes", 15 * time.Minute},
	{"7d", "Last 7 days", 7 * 24 * time.Hour},
	{"30d", "Last 30 days", 30 * 24 * time.Hour},
	{"90d", "Last 90 days", 90 * 24 * time.Hour},
	{rangeAll, "All there is", 0},
}

// fault is what is wrong with one field of the form.
type fault struct{ Param, Message string }

// asked is a search as its address has it.
type asked struct {
	Search
	values url.Values // the parameters of the search that were given, as they were understood
	last   string     // the name of the range; empty beside from or until
	before string     // where the page before has ended; empty for the newest
	after  uint64     // newer than this position
	faults []fault
}

// parse reads the query of an address. What cannot be understood is among the faults, in
// words for the person who has typed it; what is not known is ignored.
func parse(query url.Values, now time.Time) asked {
	a := asked{values: url.Values{}}
	for name, to := range map[string]*string{
		paramPerson: &a.User, paramTool: &a.Route, paramReason: &a.Reason, paramRule: &a.Rule, paramText: &a.Text,
		paramSession: &a.Session, paramRequest: &a.RequestID, paramPath: &a.PathPrefix, paramAction: &a.Action, paramDecision: &a.Decision,
	} {
		*to = a.term(query, name)
	}
	if a.Decision != "" && !slices.Contains(decisions, a.Decision) {
		a.refuse(paramDecision, "Choose one of the decisions that are offered.")
	}
	if a.PathPrefix != "" && a.PathPrefix[0] != '/' {
		a.refuse(paramPath, "A path begins with a slash, such as /reports.")
	}
	a.address(query)
	a.times(query, now)
	a.before, a.after = a.cursor(query), a.position(query)
	slices.SortFunc(a.faults, func(x, y fault) int { return strings.Compare(x.Param, y.Param) })
	return a
}

func (a *asked) refuse(param, message string) {
	a.faults = append(a.faults, fault{param, message})
}

// term returns what is given for one parameter, without the space around it.
func (a *asked) term(query url.Values, name string) string {
	given := strings.TrimSpace(query.Get(name))
	switch {
	case given == "":
		return ""
	case len(given) > maxTerm:
		a.refuse(name, fmt.Sprintf("This is longer than %d bytes.", maxTerm))
		return ""
	case !utf8.ValidString(given) || strings.ContainsFunc(given, isControl):
		a.refuse(name, "This has characters that no record has.")
		return ""
	}
	a.values.Set(name, given)
	return given
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// address reads an IP address, or a network such as 192.0.2.0/24.
func (a *asked) address(query url.Values) {
	a.Address = a.term(query, paramAddress)
	if a.Address == "" {
		return
	}
	_, err := netip.ParseAddr(a.Address)
	if err != nil {
		_, err = netip.ParsePrefix(a.Address)
	}
	if err != nil || strings.Contains(a.Address, "%") {
		a.refuse(paramAddress, "An address is one such as 192.0.2.7 or 2001:db8::7, or a network such as 192.0.2.0/24.")
		a.Address = ""
	}
}

// times reads from when until when; a range that is chosen by name counts where neither
// is given.
func (a *asked) times(query url.Values, now time.Time) {
	a.Since, a.Until = a.instant(query, paramFrom), a.instant(query, paramUntil)
	if !a.Since.IsZero() || !a.Until.IsZero() {
		if !a.Since.IsZero() && !a.Until.IsZero() && !a.Since.Before(a.Until) {
			a.refuse(paramUntil, "The end is not later than the beginning.")
		}
		return
	}
	a.last = ranges[0].Name
	if name := a.term(query, paramLast); name != "" {
		a.last = name
	}
	at := slices.IndexFunc(ranges, func(r Range) bool { return r.Name == a.last })
	switch {
	case at < 0:
		a.refuse(paramLast, "Choose one of the ranges that are offered.")
	case ranges[at].length > 0:
		a.Since = now.Add(-ranges[at].length)
	}
}

// instants are the forms in which browsers and people write one; without a zone it is UTC.
var instants = []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339Nano, "2006-01-02"}

func (a *asked) instant(query url.Values, name string) time.Time {
	given := a.term(query, name)
	if given == "" {
		return time.Time{}
	}
	for _, form := range instants {
		at, err := time.Parse(form, given)
		if err == nil && at.Year() >= 1970 && at.Year() < 2200 {
			return at.UTC()
		}
	}
	a.refuse(name, "A time is written as 2026-11-22T10:30, in UTC.")
	return time.Time{}
}

// cursor reads where to go on, in whatever words the Store has for it.
func (a *asked) cursor(query url.Values) string {
	given := query.Get(paramBefore)
	if len(given) > maxCursor || !utf8.ValidString(given) {
		a.refuse(paramBefore, "This address is not complete. Search again.")
		return ""
	}
	return given
}

// maxCursor is the length of what a Store names a place by, in bytes.
const maxCursor = 128

// position reads after which record others are news.
func (a *asked) position(query url.Values) uint64 {
	given := query.Get(paramAfter)
	if given == "" {
		return 0
	}
	at, err := strconv.ParseUint(given, 10, 64)
	if err != nil {
		a.refuse(paramAfter, "This address is not complete. Load the page again.")
	}
	return at
}

// with returns the query of an address that looks for the same, but for one parameter;
// an empty value looks for it no more.
func (a *asked) with(name, value string) string {
	values := make(url.Values, len(a.values)+1)
	for key, given := range a.values {
		values[key] = given
	}
	if value == "" {
		values.Del(name)
	} else {
		values.Set(name, value)
	}
	if name == paramFrom || name == paramUntil {
		values.Del(paramLast)
	}
	return values.Encode()
}
