package provision_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// tokenWith returns a token with one policy alone.
func tokenWith(t *testing.T, policy string) string {
	t.Helper()
	var created struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	body := map[string]any{"policies": []string{policy}, "no_default_policy": true, "ttl": "10m"}
	if err := vault.Call(t.Context(), "POST", "auth/token/create", body, &created); err != nil {
		t.Fatal(err)
	}
	return created.Auth.ClientToken
}

// call is a request to Vault.
type call struct {
	method, path string
	wrap         time.Duration // of the answer, unless 0
	body         any
}

// ask calls Vault as somebody, and returns status and body.
func ask(t *testing.T, token string, c call) (int, string) {
	t.Helper()
	raw, err := json.Marshal(c.body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), c.method, vault.Address+"/v1/"+c.path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	if c.wrap > 0 {
		req.Header.Set("X-Vault-Wrap-TTL", c.wrap.String())
	}
	ca, err := os.ReadFile(vault.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// A process mints its own next introduction: its own, wrapped, and for no longer
// than was said.
func TestAnHeirIsOnesOwnAndWrapped(t *testing.T) {
	spec := specFor("heir")
	spec.HeirTTL, spec.Driver.AppRole = 2*time.Hour, true
	mustApply(t, spec)
	role := func(name string) string { return "auth/heir-approle/role/" + name + "/secret-id" }
	for _, name := range []string{"heir-gateway", "heir-sidecar-notes", "heir-driver"} {
		token := tokenWith(t, name)
		for what, c := range map[string]struct {
			path string
			wrap time.Duration
			may  bool
		}{
			"wrapped":                  {role(name), 2 * time.Hour, true},
			"wrapped for a second":     {role(name), time.Second, true},
			"not wrapped":              {role(name), 0, false},
			"wrapped for longer":       {role(name), 3 * time.Hour, false},
			"of a role that is absent": {role("nobody"), time.Hour, false},
		} {
			if status, answer := ask(t, token, call{"PUT", c.path, c.wrap, map[string]any{}}); (status == http.StatusOK) != c.may {
				t.Errorf("%s: %s: status %d: %s", name, what, status, answer)
			}
		}
	}
	// The gateway introduces no sidecar, and the other way round; the driver both.
	for who, may := range map[string][2]bool{
		"heir-gateway": {true, false}, "heir-sidecar-notes": {false, true}, "heir-driver": {true, true}, "heir-introducer": {true, true},
	} {
		token := tokenWith(t, who)
		for i, name := range []string{"heir-gateway", "heir-sidecar-notes"} {
			if status, _ := ask(t, token, call{"PUT", role(name), time.Minute, map[string]any{}}); (status == http.StatusOK) != may[i] {
				t.Errorf("%s introduces %s: status %d", who, name, status)
			}
		}
	}
	spec.NoHeirs = true
	if done := mustApply(t, spec); len(done) == 0 || strings.Contains(strings.Join(done, "\n"), "loosens") {
		t.Errorf("to do without heirs, apply did %q", done)
	}
	if status, _ := ask(t, tokenWith(t, "heir-gateway"), call{"PUT", role("heir-gateway"), time.Minute, map[string]any{}}); status != http.StatusForbidden {
		t.Errorf("without heirs: status %d", status)
	}
}

// capabilities are those of a policy on a path, as Vault reckons them.
func capabilities(t *testing.T, policy, path string) []string {
	t.Helper()
	var answer struct {
		Data struct {
			Capabilities []string `json:"capabilities"`
		} `json:"data"`
	}
	body := map[string]any{"token": tokenWith(t, policy), "paths": []string{path}}
	if err := vault.Call(t.Context(), "POST", "sys/capabilities", body, &answer); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(slices.Values(answer.Data.Capabilities))
}

// Somebody made a policy stricter, in any of the ways that Vault's language has.
func TestApplyLoosensNoPolicyUnasked(t *testing.T) {
	spec := specFor("stricter")
	spec.ACMEPath = "sallyport/acme"
	mustApply(t, spec)
	const policy, locked = "sys/policies/acl/stricter-gateway", "stricter-kv/data/sallyport/acme/locked"
	const saml = "path \"stricter-kv/data/sallyport/saml\" {\n  capabilities = [\"read\"]\n}\n"
	var stored struct {
		Data struct {
			Policy string `json:"policy"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", policy, nil, &stored); err != nil {
		t.Fatal(err)
	}
	ours := stored.Data.Policy
	for name, have := range map[string]string{
		"an older way to deny":      ours + "path \"" + locked + "\" {\n  policy = \"deny\"\n}\n",
		"a narrower rule":           ours + "path \"" + locked + "\" {\n  capabilities = [\"read\"]\n}\n",
		"braces in a denial":        ours + "path \"" + locked + "\" {\n  capabilities = [\"deny\"]\n  allowed_parameters = { }\n}\n",
		"a quoted key":              ours + "\"path\" \"" + locked + "\" {\n  capabilities = [\"deny\"]\n}\n",
		"a plus":                    ours + "path \"stricter-kv/data/sallyport/acme/+\" {\n  capabilities = [\"deny\"]\n}\n",
		"a rule in comments":        strings.Replace(ours, saml, "//"+strings.ReplaceAll(strings.TrimSpace(saml), "\n", "\n//")+"\n", 1),
		"a rule in a comment":       strings.Replace(ours, saml, "/*"+saml+"*/\n", 1),
		"two rules, a denial first": strings.Replace(saml, "read", "deny", 1) + ours,
		"two rules, a denial last":  ours + strings.Replace(saml, "read", "deny", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if err := vault.Call(t.Context(), "PUT", policy, map[string]string{"policy": have}, nil); err != nil {
				t.Fatal(err)
			}
			var loosening *provision.LooseningError
			if done, err := provision.Apply(t.Context(), newClient(t), desired(t, spec)); !errors.As(err, &loosening) {
				t.Errorf("apply did %q, %v; expected a refusal", lines(done), err)
			}
			narrow := map[string][]string{}
			for _, path := range []string{locked, "stricter-kv/data/sallyport/saml"} {
				narrow[path] = capabilities(t, "stricter-gateway", path)
			}
			if _, err := provision.ApplyLoosening(t.Context(), newClient(t), desired(t, spec)); err != nil {
				t.Fatal(err)
			}
			wider := false
			for path, before := range narrow {
				wider = wider || !cmp.Equal(before, capabilities(t, "stricter-gateway", path))
			}
			if !wider {
				t.Errorf("it was no stricter: %q", narrow)
			}
		})
	}
}

// Vault would sign for as long as it is asked to, whatever the role says.
func TestLeavesLiveNoLongerThanTheirRoleAllows(t *testing.T) {
	spec := specFor("lives")
	mustApply(t, spec)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{notes}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	inAYear := time.Now().AddDate(1, 0, 0).UTC().Format(time.RFC3339)
	token := tokenWith(t, "lives-sidecar-notes")
	for name, test := range map[string]struct {
		body   map[string]string
		status int
	}{
		"as usual":                  {map[string]string{"csr": csr, "ttl": "1h"}, http.StatusOK},
		"until a date":              {map[string]string{"csr": csr, "not_after": inAYear}, http.StatusForbidden},
		"until a date, in capitals": {map[string]string{"csr": csr, "NOT_AFTER": inAYear}, http.StatusForbidden},
	} {
		if status, answer := ask(t, token, call{"PUT", "lives-backend/sign/sidecar-notes", 0, test.body}); status != test.status {
			t.Errorf("%s: status %d, expected %d: %s", name, status, test.status, answer)
		}
	}
}

// signID has a role sign a certificate for a URI.
func signID(t *testing.T, path, id string) (*x509.Certificate, error) {
	t.Helper()
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{uri}}, key)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	body := map[string]string{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
	if err := vault.Call(t.Context(), "PUT", path, body, &answer); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(answer.Data.Certificate))
	return x509.ParseCertificate(block.Bytes)
}

func TestPKIRolesSignTheirSPIFFEIDsOnly(t *testing.T) {
	spec := specFor("ids")
	spec.ClientName, spec.ClientIDs = "spiffe://example.com/gateway", []string{"spiffe://example.com/gateway/2"}
	spec.Sidecars[0].IDs = []string{"spiffe://example.com/sidecar/notes"}
	mustApply(t, spec)
	if left := mustPlan(t, spec); len(left) > 0 {
		t.Errorf("still planned: %q", left)
	}
	for id, may := range map[string][2]bool{
		"spiffe://example.com/gateway":         {true, false},
		"spiffe://example.com/gateway/2":       {true, false},
		"spiffe://example.com/gateway/3":       {false, false},
		"spiffe://example.com/sidecar/notes":   {false, true},
		"spiffe://example.com/sidecar/notes/x": {false, false},
		"spiffe://other.example.com/gateway":   {false, false},
	} {
		for i, role := range []string{"ids-backend/sign/sallyport-gateway", "ids-backend/sign/sidecar-notes"} {
			cert, err := signID(t, role, id)
			if (err == nil) != may[i] {
				t.Errorf("%s of %s: %v", id, role, err)
			}
			if err == nil && (len(cert.URIs) != 1 || cert.URIs[0].String() != id || len(cert.DNSNames) > 0) {
				t.Errorf("%s of %s: signed for %v and %q", id, role, cert.URIs, cert.DNSNames)
			}
		}
	}
}

func TestACertificateIsRevokedByWhoShowsIt(t *testing.T) {
	spec := specFor("revoke")
	spec.ClientRevocation = true
	mustApply(t, spec)
	cert, err := signLeaf(t.Context(), "revoke-backend")
	if err != nil {
		t.Fatal(err)
	}
	gateway, sidecar := tokenWith(t, "revoke-gateway"), tokenWith(t, "revoke-sidecar-notes")
	shown := map[string]string{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.cert.Raw}))}
	serial := map[string]string{"serial_number": fmt.Sprintf("%x", cert.cert.SerialNumber)}
	both := map[string]string{"certificate": shown["certificate"], "serial_number": serial["serial_number"]}
	for what, c := range map[string]struct {
		token, mount string
		body         any
		status       int
	}{
		"counted":                {gateway, "revoke-backend", serial, http.StatusForbidden},
		"shown and counted":      {gateway, "revoke-backend", both, http.StatusBadRequest},
		"shown at another mount": {gateway, "revoke-edge", shown, http.StatusForbidden},
		"shown by a sidecar":     {sidecar, "revoke-backend", shown, http.StatusForbidden},
	} {
		if status, answer := ask(t, c.token, call{"PUT", c.mount + "/revoke", 0, c.body}); status != c.status {
			t.Errorf("%s: status %d, expected %d: %s", what, status, c.status, answer)
		}
	}
	if status, answer := ask(t, gateway, call{"PUT", "revoke-backend/revoke", 0, shown}); status != http.StatusOK {
		t.Errorf("shown: status %d: %s", status, answer)
	}
}

func TestTheCheckpointKeySignsAndStaysInVault(t *testing.T) {
	spec := specFor("transit")
	spec.Transit = provision.Transit{Mount: "transit-transit", Key: "checkpoints", VerifierPolicy: "transit-verifier"}
	mustApply(t, spec)
	if left := mustPlan(t, spec); len(left) > 0 {
		t.Errorf("still planned: %q", left)
	}
	token := tokenWith(t, "transit-gateway")
	if status, answer := ask(t, token, call{"PUT", "transit-transit/sign/checkpoints", 0, map[string]string{"input": "aGFzaA=="}}); status != http.StatusOK {
		t.Errorf("signing: status %d: %s", status, answer)
	}
	checkCheckpointPowers(t, token, tokenWith(t, "transit-verifier"))
	for _, path := range []string{"transit-transit/export/signing-key/checkpoints", "transit-transit/backup/checkpoints"} {
		for who, token := range map[string]string{"the gateway": token, "root": vault.RootToken} {
			if status, _ := ask(t, token, call{"GET", path, 0, nil}); status == http.StatusOK {
				t.Errorf("%s reads %s", who, path)
			}
		}
	}
	for what, test := range map[string]struct {
		key  map[string]any
		says string
	}{
		"exportable":   {map[string]any{"type": "ed25519", "exportable": true}, "exportable is true"},
		"another-type": {map[string]any{"type": "ecdsa-p256"}, `it is of type "ecdsa-p256", expected "ed25519"`},
	} {
		if err := vault.Call(t.Context(), "POST", "transit-transit/keys/"+what, test.key, nil); err != nil {
			t.Fatal(err)
		}
		spec.Transit.Key = what
		if _, err := provision.Plan(t.Context(), newClient(t), desired(t, spec)); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("a key that is %s: %v, expected %q", what, err, test.says)
		}
	}
	spec.Transit.Key = "checkpoints"
	if err := vault.Call(t.Context(), "POST", "transit-transit/keys/checkpoints/config", map[string]bool{"deletion_allowed": true}, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"~ transit key transit-transit/checkpoints: deletion_allowed true -> false"}
	if diff := cmp.Diff(want, mustApply(t, spec)); diff != "" {
		t.Errorf("a key that may be deleted (-want +got):\n%s", diff)
	}
}

// checkCheckpointPowers holds a gateway and who verifies to what the log needs of each.
func checkCheckpointPowers(t *testing.T, gateway, verifier string) {
	t.Helper()
	const data, metadata = "transit-kv/data/sallyport/log/abc", "transit-kv/metadata/sallyport/log"
	write := map[string]any{"data": map[string]string{"checkpoint": "x"}}
	for _, test := range []struct {
		call              call
		gateway, verifier bool
	}{
		{call{"PUT", data, 0, write}, true, false},
		{call{"PUT", data, 0, write}, true, false}, // in place of what is there
		{call{"GET", data, 0, nil}, true, true},
		{call{"GET", data + "?version=1", 0, nil}, true, true},
		{call{"GET", metadata + "?list=true", 0, nil}, true, true},
		{call{"GET", metadata + "/abc", 0, nil}, false, true}, // the versions that there were
		{call{"DELETE", data, 0, nil}, false, false},
		{call{"DELETE", metadata + "/abc", 0, nil}, false, false},
		{call{"PUT", metadata + "/abc", 0, map[string]any{"max_versions": 1}}, false, false},
		{call{"PUT", "transit-kv/destroy/sallyport/log/abc", 0, map[string]any{"versions": []int{1}}}, false, false},
		{call{"PUT", "transit-transit/sign/checkpoints", 0, map[string]string{"input": "aGFzaA=="}}, true, false},
		{call{"PUT", "transit-transit/sign/checkpoints/sha2-256", 0, map[string]string{"input": "aGFzaA=="}}, false, false},
		{call{"GET", "transit-transit/keys/checkpoints", 0, nil}, true, true}, // the public halves
		{call{"GET", "transit-transit/keys/other", 0, nil}, false, false},
		{call{"GET", "transit-transit/keys?list=true", 0, nil}, false, false},
		{call{"PUT", "transit-transit/keys/checkpoints/rotate", 0, nil}, false, false},
		{call{"PUT", "transit-transit/keys/checkpoints/config", 0, map[string]any{"min_decryption_version": 1}}, false, false},
		{call{"PUT", "transit-transit/keys/other", 0, nil}, false, false},
		{call{"GET", "transit-kv/data/sallyport/saml", 0, nil}, true, false},
	} {
		for who, asked := range map[string]struct {
			token string
			may   bool
		}{"the gateway": {gateway, test.gateway}, "the verifier": {verifier, test.verifier}} {
			if status, answer := ask(t, asked.token, test.call); (status < http.StatusMultipleChoices) != asked.may {
				t.Errorf("%s: %s %s: status %d: %s", who, test.call.method, test.call.path, status, answer)
			}
		}
	}
}

func TestAnAuditDeviceIsEnabledFirstAndNeverWeakened(t *testing.T) {
	spec := specFor("audit")
	file := filepath.Join(t.TempDir(), "audit.log")
	spec.Audit = []provision.AuditDevice{{Path: "audit-file", Type: "file", File: file}}
	t.Cleanup(func() { // or the others' requests would fail with its folder
		if err := vault.Call(context.Background(), "DELETE", "sys/audit/audit-file", nil, nil); err != nil {
			t.Error(err)
		}
	})
	if done := mustApply(t, spec); len(done) == 0 || done[0] != "+ audit device audit-file: file, file_path "+file {
		t.Errorf("apply did first %q", done)
	}
	if left := mustPlan(t, spec); len(left) > 0 {
		t.Errorf("still planned: %q", left)
	}
	log, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(log, []byte("sys/policies/acl/audit-gateway")) {
		t.Errorf("the log lacks what was done after: %v", err)
	}
	for name, device := range map[string]provision.AuditDevice{
		`the file_path of the device at sys/audit/audit-file is`: {Path: "audit-file", Type: "file", File: "/elsewhere"},
		`at sys/audit/audit-file is of type "file"`:              {Path: "audit-file", Type: "syslog"},
		`expected an absolute path`:                              {Path: "audit-other", Type: "file", File: "audit.log"},
		`expected file, syslog or`:                               {Path: "audit-other", Type: "socket"},
	} {
		spec.Audit = []provision.AuditDevice{device}
		d, err := provision.New(spec)
		if err == nil {
			_, err = provision.Plan(t.Context(), newClient(t), d)
		}
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%+v: %v, expected %q", device, err, name)
		}
	}
}

func TestWhoMayNotLookAtAuditDevicesIsTold(t *testing.T) {
	client, err := provision.NewClient(provision.Config{Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Token: tokenWith(t, "default")})
	if err != nil {
		t.Fatal(err)
	}
	spec := specFor("sudo")
	spec.Audit = []provision.AuditDevice{{Path: "a", Type: "stdout"}}
	_, err = provision.Plan(t.Context(), client, desired(t, spec))
	var denied *vaultpki.Error
	if !errors.As(err, &denied) || denied.Reason != vaultpki.ReasonDenied || !strings.Contains(denied.Hint, "sudo") {
		t.Errorf("error %v, expected a hint at sudo", err)
	}
}

// TestAnApplyGoesOnAfterAKillAtEachCall loses the answer to each write of an
// apply, and applies again.
func TestAnApplyGoesOnAfterAKillAtEachCall(t *testing.T) {
	t.Parallel() // most of it is waiting
	proxy := newCutter(t)
	kills := 0
	for ; ; kills++ {
		spec := specFor(fmt.Sprintf("apply%d", kills))
		spec.NoSPKey = true // which takes a while to make
		proxy.left.Store(int64(kills))
		done, err := provision.Apply(t.Context(), clientOf(t, proxy.Server), desired(t, spec))
		if err == nil {
			break
		}
		if vaultpki.ReasonOf(err) != vaultpki.ReasonUnreachable {
			t.Fatalf("cut off after %q: %v", lines(done), err)
		}
		mustApply(t, spec)
		if left := mustPlan(t, spec); len(left) > 0 {
			t.Errorf("cut at write %d, still planned: %q", kills, left)
		}
		roots, count, err := trust(t.Context(), spec.BackendMount)
		if err != nil || count != 1 {
			t.Errorf("cut at write %d, %d roots are trusted: %v", kills, count, err)
		}
		if fresh, err := signLeaf(t.Context(), spec.BackendMount); err != nil || fresh.verify(roots) != nil {
			t.Errorf("cut at write %d, a leaf does not verify: %v", kills, errors.Join(err, fresh.verify(roots)))
		}
	}
	if kills < 25 {
		t.Errorf("%d writes were cut, expected one for each object at least", kills)
	}
}
