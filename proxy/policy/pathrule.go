package policy

import (
	"net/http"
	"slices"
	"strings"
)

// ReasonDenied is that of a person whom a PathRule names to be kept out.
const ReasonDenied = "in_deny"

// PathRule is a part of a route that has a rule of its own: some methods, some
// paths. It must not be changed once it is in use; reading it concurrently is safe.
// The zero value covers everything, and lets nobody in.
type PathRule struct {
	// Name stands in the access log before what of the rule decided.
	Name string
	// Methods are those that it covers; nil for all. GET covers HEAD, which asks for
	// the same.
	Methods []string
	// Paths are prefixes by whole segments, and Exact whole paths; it covers what
	// begins with one of the former or is one of the latter. Both nil for all.
	Paths, Exact []string
	// Allow says who may, and Deny who may not all the same.
	Allow, Deny Rule
}

// Covers reports whether a request of that method and path is for this rule to
// decide. path is as it is sent on, escapes and all, and must have one meaning
// alone: this compares bytes.
func (p *PathRule) Covers(method, path string) bool {
	if len(p.Methods) > 0 && !slices.Contains(p.Methods, method) && (method != http.MethodHead || !slices.Contains(p.Methods, http.MethodGet)) {
		return false
	}
	if len(p.Paths) == 0 && len(p.Exact) == 0 {
		return true
	}
	for _, prefix := range p.Paths {
		if Under(path, prefix) {
			return true
		}
	}
	return slices.Contains(p.Exact, path)
}

// Decide is like [Rule.Decide].
func (p *PathRule) Decide(user string, groups []string) Decision {
	if named := p.Deny.Decide(user, groups); named.Verdict == Allow {
		return Decision{Reason: ReasonDenied, Rule: p.Name + "/" + named.Rule}
	}
	decision := p.Allow.Decide(user, groups)
	if decision.Rule == "" {
		decision.Rule = p.Name
	} else {
		decision.Rule = p.Name + "/" + decision.Rule
	}
	return decision
}

// FirstOf returns the index of the first of rules that covers the request, and
// len(rules) if none does.
func FirstOf(rules []PathRule, method, path string) int {
	for i := range rules {
		if rules[i].Covers(method, path) {
			return i
		}
	}
	return len(rules)
}

// Under reports whether path lies under prefix, by whole segments: "/grafana" has
// "/grafana" and "/grafana/x" under it, and not "/grafanax". "/" has everything
// under it. Neither prefix nor path is changed before they are compared.
func Under(path, prefix string) bool {
	if prefix == "/" {
		return true
	}
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}
