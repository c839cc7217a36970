package provision

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatPoliciesGainLoosens(t *testing.T) {
	z := rule{path: "z", capabilities: []string{"update"}, wrapped: time.Hour}
	a := render("a", []rule{allow("x", "read"), allow("y", "read", "update"), z, allow("w/*", "read", "list")})
	with := func(rules ...rule) string { return a + stanzas(rules...) }
	tests := map[string]struct {
		have    string
		details []string
		loosens []string
	}{
		"a path less": {strings.Replace(a, `path "x"`, `path "v"`, 1), []string{`gains "x"`, `loses "v"`}, []string{`gains "x"`}},
		"a path more": {with(allow("s", "sudo")), []string{`loses "s"`}, nil},
		"a capability less": {
			strings.Replace(a, `"read", "update"`, `"read"`, 1), []string{`gains update of "y"`}, []string{`gains update of "y"`},
		},
		"another capability": {
			strings.Replace(a, `"read", "update"`, `"read", "delete"`, 1),
			[]string{`gains update of "y"`, `loses delete of "y"`}, []string{`gains update of "y"`},
		},
		"a denial of a path that is allowed": {strings.Replace(a, `["read"]`, `["deny"]`, 1), []string{`no longer denies "x"`}, []string{`no longer denies "x"`}},
		"a denial more":                      {with(allow("x/y", "deny")), []string{`no longer denies "x/y"`}, []string{`no longer denies "x/y"`}},
		"a narrower rule below a glob":       {with(allow("w/locked", "read")), []string{`"w/*" is then for "w/locked"`}, []string{`"w/*" is then for "w/locked"`}},
		"a narrower glob below a glob":       {with(allow("w/locked/*", "read")), []string{`"w/*" is then for "w/locked/*"`}, []string{`"w/*" is then for "w/locked/*"`}},
		"a rule that a list below asks":      {with(allow("w", "read")), []string{`"w/*" is then for "w"`}, []string{`"w/*" is then for "w"`}},
		"a rule beside a glob":               {with(allow("wide", "read")), []string{`loses "wide"`}, nil},
		"a glob instead of a rule": {
			strings.Replace(a, `path "w/*"`, `path "w/a"`, 1),
			[]string{`gains "w/*"`, `"w/*" is then for "w/a"`}, []string{`gains "w/*"`, `"w/*" is then for "w/a"`},
		},
		"a wider glob":     {with(allow("w-and-more/*", "read"), allow("v/*", "sudo")), []string{`loses "v/*"`, `loses "w-and-more/*"`}, nil},
		"shorter wrapping": {strings.Replace(a, "3600s", "60s", 1), []string{`other conditions for "z"`}, []string{`other conditions for "z"`}},
		"longer wrapping":  {strings.Replace(a, "3600s", "7200s", 1), []string{"text differs"}, nil},
		"no wrapping":      {strings.Replace(strings.Replace(a, "  max_wrapping_ttl = \"3600s\"\n", "", 1), "  min_wrapping_ttl = \"1s\"\n", "", 1), []string{"text differs"}, nil},
		"a parameter that is required": {
			strings.Replace(a, "[\"read\"]\n", "[\"read\"]\n  required_parameters = [\"version\"]\n", 1),
			[]string{`other conditions for "x"`}, []string{`other conditions for "x"`},
		},
		"a parameter that is forbidden": {
			strings.Replace(a, "[\"read\"]\n", "[\"read\"]\n  denied_parameters = { \"version\" = [] }\n", 1),
			[]string{`other conditions for "x"`}, []string{`other conditions for "x"`},
		},
		"the same twice":  {with(allow("x", "read")), []string{"text differs"}, nil},
		"another purpose": {strings.Replace(a, "# a.", "# b.", 1), []string{"text differs"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			details, loosens := diffPolicies(test.have, a)
			if diff := cmp.Diff(test.details, details); diff != "" {
				t.Errorf("details (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.loosens, loosens); diff != "" {
				t.Errorf("loosens (-want +got):\n%s", diff)
			}
		})
	}
}

// stanzas renders rules without a heading.
func stanzas(rules ...rule) string {
	_, text, _ := strings.Cut(render("", rules), "\n")
	return text
}

// What is not to the letter of our form may forbid in ways that we do not know.
func TestToReplaceWhatIsNotUnderstoodLoosens(t *testing.T) {
	const path = `path "kv/data/acme/locked" {` + "\n"
	ours := render("a", []rule{allow("kv/data/acme/*", "create", "read", "update"), allow("kv/data/saml", "read")})
	saml := stanzas(allow("kv/data/saml", "read"))
	for name, test := range map[string]struct{ have, line string }{
		"an older way to deny":        {ours + path + "  policy = \"deny\"\n}\n", "line 8, "},
		"braces in a denial":          {ours + path + "  capabilities = [\"deny\"]\n  allowed_parameters = { }\n}\n", "line 8, "},
		"parameters that are allowed": {ours + path + "  capabilities = [\"create\"]\n  allowed_parameters = { \"a\" = [] }\n}\n", "line 8, "},
		"a rule on a line":            {ours + `path "x" { capabilities = ["deny"] }` + "\n", "line 8, "},
		"a quoted key":                {ours + `"` + strings.Replace(path, " ", `" `, 1) + "  capabilities = [\"deny\"]\n}\n", "line 8, "},
		"a template":                  {ours + stanzas(allow("kv/data/acme/{{identity.entity.id}}", "deny")), "line 8, "},
		"a plus":                      {ours + stanzas(allow("kv/data/+/locked", "deny")), "line 8, "},
		"a glob that begins a name":   {ours + stanzas(allow("kv/data/acme/lock*", "deny")), "line 8, "},
		"two rules of one path":       {ours + stanzas(allow("kv/data/saml", "deny")), "line 8, "},
		"two, and the denial first":   {strings.Replace(ours, "path", stanzas(allow("kv/data/saml", "deny"))+"path", 1), "line 8, "},
		"a rule in a comment":         {strings.Replace(ours, saml, "/*"+saml+"*/\n", 1), `line 5, "/*path`},
		"a rule in comments":          {strings.Replace(ours, saml, "//"+strings.ReplaceAll(saml, "\n", "\n//"), 1), `line 5, "//path`},
		"a comment in a rule":         {strings.Replace(ours, "  capabilities = [\"read\"]\n", "  // capabilities = [\"read\"]\n  capabilities = [\"list\"]\n", 1), "line 5, "},
		"a heading that goes on":      {strings.Replace(ours, "# a.", "# a\r.", 1), "line 1, "},
		"no heading":                  {saml, "line 1, "},
		"no end":                      {strings.TrimSuffix(ours, "\n"), "line 5, "},
		"JSON":                        {`{"path": {"kv/data/saml": {"capabilities": ["read"]}}}`, "line 1, "},
		"control characters":          {ours + "\x1b[2J\n", `line 8, "\x1b[2J"`},
		"nothing":                     {"", `line 1, ""`},
	} {
		t.Run(name, func(t *testing.T) {
			details, loosens := diffPolicies(test.have, ours)
			if len(loosens) != 1 || !cmp.Equal(details, loosens) || !strings.Contains(loosens[0], "did not write ("+test.line) {
				t.Errorf("details %q, loosens %q; expected %s", details, loosens, test.line)
			}
		})
	}
}

// list is a list as an answer of Vault holds it.
func list(texts ...any) []any { return texts }

func TestSettingsLoosenInOneDirection(t *testing.T) {
	tests := map[string]struct {
		setting    string
		have, want any
		loosens    bool
	}{
		"any name":                        {"allow_any_name", false, true, true},
		"no longer any name":              {"allow_any_name", true, false, false},
		"a usage more":                    {"client_flag", nil, true, true},
		"hosts are no longer enforced":    {"enforce_hostnames", true, false, true},
		"a SecretID is no longer needed":  {"bind_secret_id", true, false, true},
		"the default policy":              {"token_no_default_policy", true, false, true},
		"a name more":                     {"allowed_domains", list("a"), []string{"a", "b"}, true},
		"another name":                    {"allowed_domains", list("a"), []string{"b"}, true},
		"a name less":                     {"allowed_domains", list("a", "b"), []string{"a"}, false},
		"a SPIFFE ID more":                {"allowed_uri_sans", nil, []string{"spiffe://a/b"}, true},
		"a policy more":                   {"token_policies", list("a"), []string{"a", "b"}, true},
		"longer leaves":                   {"max_ttl", json.Number("60"), 2 * time.Minute, true},
		"shorter leaves":                  {"max_ttl", json.Number("60"), time.Second, false},
		"leaves without a bound":          {"max_ttl", json.Number("60"), time.Duration(0), true},
		"leaves with a bound":             {"max_ttl", json.Number("0"), time.Hour, false},
		"a SecretID of more uses":         {"secret_id_num_uses", json.Number("1"), 2, true},
		"a SecretID of any number":        {"secret_id_num_uses", json.Number("1"), 0, true},
		"a SecretID of one use":           {"secret_id_num_uses", json.Number("0"), 1, false},
		"a period":                        {"token_period", json.Number("0"), time.Hour, true},
		"no period":                       {"token_period", json.Number("3600"), time.Duration(0), false},
		"a longer token":                  {"token_ttl", json.Number("60"), time.Hour, true},
		"networks, of any":                {"token_bound_cidrs", nil, []string{"10.0.0.0/8"}, false},
		"any, of networks":                {"token_bound_cidrs", list("10.0.0.0/8"), []string{}, true},
		"a network inside":                {"secret_id_bound_cidrs", list("10.0.0.0/8"), []string{"10.3.0.0/16"}, false},
		"a network around":                {"secret_id_bound_cidrs", list("10.3.0.0/16"), []string{"10.0.0.0/8"}, true},
		"a network beside":                {"secret_id_bound_cidrs", list("10.0.0.0/8"), []string{"10.0.0.0/8", "192.0.2.0/24"}, true},
		"one address as Vault writes it":  {"token_bound_cidrs", list("10.0.3.7"), []string{"10.0.3.7/32"}, false},
		"networks that cannot be read":    {"token_bound_cidrs", list("garbage"), []string{"10.0.0.0/8"}, true},
		"no end on a date":                {"not_after", "2030-01-01T00:00:00Z", "", true},
		"no date, as before":              {"not_after", nil, "", false},
		"a usage by its name":             {"ext_key_usage", nil, []string{"ClientAuth"}, true},
		"what says nothing of privileges": {"key_bits", json.Number("384"), 256, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := loosens(test.setting, test.have, test.want); got != test.loosens {
				t.Errorf("%s from %v to %v: loosens is %t", test.setting, test.have, test.want, got)
			}
		})
	}
}

