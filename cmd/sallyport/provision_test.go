package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// vaultYAML is everything that a second gateway needs, beside the first. It has
// no audit device: that would be the other tests' too.
const vaultYAML = `
kv: {mount: other, acme_path: sallyport/acme}
edge_pki: {mount: other-edge, root_mount: other-edge-root}
backend_pki: {mount: other-backend, root_mount: other-backend-root}
approle: {mount: other, introducer_policy: other-introducer, access: {token_ttl: 1h}}
gateway:
  role: other-gateway
  hosts: [other.example.com]
  spiffe_ids: ["spiffe://example.com/gateway"]
  access: {token_max_ttl: 24h, secret_id_cidrs: [127.0.0.0/8]}
sidecars: [{name: other.backend.sallyport.internal, role: other-sidecar}]
secret_driver: {policy: other-driver, approle: true}
transit: {mount: other-transit, key: checkpoints}
`

// testProvisionFile has a second gateway provisioned by a file alone, changes
// the file, and rotates what it says.
func testProvisionFile(t *testing.T, s *stand) {
	dir := t.TempDir()
	file := writeFile(t, dir, "vault.yaml", vaultYAML)
	run := func(code int, args ...string) (out, err string) {
		t.Helper()
		p := s.start(t, append(append([]string{"provision"}, args...), "--token-file", s.tokenFile)...)
		if got := p.wait(t); got != code {
			t.Fatalf("provision %q: exit code %d, expected %d\n%s%s", args, got, code, p.out.String(), p.err.String())
		}
		if args[0] != "roles" { // whose whole output are identifiers
			s.checkNoSecret(t, p)
		}
		return p.out.String(), p.err.String()
	}
	planned, _ := run(exitOK, "plan", "-f", file)
	applied, _ := run(exitOK, "apply", "--file", file)
	for _, line := range []string{
		"+ intermediate of other-backend: ",
		"+ transit key other-transit/checkpoints: ed25519, not exportable", "+ approle other-driver",
	} {
		if !strings.Contains(planned, line) || planned != applied {
			t.Errorf("expected %q in what is planned:\n%s\nand the same applied:\n%s", line, planned, applied)
		}
	}
	again, told := run(exitOK, "apply", "-f", file)
	if again != "nothing to change\n" || !strings.Contains(told, "note: other/sallyport/saml has no idp_metadata_xml: give --idp-metadata, or the gateway will not start\n") {
		t.Errorf("applied again: %s%s", again, told)
	}
	if roles, _ := run(exitOK, "roles", "-f", file); strings.Count(roles, "\n") != 3 || !strings.Contains(roles, "other-driver ") {
		t.Errorf("roles:\n%s", roles)
	}
	// A gateway's own files and this one may not contradict each other; the
	// other way round, under the first one's names, it would take its roles.
	taken := s.write(t, "second.yaml", "door: {host: second.example.com}\n")
	out, refusal := run(exitLoosens, "apply", "--config", taken)
	for _, part := range []string{
		"nothing was changed", "  ! pki role pki-edge/roles/sallyport-edge: allowed_domains [door.example.com notes.example.com] -> [second.example.com] (loosens)",
		"hint: read what is marked (loosens), and was `-f vault.yaml` forgotten?",
	} {
		if out != "" || !strings.Contains(refusal, part) {
			t.Errorf("output %q, and expected %q in:\n%s", out, part, refusal)
		}
	}
	testLoosening(t, dir, run)
	testRotations(t, file, run)

	p := s.start(t, "provision", "rotate", "sp-key", "-f", file, "--settle", "48h", "--wait", "--token-file", s.tokenFile)
	p.eventually(t, "a long wait", func() (string, bool) {
		return p.out.String(), strings.Contains(p.out.String(), "due in 4") // 47h59m and some seconds
	})
	p.signal(t, os.Interrupt)
	const interrupted = "sallyport provision rotate: interrupted; the same command goes on\n"
	if code := p.wait(t); code != exitFailure || p.err.String() != interrupted {
		t.Errorf("interrupted: exit code %d, and %q", code, p.err.String())
	}
}

