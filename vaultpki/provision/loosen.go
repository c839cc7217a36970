package provision

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// LooseningError is a plan that was not applied because it widens what somebody
// may do, or how long.
type LooseningError struct {
	Changes []Change // those that loosen; never empty
}

// Error names each change that loosens, on a line of its own.
func (e *LooseningError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nothing was changed, because this would loosen what is in Vault (%d)", len(e.Changes))
	for _, change := range e.Changes {
		b.WriteString("\n  " + change.String())
	}
	return b.String()
}

// Loosening returns those of changes that loosen. To make what was absent is no
// loosening: nobody relied on its absence.
func Loosening(changes []Change) []Change {
	var loose []Change
	for _, change := range changes {
		if !change.Create && len(change.Loosens) > 0 {
			loose = append(loose, change)
		}
	}
	return loose
}

// direction says in which way a setting loosens.
type direction int

const (
	neutral    direction = iota
	whenOn               // true where it was false
	whenOff              // false where it was true
	whenGrown            // an element more
	whenHigher           // a higher number, of which 0 is the highest: no bound
	whenMore             // a higher number, of which 0 is the lowest
	whenWider            // networks that were not in those before; none is all
)

// directions has the settings of PKI roles and AppRoles that can loosen.
var directions = map[string]direction{
	"allow_any_name": whenOn, "allow_subdomains": whenOn, "allow_glob_domains": whenOn, "allow_wildcard_certificates": whenOn,
	"allow_bare_domains": whenOn, "allow_localhost": whenOn, "allow_ip_sans": whenOn, "server_flag": whenOn, "client_flag": whenOn,
	"code_signing_flag": whenOn, "email_protection_flag": whenOn,
	"enforce_hostnames": whenOff,
	"allowed_domains":   whenGrown, "allowed_uri_sans": whenGrown, "allowed_other_sans": whenGrown, "ext_key_usage_oids": whenGrown, "key_usage": whenGrown,
	"ttl": whenHigher, "max_ttl": whenHigher,

	"bind_secret_id": whenOff, "token_no_default_policy": whenOff,
	"token_policies":        whenGrown,
	"secret_id_bound_cidrs": whenWider, "token_bound_cidrs": whenWider,
	"secret_id_num_uses": whenHigher, "secret_id_ttl": whenHigher,
	"token_ttl": whenHigher, "token_max_ttl": whenHigher, "token_explicit_max_ttl": whenHigher, "token_num_uses": whenHigher,
	"token_period": whenMore, // 0 is no period: such a token ends
}

// loosens says whether a setting that Vault has widens when it becomes want.
// What Vault has may be anything.
func loosens(name string, have, want any) bool {
	switch directions[name] {
	case whenOn:
		return want == true && show(have, want) != "true"
	case whenOff:
		return want == false && show(have, want) != "false"
	case whenGrown:
		return len(missing(texts(have), texts(want))) > 0
	case whenHigher:
		before, after := number(have), number(want)
		return before != 0 && (after == 0 || after > before)
	case whenMore:
		return number(want) > number(have)
	case whenWider:
		return wider(texts(have), texts(want))
	}
	return false
}

// texts returns a list as Vault or a Spec writes it.
func texts(value any) []string {
	switch list := value.(type) {
	case []string:
		return list
	case []any:
		var out []string
		for _, item := range list {
			out = append(out, fmt.Sprint(item))
		}
		return out
	}
	return nil
}

// number returns a number, or a duration in seconds.
func number(value any) int64 {
	switch n := value.(type) {
	case time.Duration:
		return int64(n.Seconds())
	case int:
		return int64(n)
	case json.Number:
		whole, _ := n.Int64()
		return whole
	}
	return 0
}

// missing returns those of b that are not in a.
func missing(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(b), func(text string) bool { return slices.Contains(a, text) })
}

