// Package policy decides who may open which tool. A decision always carries the
// reason that the access log records, so that nobody has to guess later.
//
// It knows no request and no session: it is given a name and groups that a
// verified sign-on vouched for, and the method and the judged path of what is asked
// for where a [PathRule] decides. Names and groups are compared byte for byte, as
// the identity provider sends them; "Admin" is not "admin".
//
// The zero Rule lets nobody in.
package policy

import "slices"

// Verdict is what was decided.
type Verdict uint8

// The verdicts. The zero value denies.
const (
	Deny Verdict = iota
	Allow
	// Again lets nobody in either: the person may enter, but has to prove anew, or
	// in another way, who they are. See [StepUp].
	Again
)

// String is the word in the access log.
func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Again:
		return "step_up"
	default:
		return "deny"
	}
}

// Decision is a verdict and why. The zero value denies.
type Decision struct {
	Verdict Verdict
	// Reason is a stable code: see the Reason constants.
	Reason string
	// Rule is the part of the route's rule that decided, such as
	// "group:engineers"; empty when none did.
	Rule string
}

// Reasons of decisions that a rule makes.
const (
	ReasonUser        = "user_allowed"
	ReasonGroup       = "group_allowed"
	ReasonAnySignedIn = "any_signed_in"
	ReasonNotListed   = "not_in_allow"
	ReasonNobody      = "route_allows_nobody"
)

// Rule is a route's allow list. It is immutable and safe for concurrent use.
type Rule struct {
	users       map[string]bool
	groups      map[string]bool
	anySignedIn bool
}

// NewRule returns a rule that allows the named users, members of the named
// groups, or, if anySignedIn, whoever is signed in.
func NewRule(users, groups []string, anySignedIn bool) Rule {
	return Rule{users: set(users), groups: set(groups), anySignedIn: anySignedIn}
}

func set(names []string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}

// Decide returns whether user, being a member of groups, may enter. A user
// without a name never may.
func (r Rule) Decide(user string, groups []string) Decision {
	switch {
	case user == "":
		return Decision{Reason: ReasonNotListed}
	case r.users[user]:
		return Decision{Verdict: Allow, Reason: ReasonUser, Rule: "user:" + user}
	}
	for _, group := range groups {
		if r.groups[group] {
			return Decision{Verdict: Allow, Reason: ReasonGroup, Rule: "group:" + group}
		}
	}
	switch {
	case r.anySignedIn:
		return Decision{Verdict: Allow, Reason: ReasonAnySignedIn, Rule: "any_signed_in"}
	case len(r.users) == 0 && len(r.groups) == 0:
		return Decision{Reason: ReasonNobody}
	}
	return Decision{Reason: ReasonNotListed}
}

// Groups are the names of the groups that the rule mentions, sorted.
func (r Rule) Groups() []string {
	names := make([]string, 0, len(r.groups))
	for name := range r.groups {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
