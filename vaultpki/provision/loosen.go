package provision

import (
	"encoding/json"
	"fmt"
	"net/netip"
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
	whenGone             // a bound that is taken away
)

// directions has the settings of PKI roles and AppRoles that can loosen.
var directions = map[string]direction{
	"allow_any_name": whenOn, "allow_subdomains": whenOn, "allow_glob_domains": whenOn, "allow_wildcard_certificates": whenOn,
	"allowed_domains_template": whenOn, "allowed_uri_sans_template": whenOn, "allow_bare_domains": whenOn, "allow_localhost": whenOn, "allow_ip_sans": whenOn, "server_flag": whenOn, "client_flag": whenOn,
	"code_signing_flag": whenOn, "email_protection_flag": whenOn,
	"enforce_hostnames": whenOff,
	"allowed_domains":   whenGrown, "allowed_uri_sans": whenGrown, "allowed_other_sans": whenGrown, "allowed_user_ids": whenGrown, "allowed_serial_numbers": whenGrown,
	"ext_key_usage": whenGrown, "ext_key_usage_oids": whenGrown, "key_usage": whenGrown,
	"ttl": whenHigher, "max_ttl": whenHigher,
	"not_after": whenGone,

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
	case whenGone:
		return want == "" && show(have, want) != ""
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

// diffPolicies says what a policy gains and loses, and which of that loosens; if
// nothing, that its text differs otherwise. What a text forbids that is not of
// our form is not known, so to replace it loosens.
func diffPolicies(have, want string) (details, loosening []string) {
	before, err := parsePolicy(have)
	if err != nil {
		detail := fmt.Sprintf("replaces what sallyport did not write (%s) and whatever that forbids", err)
		return []string{detail}, []string{detail}
	}
	after, err := parsePolicy(want)
	if err != nil { // then ours are not of our form
		detail := fmt.Sprintf("becomes what cannot be judged (%s)", err)
		return []string{detail}, []string{detail}
	}
	for _, path := range sortedKeys(after) {
		old, known := before[path]
		if detail := after[path].loosens(old, known); detail != "" {
			details, loosening = append(details, detail), append(loosening, detail)
		}
	}
	for _, path := range sortedKeys(before) {
		now, kept := after[path]
		if kept {
			if lost := missing(now.capabilities, before[path].capabilities); len(lost) > 0 && !before[path].denies() {
				details = append(details, fmt.Sprintf("loses %s of %q", strings.Join(lost, " and "), path))
			}
			continue
		}
		detail, loose := before[path].dropped(after)
		if details = append(details, detail); loose {
			loosening = append(loosening, detail)
		}
	}
	if len(details) == 0 {
		details = []string{"text differs"}
	}
	return details, loosening
}

// loosens says in which way r allows more than the rule that its path had, if it
// had one; empty if in none.
func (r rule) loosens(old rule, known bool) string {
	gained := missing(old.capabilities, r.capabilities)
	switch {
	case !known:
		return fmt.Sprintf("gains %q", r.path)
	case old.denies():
		return fmt.Sprintf("no longer denies %q", r.path)
	case len(gained) > 0:
		return fmt.Sprintf("gains %s of %q", strings.Join(gained, " and "), r.path)
	case !r.asStrictAs(old):
		return fmt.Sprintf("other conditions for %q", r.path)
	}
	return ""
}

// dropped says what goes with a rule that after no longer has. It loosens if the
// rule denied, or if a wider one is then for its path.
func (r rule) dropped(after map[string]rule) (detail string, loosens bool) {
	if r.denies() {
		return fmt.Sprintf("no longer denies %q", r.path), true
	}
	for _, path := range sortedKeys(after) {
		// A list of "a/" is asked of the rule for "a" too.
		if stem, glob := strings.CutSuffix(path, "*"); glob && strings.HasPrefix(r.path+"/", stem) {
			return fmt.Sprintf("%q is then for %q", path, r.path), true
		}
	}
	return fmt.Sprintf("loses %q", r.path), false
}

// denies says whether the rule forbids everything.
func (r rule) denies() bool { return slices.Contains(r.capabilities, "deny") }

// asStrictAs says whether the conditions of r are at least those of old.
func (r rule) asStrictAs(old rule) bool {
	return (old.wrapped == 0 || r.wrapped > 0 && r.wrapped <= old.wrapped) &&
		(old.required == "" || r.required == old.required) &&
		(old.forbidden == "" || r.forbidden == old.forbidden)
}