// wider says whether some address is in after and was not in before. Each
// network counts alone: two halves do not make a whole here.
func wider(before, after []string) bool {
	if len(before) == 0 {
		return false
	}
	return len(after) == 0 || slices.ContainsFunc(after, func(text string) bool {
		inner, err := parseNetwork(text)
		return err != nil || !slices.ContainsFunc(before, func(text string) bool {
			outer, err := parseNetwork(text)
			return err == nil && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
		})
	})
}

// parseNetwork reads a network; Vault shows one of a single address without its
// bits.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

// grant is what a policy allows on one path.
type grant struct {
	capabilities []string
	conditions   string // everything beside the capabilities, as it is written
	wrapped      bool   // the conditions are a wrapping of at least 1s and at most max
	max          int64
}

var (
	comment    = regexp.MustCompile(`(?m)^\s*#.*$`)
	pathBlock  = regexp.MustCompile(`\s*path\s+"([^"]*)"\s*\{([^{}]*)\}`)
	capability = regexp.MustCompile(`capabilities\s*=\s*\[([^\]]*)\]`)
	wrapping   = regexp.MustCompile(`^min_wrapping_ttl = "1s" max_wrapping_ttl = "([0-9]+)s"$`)
)

// parsePolicy reads a policy of the plain form in which ours are written. Of
// another it finds less than there is: then more counts as a loosening than is
// one, and a person looks.
func parsePolicy(text string) map[string]grant {
	grants := map[string]grant{}
	for _, block := range pathBlock.FindAllStringSubmatch(comment.ReplaceAllString(text, ""), -1) {
		var g grant
		if list := capability.FindStringSubmatch(block[2]); list != nil {
			for word := range strings.SplitSeq(list[1], ",") {
				if word = strings.Trim(strings.TrimSpace(word), `"`); word != "" {
					g.capabilities = append(g.capabilities, word)
				}
			}
		}
		g.conditions = strings.Join(strings.Fields(capability.ReplaceAllString(block[2], "")), " ")
		if bound := wrapping.FindStringSubmatch(g.conditions); bound != nil {
			g.wrapped, g.max = true, number(json.Number(bound[1]))
		}
		grants[block[1]] = g
	}
	return grants
}

// diffPolicies says what a policy gains and loses, and which of that loosens; if
// nothing, that its text differs otherwise.
func diffPolicies(have, want string) (details, loosening []string) {
	before, after := parsePolicy(have), parsePolicy(want)
	loosen := func(detail string) { details, loosening = append(details, detail), append(loosening, detail) }
	for _, path := range sortedKeys(after) {
		old, known := before[path]
		gained := missing(old.capabilities, after[path].capabilities)
		switch {
		case !known:
			loosen(fmt.Sprintf("gains %q", path))
		case slices.Contains(old.capabilities, "deny"):
			loosen(fmt.Sprintf("no longer denies %q", path))
		case len(gained) > 0:
			loosen(fmt.Sprintf("gains %s of %q", strings.Join(gained, " and "), path))
		case !after[path].asStrictAs(old):
			loosen(fmt.Sprintf("other conditions for %q", path))
		}
	}
	for _, path := range sortedKeys(before) {
		now, kept := after[path]
		lost := missing(now.capabilities, before[path].capabilities)
		switch denied := slices.Contains(before[path].capabilities, "deny"); {
		case !kept && denied:
			loosen(fmt.Sprintf("no longer denies %q", path))
		case !kept:
			details = append(details, fmt.Sprintf("loses %q", path))
		case len(lost) > 0 && !denied:
			details = append(details, fmt.Sprintf("loses %s of %q", strings.Join(lost, " and "), path))
		}
	}
	if len(details) == 0 {
		details = []string{"text differs"}
	}
	return details, loosening
}

// asStrictAs says whether the conditions of g are at least those of old.
func (g grant) asStrictAs(old grant) bool {
	return g.conditions == old.conditions || old.conditions == "" || g.wrapped && old.wrapped && g.max <= old.max
}