// testLoosening widens a bound: only a word more does it.
func testLoosening(t *testing.T, dir string, run func(int, ...string) (string, string)) {
	t.Helper()
	wide := writeFile(t, dir, "wide.yaml", strings.ReplaceAll(vaultYAML, "secret_id_cidrs: [127.0.0.0/8]", "secret_id_cidrs: []"))
	const line = "! approle other-gateway: secret_id_bound_cidrs [127.0.0.0/8] -> [] (loosens)\n"
	if plan, _ := run(exitOK, "plan", "-f", wide); plan != line+"1 of these loosen: apply refuses all of it without --allow-loosen\n" {
		t.Errorf("plan:\n%s", plan)
	}
	if _, told := run(exitLoosens, "apply", "-f", wide); !strings.Contains(told, line) || !strings.Contains(told, "--allow-loosen") {
		t.Errorf("apply says:\n%s", told)
	}
	if done, _ := run(exitOK, "apply", "-f", wide, "--allow-loosen"); done != line {
		t.Errorf("apply --allow-loosen did:\n%s", done)
	}
	narrow := writeFile(t, dir, "narrow.yaml", vaultYAML)
	if done, _ := run(exitOK, "apply", "-f", narrow); done != "~ approle other-gateway: secret_id_bound_cidrs [] -> [127.0.0.0/8]\n" {
		t.Errorf("to tighten needs no word: %s", done)
	}
}

// testRotations goes through two rotations as an operator does.
func testRotations(t *testing.T, file string, run func(int, ...string) (string, string)) {
	t.Helper()
	rotate := func(code int, args ...string) (string, string) {
		t.Helper()
		return run(code, append([]string{"rotate", "-f", file, "--settle", "1s"}, args...)...)
	}
	if soon, _ := run(exitOK, "rotate", "session-key", "-f", file); !strings.HasPrefix(soon, "no rotation is under way; the last change is recent, another can begin in ") {
		t.Errorf("soon after apply: %s", soon)
	}
	deadline := time.Now().Add(patience)
	for began := ""; !strings.HasPrefix(began, "done: next:"); began, _ = rotate(exitOK, "session-key", "--session-absolute", "1s") {
		if time.Now().After(deadline) {
			t.Fatalf("no rotation begins: %s", began)
		}
	}
	looked, _ := rotate(exitOK, "session-key", "--dry-run")
	if !strings.Contains(looked, "switch: ") || strings.Contains(looked, "done: ") {
		t.Errorf("--dry-run: %s", looked)
	}
	rest, _ := rotate(exitOK, "session-key", "--session-absolute", "1s", "--wait")
	for _, line := range []string{"done: switch: ", "done: retire: ", "no rotation is under way"} {
		if !strings.Contains(rest, line) {
			t.Errorf("expected %q in the rest of the rotation:\n%s", line, rest)
		}
	}
	out, told := rotate(exitFailure, "sp-key", "--wait")
	if !strings.Contains(out, "done: next: ") || !strings.Contains(out, "waits for you: switch: ") || !strings.Contains(told, "hint: the last line above says what to do") {
		t.Errorf("without a word of the identity provider:\n%s%s", out, told)
	}
}

