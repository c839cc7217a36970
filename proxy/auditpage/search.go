package auditpage

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// Search is what somebody looks for: records for which every field that is given holds.
// The zero value looks for all.
type Search struct {
	// Person, Tool, Reason, Rule, Session and Request are compared byte for byte, and
	// Person, Tool and Rule by their beginning if they end in "*".
	Person, Tool, Reason, Rule, Session, Request string
	// Path is how the path begins.
	Path string
	// Decision and Action are words of the access log.
	Decision, Action string
	// Address is one address, or a network.
	Address netip.Prefix
	// From and Until bound when the request arrived; Until is not part of it.
	From, Until time.Time

	quiet bool // without the visits of auditors
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

// ranges are those of the form; the first is what is chosen if nothing is.
var ranges = []Range{
	{"24h", "Last 24 hours", 24 * time.Hour},
	{"1h", "Last hour", time.Hour},
	{"15m", "Last 15 minutes", 15 * time.Minute},
	{"7d", "Last 7 days", 7 * 24 * time.Hour},
	{"30d", "Last 30 days", 30 * 24 * time.Hour},
	{"90d", "Last 90 days", 90 * 24 * time.Hour},
	{"all", "All there is", 0},
}

// fault is what is wrong with one field of the form.
type fault struct{ Param, Message string }

// asked is a search as its address has it.
type asked struct {
	Search
	values url.Values // the parameters of the search that were given, as they were understood
	last   string     // the name of the range; empty beside from or until
	before uint64     // older than this position; zero for the newest
	after  uint64     // newer than this position
	faults []fault
}

// parse reads the query of an address. What cannot be understood is among the faults, in
// words for the person who has typed it; what is not known is ignored.
func parse(query url.Values, now time.Time) asked {
	a := asked{values: url.Values{}}
	for name, to := range map[string]*string{
		paramPerson: &a.Person, paramTool: &a.Tool, paramReason: &a.Reason, paramRule: &a.Rule,
		paramSession: &a.Session, paramRequest: &a.Request, paramPath: &a.Path, paramAction: &a.Action,
	} {
		*to = a.term(query, name)
	}
	if a.Decision = a.term(query, paramDecision); a.Decision != "" && !slices.Contains(decisions, a.Decision) {
		a.refuse(paramDecision, "Choose one of the decisions that are offered.")
	}
	if a.Path != "" && a.Path[0] != '/' {
		a.refuse(paramPath, "A path begins with a slash, such as /reports.")
	}
	a.address(query)
	a.times(query, now)
	a.before, a.after = a.position(query, paramBefore), a.position(query, paramAfter)
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
	given := a.term(query, paramAddress)
	if given == "" {
		return
	}
	if addr, err := netip.ParseAddr(given); err == nil && addr.Zone() == "" {
		a.Address = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		return
	}
	network, err := netip.ParsePrefix(given)
	if err != nil {
		a.refuse(paramAddress, "An address is one such as 192.0.2.7 or 2001:db8::7, or a network such as 192.0.2.0/24.")
		return
	}
	a.Address = network.Masked()
}

// times reads from when until when; a range that is chosen by name counts where neither
// is given.
func (a *asked) times(query url.Values, now time.Time) {
	a.From, a.Until = a.instant(query, paramFrom), a.instant(query, paramUntil)
	if !a.From.IsZero() || !a.Until.IsZero() {
		if !a.From.IsZero() && !a.Until.IsZero() && !a.From.Before(a.Until) {
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
		a.From = now.Add(-ranges[at].length)
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

// position reads where to go on.
func (a *asked) position(query url.Values, name string) (at uint64) {
	given := query.Get(name)
	if given == "" {
		return 0
	}
	for _, c := range []byte(given) {
		if c < '0' || c > '9' || len(given) > 19 {
			a.refuse(name, "This address is not complete. Search again.")
			return 0
		}
		at = at*10 + uint64(c-'0')
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

// matches reports whether r is looked for.
func (s *Search) matches(r *Record) bool {
	return (s.From.IsZero() || !r.Time.Before(s.From)) && (s.Until.IsZero() || r.Time.Before(s.Until)) &&
		is(s.Decision, r.Decision) && begins(s.Person, r.Person) && begins(s.Tool, r.Tool) && is(s.Reason, r.Reason) &&
		begins(s.Rule, r.Rule) && is(s.Session, r.Session) && is(s.Request, r.Request) && is(s.Action, r.Action) &&
		strings.HasPrefix(r.Path, s.Path) && s.from(r.Address) && !(s.quiet && r.Action == actionView)
}

func is(wanted, value string) bool { return wanted == "" || wanted == value }

// begins is is for what may end in a star.
func begins(wanted, value string) bool {
	if prefix, ok := strings.CutSuffix(wanted, "*"); ok {
		return strings.HasPrefix(value, prefix)
	}
	return is(wanted, value)
}

// from reports whether an address is one of those looked for.
func (s *Search) from(address string) bool {
	if !s.Address.IsValid() {
		return true
	}
	addr, err := netip.ParseAddr(address)
	return err == nil && s.Address.Contains(addr.Unmap().WithZone(""))
}
