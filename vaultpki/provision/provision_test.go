package provision_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// vault is the server of this package's tests; it is never provisioned on the
// default paths except by the tests that say so.
var vault *vaulttest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" || flag.Lookup("test.fuzz").Value.String() != "" && flag.Lookup("test.run").Value.String() == "^$" {
		return m.Run() // no list and no fuzz target needs a Vault, and each of their workers would start one
	}
	dir, err := os.MkdirTemp("", "provision")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if vault, err = vaulttest.Start(context.Background(), vaulttest.Options{Dir: dir}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer vault.Stop()
	return m.Run()
}

// specFor returns a Spec whose every mount and role carries the test's prefix,
// so that tests do not see each other's.
func specFor(prefix string) provision.Spec {
	return provision.Spec{
		KVMount: prefix + "-kv", EdgeMount: prefix + "-edge", BackendMount: prefix + "-backend", AuthMount: prefix + "-approle",
		GatewayRole: prefix + "-gateway", IntroducerPolicy: prefix + "-introducer", Driver: provision.Driver{Policy: prefix + "-driver"},
		EdgeHosts:   []string{"door.example.com", "notes.example.com"},
		Sidecars:    []provision.Sidecar{{Role: prefix + "-sidecar-notes", Name: "notes.backend.sallyport.internal"}},
		SPEntityID:  "https://door.example.com/saml/metadata",
		IdPMetadata: []byte("<EntityDescriptor/>"),
	}
}

