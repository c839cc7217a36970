package provision

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// example is a Spec with everything filled in by its defaults.
func example() Spec {
	return Spec{
		EdgeHosts: []string{"door.example.com"}, SPEntityID: "https://door.example.com/saml/metadata",
		Sidecars: []Sidecar{{Name: "notes.backend.sallyport.internal"}},
	}.withDefaults()
}

func TestDefaultsAreTheProductsNames(t *testing.T) {
	access := Access{TokenTTL: 24 * time.Hour, SecretIDTTL: 25 * time.Hour}
	authorityOf := func(side string) Authority {
		return Authority{
			RootMount:    "pki-" + side + "-root",
			Root:         Certificate{Name: "Sallyport " + side + " root", Life: 10 * year, Key: "ec-p256"},
			Intermediate: Certificate{Name: "Sallyport " + side + " intermediate", Life: 3 * year, Key: "ec-p256"},
		}
	}
	want := Spec{
		EdgeAuthority: authorityOf("edge"), BackendAuthority: authorityOf("backend"), GatewayAccess: access,
		IntroducerPolicy: "sallyport-introducer", Driver: Driver{Policy: "sallyport-secret-driver", Access: access},
		Transit:       Transit{Mount: "transit", Type: "ed25519", LogPath: "sallyport/log", VerifierPolicy: "sallyport-verifier"},
		AuditorPolicy: "sallyport-auditor", HeirTTL: 24 * time.Hour,
		KVMount: "secret", SAMLPath: "sallyport/saml", SessionPath: "sallyport/session", AssertionPath: "sallyport/assertion", GatewayConfigPath: "sallyport/gateway",
		EdgeMount: "pki-edge", EdgeRole: "sallyport-edge", EdgeHosts: []string{"door.example.com"},
		BackendMount: "pki-backend", ClientRole: "sallyport-gateway", ClientName: "gateway.sallyport.internal",
		AssertionRole: "sallyport-assertion", AssertionName: "assertion.sallyport.internal",
		Sidecars: []Sidecar{{
			Role: "sallyport-sidecar-notes", PKIRole: "sidecar-notes", Name: "notes.backend.sallyport.internal",
			ConfigPath: "sallyport/sidecar/notes", Access: access,
		}},
		AuthMount: "approle", GatewayRole: "sallyport-gateway", SPEntityID: "https://door.example.com/saml/metadata",
		TokenPeriod: 24 * time.Hour, CertTTL: 24 * time.Hour,
	}
	if diff := cmp.Diff(want, example()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	given := Spec{KVMount: "kv", EdgeRole: "edge", TokenPeriod: time.Hour, Sidecars: []Sidecar{{Name: "a.b", Role: "mine"}}}
	got := given.withDefaults()
	if got.KVMount != "kv" || got.EdgeRole != "edge" || got.TokenPeriod != time.Hour || got.Sidecars[0].Role != "mine" {
		t.Errorf("a default replaced what was given: %+v", got)
	}
	if given.Sidecars[0].PKIRole != "" {
		t.Error("the caller's Spec was changed")
	}
}

// paths returns what a policy allows, as "capability path".
func paths(policy string) []string {
	var allowed []string
	var path string
	for line := range strings.Lines(policy) {
		line = strings.TrimSpace(line)
		if rest, found := strings.CutPrefix(line, `path "`); found {
			path = strings.TrimSuffix(rest, `" {`)
		}
		if rest, found := strings.CutPrefix(line, `capabilities = ["`); found {
			allowed = append(allowed, strings.ReplaceAll(strings.TrimSuffix(rest, `"]`), `", "`, ",")+" "+path)
		}
		if rest, found := strings.CutPrefix(line, `required_parameters = ["`); found {
			allowed[len(allowed)-1] += " with " + strings.TrimSuffix(rest, `"]`)
		}
		if rest, found := strings.CutPrefix(line, `denied_parameters = { "`); found {
			allowed[len(allowed)-1] += " without " + strings.TrimSuffix(rest, `" = [] }`)
		}
		if rest, found := strings.CutPrefix(line, `max_wrapping_ttl = "`); found {
			allowed[len(allowed)-1] += " wrapped " + strings.TrimSuffix(rest, `"`)
		}
	}
	return allowed
}

func TestPoliciesAllowThisAndNothingElse(t *testing.T) {
	s := example()
	asked := s
	asked.EdgeRevocation, asked.ClientRevocation, asked.ACMEPath, asked.NoHeirs = true, true, "sallyport/acme", true
	asked.Transit.Key, asked.ACMEBindingPath = "checkpoints", "sallyport/acme-account"
	asked.AuditPath, asked.HashDevice = "sallyport/audit", "file"
	asked.Driver.KVPaths, asked.CredentialPaths = []string{"apps/notes"}, []string{"tools/notes"}
	driven := s
	driven.Driver.AppRole = true
	gateway := []string{
		"read secret/data/sallyport/saml",
		"read secret/data/sallyport/session",
		"read secret/data/sallyport/assertion",
		"read secret/data/sallyport/gateway",
		"update pki-edge/sign/sallyport-edge without not_after",
		"read pki-edge/cert/ca_chain",
		"update pki-backend/sign/sallyport-gateway without not_after",
		"read pki-backend/cert/ca_chain",
		"update pki-backend/sign/sallyport-assertion without not_after",
	}
	own := []string{"update auth/token/renew-self", "read auth/token/lookup-self"}
	mint := []string{
		"update auth/approle/role/sallyport-gateway/secret-id wrapped 3600s",
		"update auth/approle/role/sallyport-sidecar-notes/secret-id wrapped 3600s",
	}
	tests := map[string]struct {
		policy string
		want   []string
	}{
		"gateway": {s.gatewayPolicy(), slices.Concat(gateway, []string{"update auth/approle/role/sallyport-gateway/secret-id wrapped 86400s"}, own)},
		"gateway with all that can be asked for, without heirs": {asked.gatewayPolicy(), slices.Concat(
			gateway[:6], []string{"update pki-edge/revoke with certificate"}, gateway[6:8], []string{"update pki-backend/revoke with certificate"}, gateway[8:], []string{
				"create,read,update secret/data/sallyport/acme/*",
				"create,update,delete,list secret/metadata/sallyport/acme/*",
				"read secret/data/sallyport/acme-account",
				"read secret/data/sallyport/audit",
				"update sys/audit-hash/file",
				"read secret/data/tools/notes",
				"update transit/sign/checkpoints", "read transit/keys/checkpoints",
				"create,read,update secret/data/sallyport/log/*", "list secret/metadata/sallyport/log/*",
			}, own, []string{"update sys/capabilities-self"})},
		"sidecar": {s.sidecarPolicy(s.Sidecars[0]), slices.Concat([]string{
			"read secret/data/sallyport/sidecar/notes",
			"update pki-backend/sign/sidecar-notes without not_after",
			"read pki-backend/cert/ca_chain",
			"update auth/approle/role/sallyport-sidecar-notes/secret-id wrapped 86400s",
		}, own)},
		"introducer":                        {s.introducerPolicy(), mint},
		"secret driver":                     {s.driverPolicy(), slices.Concat(mint, own)},
		"who verifies":                      {asked.verifierPolicy(), []string{"read transit/keys/checkpoints", "read secret/data/sallyport/log/*", "read,list secret/metadata/sallyport/log/*"}},
		"auditor":                           {asked.auditorPolicy(), slices.Concat([]string{"read secret/data/sallyport/audit"}, own)},
		"secret driver that serves":         {asked.driverPolicy(), slices.Concat(mint, []string{"read secret/data/apps/notes"}, own)},
		"secret driver that logs in itself": {driven.driverPolicy(), slices.Concat(mint, []string{"update auth/approle/role/sallyport-secret-driver/secret-id wrapped 86400s"}, own)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, paths(test.policy)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			rules, err := parsePolicy(test.policy)
			if err != nil {
				t.Fatalf("our own policy is not understood: %v", err)
			}
			for path, r := range rules {
				if strings.HasSuffix(path, "/secret-id") != (r.wrapped > 0) || strings.Contains(path, "/sign/s") != (r.forbidden == "not_after") {
					t.Errorf("conditions of %s: %+v", path, r)
				}
			}
		})
	}
}

