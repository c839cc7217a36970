package provision

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatPoliciesGainLoosens(t *testing.T) {
	a := render("a", []rule{allow("x", "read"), allow("y", "read", "update"), {path: "z", capabilities: []string{"update"}, wrapped: time.Hour}})
	tests := map[string]struct {
		have    string
		details []string
		loosens []string
	}{
		"a path less": {strings.Replace(a, `path "x"`, `path "w"`, 1), []string{`gains "x"`, `loses "w"`}, []string{`gains "x"`}},
		"a path more": {a + `path "s" { capabilities = ["sudo"] }`, []string{`loses "s"`}, nil},
		"a capability less": {
			strings.Replace(a, `"read", "update"`, `"read"`, 1), []string{`gains update of "y"`}, []string{`gains update of "y"`},
		},
		"another capability": {
			strings.Replace(a, `"read", "update"`, `"read", "list", "delete"`, 1),
			[]string{`gains update of "y"`, `loses list and delete of "y"`}, []string{`gains update of "y"`},
		},
		"a denial of a path that is allowed": {strings.Replace(a, `["read"]`, `["deny"]`, 1), []string{`no longer denies "x"`}, []string{`no longer denies "x"`}},
		"a denial more":                      {a + `path "x/y" { capabilities = ["deny"] }`, []string{`no longer denies "x/y"`}, []string{`no longer denies "x/y"`}},
		"shorter wrapping":                   {strings.Replace(a, "3600s", "60s", 1), []string{`other conditions for "z"`}, []string{`other conditions for "z"`}},
		"longer wrapping":                    {strings.Replace(a, "3600s", "7200s", 1), []string{"text differs"}, nil},
		"no wrapping":                        {strings.Replace(strings.Replace(a, "  max_wrapping_ttl = \"3600s\"\n", "", 1), "  min_wrapping_ttl = \"1s\"\n", "", 1), []string{"text differs"}, nil},
		"a condition that we do not know": {
			strings.Replace(a, `["read"]`, `["read"]
  required_parameters = ["version"]`, 1), []string{`other conditions for "x"`}, []string{`other conditions for "x"`},
		},
		"a path in a comment": {
			strings.Replace(a, `path "x" {`, "# path \"x\" {\npath \"w\" {", 1), []string{`gains "x"`, `loses "w"`}, []string{`gains "x"`},
		},
		"garbage": {"garbage", []string{`gains "x"`, `gains "y"`, `gains "z"`}, []string{`gains "x"`, `gains "y"`, `gains "z"`}},
		"JSON":    {`{"path": {"x": {"capabilities": ["read"]}}}`, []string{`gains "x"`, `gains "y"`, `gains "z"`}, []string{`gains "x"`, `gains "y"`, `gains "z"`}},
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
	pki := pkiRole("p", []string{"a"}, "server", time.Hour)
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
// than ours must never pass as one that allows as much.
func FuzzPolicyDifference(f *testing.F) {
	ours := example().gatewayPolicy()
	f.Add(ours)
	f.Add(`path "*" { capabilities = ["sudo"] }`)
	f.Add(`path "secret/data/sallyport/saml" { capabilities = ["deny"] }`)
	f.Add("path \"x\" {\n")
	f.Fuzz(func(t *testing.T, have string) {
		details, loosens := diffPolicies(have, ours)
		if len(details) == 0 || len(details) < len(loosens) {
			t.Fatalf("details %q, loosens %q", details, loosens)
		}
		for path := range parsePolicy(ours) {
			if !strings.Contains(have, path) && !slices.ContainsFunc(loosens, func(line string) bool { return strings.Contains(line, path) }) {
				t.Errorf("gains %q and does not say so: %q", path, loosens)
			}
		}
	})
}