func TestTheFileRefinesWhatFollowsFromTheGateway(t *testing.T) {
	vault, err := config.LoadProvision("vault.yaml", []byte(`
kv: {mount: kv, config_path: a/config, credential_paths: [tools/wiki, tools/later]}
certificate_ttl: 1h
approle: {access: {token_ttl: 2h}}
heirs: {ttl: 1h}
gateway: {hosts: [door.example.com, later.example.com], access: {token_cidrs: [10.0.0.0/8]}}
sidecars:
  - {name: board.internal, role: board, spiffe_ids: ["spiffe://example.com/board"]}
  - {name: extra.internal}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := spec(load(t))
	got := spec(load(t))
	if err := refine(&got, vault, true); err != nil {
		t.Fatal(err)
	}
	access := provision.Access{TokenTTL: 2 * time.Hour, SecretIDTTL: 2 * time.Hour}
	want.GatewayConfigPath, want.CertTTL, want.HeirTTL = "a/config", time.Hour, time.Hour
	want.IntroducerPolicy, want.CredentialPaths = "sallyport-introducer", []string{"tools/wiki", "tools/later"}
	want.EdgeAuthority, want.BackendAuthority = authorityOf(vault.EdgePKI), authorityOf(vault.BackendPKI)
	want.EdgeHosts = append(want.EdgeHosts, "later.example.com")
	want.GatewayAccess = provision.Access{TokenTTL: 2 * time.Hour, SecretIDTTL: 2 * time.Hour, TokenCIDRs: []string{"10.0.0.0/8"}}
	want.Driver = provision.Driver{Policy: "sallyport-secret-driver", Access: access}
	want.Transit = provision.Transit{Mount: "transit", Type: "ed25519", LogPath: "sallyport/log", VerifierPolicy: "sallyport-verifier"}
	want.Sidecars[0].Role, want.Sidecars[0].IDs, want.Sidecars[0].Access = "board", []string{"spiffe://example.com/board"}, access
	want.Sidecars[1].Access = access
	want.Sidecars = append(want.Sidecars, provision.Sidecar{
		Name: "extra.internal", Role: "sallyport-sidecar-extra", PKIRole: "sidecar-extra", ConfigPath: "sallyport/sidecar/extra", Access: access,
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if _, err := provision.New(got); err != nil {
		t.Errorf("it cannot be provisioned: %v", err)
	}
}

func TestAGatewayThatOrdersByACMEMayKeepWhatItOrders(t *testing.T) {
	acme := "\n  edge_acme: {directory: \"https://acme.example.com/directory\", email: ops@example.com, agree_to_terms: true, kv_path: a/acme, eab_path: a/eab}\n"
	cfg, err := config.LoadGateway("test", []byte("door: {host: door.example.com}\nvault:"+acme))
	if err != nil {
		t.Fatal(err)
	}
	if got := spec(cfg); got.ACMEPath != "a/acme" || got.ACMEBindingPath != "a/eab" {
		t.Errorf("paths %q and %q", got.ACMEPath, got.ACMEBindingPath)
	}
	plain := spec(load(t))
	if plain.ACMEPath != "" || plain.ACMEBindingPath != "" {
		t.Errorf("without ACME, paths %q and %q", plain.ACMEPath, plain.ACMEBindingPath)
	}
}

// The two files of the reference say the same as each other's defaults: so one
// or both, the product's names come out.
func TestTheReferenceOfTheFileFitsTheGatewaysDefaults(t *testing.T) {
	vault, err := config.LoadProvision("reference", []byte(config.ProvisionReference()))
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := config.LoadGateway("reference", []byte(config.GatewayReference()))
	if err != nil {
		t.Fatal(err)
	}
	beside, alone := spec(gateway), provision.Spec{}
	for name, s := range map[string]*provision.Spec{"beside a gateway's": &beside, "alone": &alone} {
		if err := refine(s, vault, name != "alone"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := provision.New(*s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if diff := cmp.Diff(beside, alone); diff != "" {
		t.Errorf("(-beside +alone):\n%s", diff)
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	file := writeFile(t, t.TempDir(), "vault.yaml", "approle: {mount: m, access: {token_ttl: 2h}}\ngateway: {hosts: [a.example.com], role: r}\n")
	flags := provisionFlags{file: file, gatewayRole: "flag", tokenPeriod: time.Hour}
	flags.authMount = "flag"
	tests := map[string]struct {
		given       bool
		mount, role string
		ttl         time.Duration
	}{
		"given":     {true, "flag", "flag", 0},
		"not given": {false, "m", "r", 2 * time.Hour},
	}
	for name, test := range tests {
		want, err := flags.read(func(string) bool { return test.given })
		if err != nil {
			t.Fatal(err)
		}
		got := want.spec
		if got.AuthMount != test.mount || got.GatewayRole != test.role || got.GatewayAccess.TokenTTL != test.ttl || got.TokenPeriod != time.Hour {
			t.Errorf("%s: mount %q, role %q, ttl %s", name, got.AuthMount, got.GatewayRole, got.GatewayAccess.TokenTTL)
		}
		if got.SPEntityID != "https://a.example.com/saml/metadata" {
			t.Errorf("%s: entity id %q", name, got.SPEntityID)
		}
	}
}