func TestSettingsAreComparedAsVaultWritesThem(t *testing.T) {
	tests := map[string]struct {
		have, want any
		same       bool
	}{
		"seconds and a duration":         {json.Number("86400"), 24 * time.Hour, true},
		"other seconds":                  {json.Number("3600"), 24 * time.Hour, false},
		"absent and no duration":         {nil, time.Duration(0), true},
		"absent and a duration":          {nil, time.Hour, false},
		"not a number":                   {json.Number("1h"), time.Hour, false},
		"numbers":                        {json.Number("256"), 256, true},
		"absent and zero":                {nil, 0, true},
		"truth":                          {true, true, true},
		"absent and false":               {nil, false, true},
		"truth and falsehood":            {true, false, false},
		"text for truth":                 {"true", true, true},
		"lists in another order":         {[]any{"b", "a"}, []string{"a", "b"}, true},
		"absent and an empty list":       {nil, []string{}, true},
		"empty list and an empty list":   {[]any{}, []string{}, true},
		"list with one more":             {[]any{"a", "b", "*"}, []string{"a", "b"}, false},
		"texts":                          {"service", "service", true},
		"Vault's default token type":     {"default", "service", false},
		"absent and a text":              {nil, "service", false},
		"list in place of a single text": {[]any{"ec"}, "ec", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			have, want := show(test.have, test.want), show(test.want, test.want)
			if (have == want) != test.same {
				t.Errorf("%s and %s: same is %t", have, want, !test.same)
			}
		})
	}
}

