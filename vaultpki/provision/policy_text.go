package provision

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// render writes a policy in Vault's language. What it writes, parsePolicy reads.
func render(purpose string, rules []rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s. Written by sallyport provision; changes are reverted by it.\n", purpose)
	for _, r := range rules {
		fmt.Fprintf(&b, "path %q {\n  capabilities = [\"%s\"]\n", r.path, strings.Join(r.capabilities, `", "`))
		if r.wrapped > 0 {
			fmt.Fprintf(&b, "  min_wrapping_ttl = \"1s\"\n  max_wrapping_ttl = \"%ds\"\n", int(r.wrapped.Seconds()))
		}
		if r.required != "" {
			fmt.Fprintf(&b, "  required_parameters = [%q]\n", r.required)
		}
		if r.forbidden != "" {
			fmt.Fprintf(&b, "  denied_parameters = { %q = [] }\n", r.forbidden)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// The form in which render writes.
var (
	heading = regexp.MustCompile(`^# [ -~]*\. Written by sallyport provision; changes are reverted by it\.\n`)
	stanza  = regexp.MustCompile(`^path "([^"\n]+)" \{\n` +
		`  capabilities = \["([a-z]+(?:", "[a-z]+)*)"\]\n` +
		`(?:  min_wrapping_ttl = "1s"\n  max_wrapping_ttl = "([1-9][0-9]{0,8})s"\n)?` +
		`(?:  required_parameters = \["([a-z_]+)"\]\n)?` +
		`(?:  denied_parameters = \{ "([a-z_]+)" = \[\] \}\n)?` +
		`\}\n`)
)

// parsePolicy reads a policy of exactly the form in which ours are written, to
// the letter, and no other: Vault's language has more ways to forbid something
// than are known here. The error says where a text leaves the form.
func parsePolicy(text string) (map[string]rule, error) {
	head := heading.FindString(text)
	if head == "" {
		return nil, unlike(text, 0)
	}
	rules := map[string]rule{}
	for at := len(head); at < len(text); {
		found := stanza.FindStringSubmatch(text[at:])
		if found == nil || wire.CheckPath(strings.TrimSuffix(found[1], "/*")) != nil {
			return nil, unlike(text, at)
		}
		r := rule{path: found[1], capabilities: strings.Split(found[2], `", "`), required: found[4], forbidden: found[5]}
		if found[3] != "" {
			seconds, err := strconv.Atoi(found[3])
			if err != nil {
				return nil, unlike(text, at)
			}
			r.wrapped = time.Duration(seconds) * time.Second
		}
		// Vault joins two rules of one path into a third.
		if other, twice := rules[r.path]; twice && !reflect.DeepEqual(other, r) {
			return nil, unlike(text, at)
		}
		rules[r.path] = r
		at += len(found[0])
	}
	return rules, nil
}

// unlike is the error about a text that leaves our form at that place.
func unlike(text string, at int) error {
	line, _, _ := strings.Cut(text[at:], "\n")
	if len(line) > 80 {
		line = line[:80] + "..."
	}
	return fmt.Errorf("line %d, %q", strings.Count(text[:at], "\n")+1, line)
}