// Every setting that we write has been thought about: a new one that widens must
// not slip through as neutral.
func TestDirectionsAreOfSettingsThatExist(t *testing.T) {
	pki := pkiRole("p", "r", []string{"a"}, "server", time.Hour)
	login := appRole("approle", "a", Access{TokenTTL: time.Hour})
	harmless := []string{"require_cn", "key_type", "key_bits", "generate_lease", "no_store", "token_type"}
	known := map[string]bool{}
	for _, r := range []role{pki, login} {
		for name := range r.settings {
			known[name] = true
			if directions[name] == neutral && !slices.Contains(harmless, name) {
				t.Errorf("%s of %s: in which direction does it loosen?", name, r.object)
			}
		}
	}
	for name := range directions {
		if !known[name] {
			t.Errorf("%s: no role has it", name)
		}
	}
}

// What is in Vault may be anything; a policy that it has and that allows less
// than ours must never pass as one that allows as much. What passes is to the
// letter what we would write.
func FuzzPolicyDifference(f *testing.F) {
	spec := example()
	spec.ACMEPath, spec.ClientRevocation = "sallyport/acme", true
	ours := spec.gatewayPolicy()
	f.Add(ours)
	f.Add(ours + stanzas(allow("secret/data/sallyport/acme/locked", "read")))
	f.Add(`path "*" { capabilities = ["sudo"] }`)
	f.Add(`path "secret/data/sallyport/saml" { capabilities = ["deny"] }`)
	f.Add("path \"x\" {\n")
	f.Fuzz(func(t *testing.T, have string) {
		details, loosens := diffPolicies(have, ours)
		if len(details) == 0 || len(details) < len(loosens) {
			t.Fatalf("details %q, loosens %q", details, loosens)
		}
		rules, err := parsePolicy(have)
		if err != nil {
			if len(loosens) == 0 {
				t.Fatalf("to replace what is not understood does not loosen: %v", err)
			}
			return
		}
		rest := have[strings.Index(have, "\n")+1:]
		for _, r := range rules {
			if rest = strings.ReplaceAll(rest, stanzas(r), ""); strings.Contains(rest, "path "+strconv.Quote(r.path)+" ") {
				t.Errorf("%q was read otherwise than it is written", r.path)
			}
		}
		if rest != "" {
			t.Errorf("was not read: %q", rest)
		}
	})
}