func newClient(t *testing.T) *provision.Client {
	t.Helper()
	client, err := provision.NewClient(provision.Config{Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Token: vault.RootToken})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func desired(t *testing.T, spec provision.Spec) *provision.Desired {
	t.Helper()
	d, err := provision.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func lines(changes []provision.Change) []string {
	var texts []string
	for _, change := range changes {
		texts = append(texts, change.String())
	}
	return texts
}

func mustApply(t *testing.T, spec provision.Spec) []string {
	t.Helper()
	changes, err := provision.Apply(t.Context(), newClient(t), desired(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	return lines(changes)
}

func mustPlan(t *testing.T, spec provision.Spec) []string {
	t.Helper()
	changes, err := provision.Plan(t.Context(), newClient(t), desired(t, spec))
	if err != nil {
		t.Fatal(err)
	}
	return lines(changes)
}

func TestSecondApplyHasNothingToDo(t *testing.T) {
	spec := specFor("twice")
	want := []string{
		"+ mount twice-kv: kv version 2",
		"+ auth method twice-approle: approle",
		"+ mount twice-edge: pki",
		"+ mount twice-backend: pki",
		"+ mount twice-edge-root: pki",
		"+ mount twice-backend-root: pki",
		`+ root of twice-edge-root: "Sallyport edge root", ec-p256, 3650 days`,
		`+ root of twice-backend-root: "Sallyport backend root", ec-p256, 3650 days`,
		`+ intermediate of twice-edge: "Sallyport edge intermediate", ec-p256, 1095 days, signed by twice-edge-root`,
		`+ intermediate of twice-backend: "Sallyport backend intermediate", ec-p256, 1095 days, signed by twice-backend-root`,
		"+ pki role twice-edge/roles/sallyport-edge",
		"+ pki role twice-backend/roles/sallyport-gateway",
		"+ pki role twice-backend/roles/sallyport-assertion",
		"+ policy twice-gateway",
		"+ approle twice-gateway",
		"+ pki role twice-backend/roles/sidecar-notes",
		"+ policy twice-sidecar-notes",
		"+ approle twice-sidecar-notes",
		"+ policy twice-introducer",
		"+ policy twice-driver",
		"+ secret twice-kv/sallyport/saml: sp_private_key and sp_public_cert (generated), idp_metadata_xml (given)",
		"+ secret twice-kv/sallyport/session: current (generated)",
		"+ secret twice-kv/sallyport/assertion: current (generated)",
	}
	if diff := cmp.Diff(want, mustPlan(t, spec)); diff != "" {
		t.Errorf("plan for an empty vault (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, mustApply(t, spec)); diff != "" {
		t.Errorf("first apply (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string(nil), mustApply(t, spec)); diff != "" {
		t.Errorf("second apply (-want +got):\n%s", diff)
	}
}

type kvAnswer struct {
	Data struct {
		Data map[string]string `json:"data"`
	} `json:"data"`
}

func readKV(t *testing.T, path string) map[string]string {
	t.Helper()
	var answer kvAnswer
	if err := vault.Call(t.Context(), "GET", path, nil, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data.Data
}

func TestGeneratedKeysFitTheirPurposeAndAreNeverOverwritten(t *testing.T) {
	spec := specFor("keys")
	mustApply(t, spec)
	saml, session := readKV(t, "keys-kv/data/sallyport/saml"), readKV(t, "keys-kv/data/sallyport/session")

	keyBlock, _ := pem.Decode([]byte(saml["sp_private_key"]))
	certBlock, _ := pem.Decode([]byte(saml["sp_public_cert"]))
	if keyBlock == nil || certBlock == nil {
		t.Fatal("the SP key pair is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	private, isRSA := key.(*rsa.PrivateKey)
	if !isRSA || private.N.BitLen() != 3072 {
		t.Errorf("SP key is %T, expected RSA of 3072 bits", key)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !private.PublicKey.Equal(cert.PublicKey) || cert.Subject.CommonName != spec.SPEntityID {
		t.Errorf("SP certificate for %q does not fit its key", cert.Subject.CommonName)
	}
	if raw, err := base64.StdEncoding.DecodeString(session["current"]); err != nil || len(raw) != 32 {
		t.Errorf("session key has %d bytes, %v; expected 32", len(raw), err)
	}

	block, _ := pem.Decode([]byte(readKV(t, "keys-kv/data/sallyport/assertion")["current"]))
	if block == nil {
		t.Fatal("the key for assertions is not PEM")
	}
	signer, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if elliptical, ok := signer.(*ecdsa.PrivateKey); !ok || elliptical.Curve != elliptic.P256() {
		t.Errorf("the key for assertions is %T, %v; expected ECDSA on P-256", signer, err)
	}

	// A field that somebody added stays, and so does everything generated, when
	// the metadata is replaced.
	saml["note"] = "kept"
	if err := vault.Call(t.Context(), "PUT", "keys-kv/data/sallyport/saml", map[string]any{"data": saml}, nil); err != nil {
		t.Fatal(err)
	}
	spec.IdPMetadata = []byte("<EntityDescriptor entityID='new'/>")
	want := []string{"~ secret keys-kv/sallyport/saml: idp_metadata_xml (replaced)"}
	if diff := cmp.Diff(want, mustApply(t, spec)); diff != "" {
		t.Errorf("apply with other metadata (-want +got):\n%s", diff)
	}
	saml["idp_metadata_xml"] = string(spec.IdPMetadata)
	if diff := cmp.Diff(saml, readKV(t, "keys-kv/data/sallyport/saml")); diff != "" {
		t.Errorf("secret after the change (-want +got):\n%s", diff)
	}
}

// TestMetadataOfSeveralIdPsIsStored under their names, and what is lacking is told.
func TestMetadataOfSeveralIdPsIsStored(t *testing.T) {
	spec := specFor("several")
	spec.NamedIdPMetadata = map[string][]byte{"staff": []byte("<a/>"), "partners": []byte("<b/>")}
	mustApply(t, spec)
	fields := readKV(t, "several-kv/data/sallyport/saml")
	for field, want := range map[string]string{"idp_metadata_xml": "<EntityDescriptor/>", "idp_metadata_xml_staff": "<a/>", "idp_metadata_xml_partners": "<b/>"} {
		if fields[field] != want {
			t.Errorf("field %s holds %q, want %q", field, fields[field], want)
		}
	}
	spec.NamedIdPMetadata = map[string][]byte{"guests": []byte("<c/>")}
	asked := []string{"idp_metadata_xml", "idp_metadata_xml_staff", "idp_metadata_xml_guests", "idp_metadata_xml_others"}
	where, lacking, err := provision.LacksMetadata(t.Context(), newClient(t), spec, asked)
	if err != nil || where != "several-kv/sallyport/saml" || !slices.Equal(lacking, []string{"idp_metadata_xml_others"}) {
		t.Errorf("lacking in %s: %q, %v, want what is neither there nor brought", where, lacking, err)
	}
}

func TestHalfAKeyPairIsRefused(t *testing.T) {
	spec := specFor("half")
	mustApply(t, spec)
	body := map[string]any{"data": map[string]string{"sp_private_key": "precious"}}
	if err := vault.Call(t.Context(), "PUT", "half-kv/data/sallyport/saml", body, nil); err != nil {
		t.Fatal(err)
	}
	_, err := provision.Apply(t.Context(), newClient(t), desired(t, spec))
	if err == nil || !strings.Contains(err.Error(), "sp_private_key") || strings.Contains(err.Error(), "precious") {
		t.Errorf("error %v, expected one that names the field and hides its value", err)
	}
}

func TestDeletedSecretIsNotReplaced(t *testing.T) {
	spec := specFor("deleted")
	mustApply(t, spec)
	if err := vault.Call(t.Context(), "DELETE", "deleted-kv/data/sallyport/saml", nil, nil); err != nil {
		t.Fatal(err)
	}
	_, err := provision.Apply(t.Context(), newClient(t), desired(t, spec))
	if err == nil || !strings.Contains(err.Error(), "version 1 is deleted") {
		t.Errorf("error %v, expected one that says what is deleted", err)
	}
	// Once the operator has decided, a new one is made.
	if err := vault.Call(t.Context(), "DELETE", "deleted-kv/metadata/sallyport/saml", nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := mustApply(t, spec); len(got) != 1 || !strings.HasPrefix(got[0], "+ secret deleted-kv/sallyport/saml") {
		t.Errorf("apply did %q", got)
	}
}

func TestDriftIsShownAndRepaired(t *testing.T) {
	spec := specFor("drift")
	mustApply(t, spec)
	ctx := t.Context()
	drift := []struct {
		path string
		body map[string]any
		want string
	}{
		{
			"auth/drift-approle/role/drift-gateway", map[string]any{"token_period": 0, "secret_id_num_uses": 0},
			"! approle drift-gateway: secret_id_num_uses 0 -> 1, token_period 0s -> 24h0m0s (loosens)",
		},
		{
			"drift-edge/roles/sallyport-edge", map[string]any{
				"allowed_domains": []string{"example.com"}, "allow_any_name": true, "no_store": true, "allow_bare_domains": true,
				"allow_ip_sans": false, "allow_localhost": false, "client_flag": false, "require_cn": false,
				"allow_wildcard_certificates": false, "key_type": "ec", "key_bits": 256, "key_usage": []string{"DigitalSignature"},
				"ttl": "24h", "max_ttl": "24h",
			},
			"! pki role drift-edge/roles/sallyport-edge: allow_any_name true -> false, " +
				"allowed_domains [example.com] -> [door.example.com notes.example.com] (loosens)",
		},
		{
			"sys/policies/acl/drift-gateway", map[string]any{"policy": `path "sys/*" { capabilities = ["sudo"] }`},
			"! policy drift-gateway: replaces what sallyport did not write (line 1, " + `"path \"sys/*\" { capabilities = [\"sudo\"] }") and whatever that forbids (loosens)`,
		},
		{"sys/mounts/drift-edge/tune", map[string]any{"max_lease_ttl": "1h"}, "! mount drift-edge: max_lease_ttl 1h0m0s -> 26280h0m0s (loosens)"},
	}
	for _, d := range drift {
		if err := vault.Call(ctx, "POST", d.path, d.body, nil); err != nil {
			t.Fatal(err)
		}
	}
	planned := mustPlan(t, spec)
	for _, d := range drift {
		if !strings.Contains(strings.Join(planned, "\n"), d.want) {
			t.Errorf("plan lacks %q:\n%s", d.want, strings.Join(planned, "\n"))
		}
	}
	if len(planned) != len(drift) {
		t.Errorf("plan has %d changes, expected %d:\n%s", len(planned), len(drift), strings.Join(planned, "\n"))
	}
	var loosening *provision.LooseningError
	done, err := provision.Apply(ctx, newClient(t), desired(t, spec))
	if !errors.As(err, &loosening) || len(loosening.Changes) != len(drift) || len(done) > 0 {
		t.Errorf("apply did %q, %v; expected it to refuse %d changes", lines(done), err, len(drift))
	}
	if diff := cmp.Diff(planned, mustPlan(t, spec)); diff != "" {
		t.Errorf("the refusal changed something (-before +after):\n%s", diff)
	}
	if _, err := provision.ApplyLoosening(ctx, newClient(t), desired(t, spec)); err != nil {
		t.Fatal(err)
	}
	if left := mustPlan(t, spec); len(left) > 0 {
		t.Errorf("after the repair, still planned: %q", left)
	}
}

func TestForeignMountIsRefused(t *testing.T) {
	spec := specFor("foreign")
	if err := vault.Call(t.Context(), "POST", "sys/mounts/foreign-kv", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := provision.Apply(t.Context(), newClient(t), desired(t, spec))
	if err == nil || !strings.Contains(err.Error(), "foreign-kv") {
		t.Fatalf("error %v, expected one that names the mount", err)
	}
	// Nothing was made before the fault was found.
	if err := vault.Call(t.Context(), "GET", "sys/mounts/foreign-edge", nil, nil); err == nil {
		t.Error("apply made a mount although the plan was not possible")
	}
}

func TestOperatorWithoutPowersIsTold(t *testing.T) {
	client, err := provision.NewClient(provision.Config{Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Token: "hvs.not-a-token-of-this-vault"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = provision.Plan(t.Context(), client, desired(t, specFor("powerless")))
	if vaultpki.ReasonOf(err) != vaultpki.ReasonDenied || strings.Contains(err.Error(), "hvs.") {
		t.Errorf("error %v of reason %s, expected denied, without the token", err, vaultpki.ReasonOf(err))
	}
	if text := fmt.Sprintf("%v %+v %#v %d", client, client, client, client); strings.Contains(text, "hvs.") {
		t.Errorf("a format shows the token: %s", text)
	}
}

func TestRoleIDIsWhatTheGatewayIsConfiguredWith(t *testing.T) {
	mustApply(t, specFor("roleid"))
	id, err := newClient(t).RoleID(t.Context(), "roleid-approle", "roleid-gateway")
	if err != nil || id == "" {
		t.Errorf("RoleID = %q, %v", id, err)
	}
	if _, err := newClient(t).RoleID(t.Context(), "roleid-approle", "nobody"); err == nil {
		t.Error("RoleID of an absent role succeeded")
	}
}

func TestSpecFaultsAreToldAllAtOnce(t *testing.T) {
	_, err := provision.New(provision.Spec{
		KVMount: "secret/*", EdgeMount: "pki", BackendMount: "pki", EdgeHosts: []string{"*.com", "Door.example.com"},
		Sidecars:    []provision.Sidecar{{Name: "a.internal", Role: "same"}, {Name: "b.internal", Role: "same"}, {Name: "https://c"}},
		TokenPeriod: time.Second,
	})
	if err == nil {
		t.Fatal("a Spec of faults was accepted")
	}
	for _, want := range []string{`"secret/*"`, `"*.com"`, `"Door.example.com"`, `"https://c"`, "SPEntityID", "TokenPeriod", `mount "pki"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %s:\n%v", want, err)
		}
	}
}

func TestTwoProcessesNeverShareARole(t *testing.T) {
	for name, change := range map[string]func(*provision.Spec){
		"sidecars share an AppRole": func(s *provision.Spec) {
			s.Sidecars = append(s.Sidecars, provision.Sidecar{Name: "other.internal", Role: s.Sidecars[0].Role})
		},
		"a sidecar has the gateway's AppRole":                  func(s *provision.Spec) { s.Sidecars[0].Role = s.GatewayRole },
		"a sidecar has the gateway's AppRole, in capitals":     func(s *provision.Spec) { s.Sidecars[0].Role = strings.ToUpper(s.GatewayRole) },
		"a sidecar has the driver's policy, in capitals":       func(s *provision.Spec) { s.Sidecars[0].Role = strings.ToUpper(s.Driver.Policy) },
		"the introducer has the gateway's policy, in capitals": func(s *provision.Spec) { s.IntroducerPolicy = strings.ToUpper(s.GatewayRole) },
		"the gateway has the policy of everybody":              func(s *provision.Spec) { s.GatewayRole = "Default" },
		"a sidecar has the client's PKI role":                  func(s *provision.Spec) { s.Sidecars[0].PKIRole = "sallyport-gateway" },
	} {
		t.Run(name, func(t *testing.T) {
			spec := specFor("shared")
			change(&spec)
			if _, err := provision.New(spec); err == nil {
				t.Error("the Spec was accepted")
			}
		})
	}
}

func TestSecretsOfTheGatewayAreItsOwn(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*provision.Spec)
		names  string
	}{
		"a sidecar reads the SAML secret":     {func(s *provision.Spec) { s.Sidecars[0].ConfigPath = "sallyport/saml" }, `secret "sallyport/saml"`},
		"a sidecar reads the session secret":  {func(s *provision.Spec) { s.Sidecars[0].ConfigPath = "sallyport/session" }, "sidecar notes.backend"},
		"a sidecar reads the assertion keys":  {func(s *provision.Spec) { s.Sidecars[0].ConfigPath = "sallyport/assertion" }, `secret "sallyport/assertion"`},
		"a sidecar is configured as it is":    {func(s *provision.Spec) { s.Sidecars[0].ConfigPath = "sallyport/gateway" }, `secret "sallyport/gateway"`},
		"the driver serves the SAML secret":   {func(s *provision.Spec) { s.Driver.KVPaths = []string{"apps/notes", "sallyport/saml"} }, "the secret driver"},
		"the driver serves the ACME account":  {func(s *provision.Spec) { s.ACMEBindingPath, s.Driver.KVPaths = "acme/eab", []string{"acme/eab"} }, `secret "acme/eab"`},
		"ACME is kept above the SAML secret":  {func(s *provision.Spec) { s.ACMEPath = "sallyport" }, `secret "sallyport/saml"`},
		"ACME is kept at the session secret":  {func(s *provision.Spec) { s.ACMEPath = "sallyport/session" }, `ACMEPath "sallyport/session"`},
		"ACME is kept above what is served":   {func(s *provision.Spec) { s.ACMEPath, s.Driver.KVPaths = "apps", []string{"apps/notes"} }, `secret "apps/notes"`},
		"ACME is kept above its own account":  {func(s *provision.Spec) { s.ACMEPath, s.ACMEBindingPath = "acme", "acme/eab" }, `secret "acme/eab"`},
		"a tool is shown the session keys":    {func(s *provision.Spec) { s.CredentialPaths = []string{"sallyport/session"} }, `secret "sallyport/session"`},
		"a tool is shown a sidecar's file":    {func(s *provision.Spec) { s.CredentialPaths = []string{"sallyport/sidecar/notes"} }, `secret "sallyport/sidecar/notes"`},
		"ACME is kept above a credential":     {func(s *provision.Spec) { s.ACMEPath, s.CredentialPaths = "tools", []string{"tools/notes"} }, `secret "tools/notes"`},
		"ACME is kept above a sidecar's file": {func(s *provision.Spec) { s.ACMEPath = "sallyport/sidecar" }, `secret "sallyport/sidecar/notes"`},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specFor("own")
			test.change(&spec)
			if _, err := provision.New(spec); err == nil || !strings.Contains(err.Error(), test.names) {
				t.Errorf("error %v, expected one that names %s", err, test.names)
			}
		})
	}
	spec := specFor("own")
	spec.ACMEPath, spec.ACMEBindingPath, spec.Driver.KVPaths = "sallyport/acme", "sallyport/acme-account", []string{"sallyport/saml-of-others"}
	spec.CredentialPaths = spec.Driver.KVPaths // the tool itself has it from the driver
	if _, err := provision.New(spec); err != nil {
		t.Errorf("paths that only begin alike: %v", err)
	}
}