func TestFieldsAreFilledInAndNeverOverwritten(t *testing.T) {
	pair := field{names: []string{"key", "cert"}, generate: func() ([]string, error) { return []string{"k", "c"}, nil }}
	given := field{names: []string{"metadata"}, given: "<new/>"}
	tests := map[string]struct {
		field  field
		data   map[string]any
		detail string
		fault  string
	}{
		"no secret":           {pair, nil, "key and cert (generated)", ""},
		"empty fields":        {pair, map[string]any{"key": "", "cert": ""}, "key and cert (generated)", ""},
		"both there":          {pair, map[string]any{"key": "a", "cert": "b"}, "", ""},
		"only the first":      {pair, map[string]any{"key": "a"}, "", "it has key but not all of key and cert"},
		"only the second":     {pair, map[string]any{"cert": "b"}, "", "it has cert but not all of key and cert"},
		"given, absent":       {given, nil, "metadata (given)", ""},
		"given, there":        {given, map[string]any{"metadata": "<new/>"}, "", ""},
		"given, another":      {given, map[string]any{"metadata": "<old/>"}, "metadata (replaced)", ""},
		"given, not a string": {given, map[string]any{"metadata": json.Number("7")}, "metadata (given)", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			detail, err := test.field.compare(test.data)
			if detail != test.detail || (err == nil) != (test.fault == "") || (err != nil && !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("compare = %q, %v; expected %q, %q", detail, err, test.detail, test.fault)
			}
		})
	}
}

func TestLongEntityIDStillMakesACertificate(t *testing.T) {
	values, err := newKeyPair("https://" + strings.Repeat("long.", 40) + "example.com/saml/metadata")
	if err != nil || len(values) != 2 {
		t.Errorf("key pair of %d values, %v", len(values), err)
	}
}

func TestChangeReadsAsALineOfADiff(t *testing.T) {
	for want, change := range map[string]Change{
		"! approle x: a 1 -> 2 (loosens), b 2 -> 1": {Object: "approle x", Details: []string{"a 1 -> 2", "b 2 -> 1"}, Loosens: []string{"a 1 -> 2"}},
		"+ policy x": {Create: true, Object: "policy x"},
		"~ approle x: token_period 0s -> 24h0m0s":  {Object: "approle x", Details: []string{"token_period 0s -> 24h0m0s"}},
		"+ secret s/p: a (generated), b (given)":   {Create: true, Object: "secret s/p", Details: []string{"a (generated)", "b (given)"}},
		"~ policy x: gains \"y\", loses \"z\"":     {Object: "policy x", Details: []string{`gains "y"`, `loses "z"`}},
		"~ mount pki: max_lease_ttl 1h0m0s -> 10h": {Object: "mount pki", Details: []string{"max_lease_ttl 1h0m0s -> 10h"}},
	} {
		if got := change.String(); got != want {
			t.Errorf("change reads %q, expected %q", got, want)
		}
	}
}

// A wildcard in a name would make a policy or a PKI role match other things.
func FuzzSpecNames(f *testing.F) {
	f.Add("secret", "sallyport/saml", "door.example.com", "notes.internal")
	f.Add("secret/+", "*", "*.example.com", "a b")
	f.Add("", "../sys", "", "x\"")
	f.Fuzz(func(t *testing.T, mount, path, host, sidecar string) {
		spec := example()
		spec.KVMount, spec.SAMLPath, spec.EdgeHosts, spec.Sidecars[0].Name = mount, path, []string{host}, sidecar
		if spec.check() != nil {
			return
		}
		policies := spec.gatewayPolicy() + spec.sidecarPolicy(spec.Sidecars[0])
		for line := range strings.Lines(policies) {
			if strings.HasPrefix(line, "path ") && strings.ContainsAny(line, "*+") {
				t.Errorf("a policy matches more than one path: %s", line)
			}
		}
		if strings.Contains(host+sidecar, "*") {
			t.Errorf("names %q and %q were accepted", host, sidecar)
		}
		if got := len(paths(policies)); got != 12+6 {
			t.Errorf("policies of %d paths, expected 18:\n%s", got, policies)
		}
	})
}
