package vaultpki_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce"
)

// statusOf calls Vault with a token and returns the status alone.
func statusOf(t *testing.T, token, method, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, vault.Address+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	transport := &http.Transport{TLSClientConfig: trustOf(t, vault.CAFile), DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// call is a method, a path and whether a token may.
type call struct {
	method, path string
	allowed      bool
}

func checkPrivileges(t *testing.T, token string, calls []call) {
	t.Helper()
	for _, c := range calls {
		status := statusOf(t, token, c.method, c.path, "{}")
		if denied := status == http.StatusForbidden; denied == c.allowed {
			t.Errorf("%s %s: status %d, allowed should be %t", c.method, c.path, status, c.allowed)
		}
	}
}

func TestGatewaysTokenIsRefusedElsewhere(t *testing.T) {
	checkPrivileges(t, tokenOf(t, gatewayRole), []call{
		{"GET", "secret/data/sallyport/saml", true},
		{"GET", "secret/data/sallyport/session", true},
		{"GET", "secret/data/sallyport/gateway", true},
		{"PUT", "pki-edge/sign/sallyport-edge", true},
		{"GET", "secret/data/sallyport/assertion", true},
		{"PUT", "pki-backend/sign/sallyport-gateway", true},
		{"PUT", "pki-backend/sign/sallyport-assertion", true},
		{"GET", "auth/token/lookup-self", true},
		{"PUT", "auth/token/renew-self", true},

		{"PUT", "secret/data/sallyport/saml", false},
		{"PUT", "secret/data/sallyport/assertion", false},
		{"DELETE", "secret/data/sallyport/saml", false},
		{"GET", "secret/metadata/sallyport/saml", false},
		{"GET", "secret/metadata/sallyport?list=true", false},
		{"GET", "secret/data/sallyport/sidecar/notes", false},
		{"GET", "secret/data/sallyport/saml/below", false},
		{"GET", "secret/data/other", false},
		{"PUT", "pki-edge/issue/sallyport-edge", false},
		{"PUT", "pki-edge/sign-verbatim", false},
		{"PUT", "pki-edge/sign/liar", false},
		{"PUT", "pki-backend/sign/sidecar-notes", false},
		{"PUT", "pki-backend/root/generate/internal", false},
		{"PUT", "pki-edge/roles/sallyport-edge", false},
		{"GET", "pki-edge/roles/sallyport-edge", false},
		{"PUT", "auth/approle/role/sallyport-gateway/secret-id", false},
		{"GET", "auth/approle/role/sallyport-gateway/role-id", false},
		{"PUT", "auth/token/create", false},
		{"PUT", "sys/policies/acl/sallyport-gateway", false},
		{"GET", "sys/mounts", false},
		{"PUT", "sys/seal", false},
		{"PUT", "sys/wrapping/wrap", false},
		{"PUT", "cubbyhole/x", false},
	})
}

func TestSidecarsTokenIsRefusedElsewhere(t *testing.T) {
	checkPrivileges(t, tokenOf(t, sidecarRole), []call{
		{"PUT", "pki-backend/sign/sidecar-notes", true},
		{"GET", "secret/data/sallyport/sidecar/notes", true},
		{"PUT", "auth/token/renew-self", true},

		{"PUT", "pki-backend/sign/sallyport-gateway", false},
		{"PUT", "pki-backend/sign/sallyport-assertion", false},
		{"GET", "secret/data/sallyport/assertion", false},
		{"PUT", "pki-backend/issue/sidecar-notes", false},
		{"PUT", "pki-edge/sign/sallyport-edge", false},
		{"GET", "secret/data/sallyport/saml", false},
		{"GET", "secret/data/sallyport/session", false},
		{"GET", "secret/data/sallyport/sidecar/headers", false},
		{"PUT", "secret/data/sallyport/sidecar/notes", false},
		{"PUT", "auth/approle/role/sallyport-sidecar-notes/secret-id", false},
	})
}

// The PKI roles are the second line: even the right token gets only its names.
func TestPKIRolesSignTheirNamesOnly(t *testing.T) {
	tests := map[string]struct{ path, name string }{
		"subdomain of an edge host": {"pki-edge/sign/sallyport-edge", "evil." + doorHost},
		"parent of an edge host":    {"pki-edge/sign/sallyport-edge", "example.com"},
		"wildcard":                  {"pki-edge/sign/sallyport-edge", "*.example.com"},
		"wildcard below a wildcard": {"pki-edge/sign/sallyport-edge", "*.evil.apps.example.com"},
		"host of a wildcard":        {"pki-edge/sign/sallyport-edge", "evil.apps.example.com"},
		"wildcard within a label":   {"pki-edge/sign/sallyport-edge", "e*.apps.example.com"},
		"parent of a wildcard":      {"pki-edge/sign/sallyport-edge", "apps.example.com"},
		"wildcard of a sidecar":     {"pki-backend/sign/sidecar-notes", "*." + sidecarName},
		"localhost":                 {"pki-edge/sign/sallyport-edge", "localhost"},
		"another client":            {"pki-backend/sign/sallyport-gateway", "other.sallyport.internal"},
		"a sidecar as the gateway":  {"pki-backend/sign/sidecar-notes", clientName},
		"another sidecar":           {"pki-backend/sign/sidecar-notes", "headers.backend.sallyport.internal"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			body := map[string]any{"csr": newRequest(t, test.name)}
			if err := vault.Call(t.Context(), "PUT", test.path, body, nil); err == nil || !strings.Contains(err.Error(), "status 400") {
				t.Errorf("signing %s by %s: %v, expected a refusal", test.name, test.path, err)
			}
		})
	}
	// Names beside those of the request are not taken over either.
	signed := signedPair(t, "pki-edge/sign/sallyport-edge", doorHost, map[string]any{"alt_names": "evil.example.com", "ip_sans": "10.0.0.1"})
	if leaf := leafOf(t, signed); len(leaf.DNSNames) != 1 || len(leaf.IPAddresses) != 0 {
		t.Errorf("certificate for %q and %v, expected %q alone", leaf.DNSNames, leaf.IPAddresses, doorHost)
	}
}

// deployerToken returns a token with the introducer's policy alone.
func deployerToken(t *testing.T) string {
	t.Helper()
	var created struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	body := map[string]any{"policies": []string{"sallyport-introducer"}, "no_default_policy": true, "ttl": "10m"}
	if err := vault.Call(t.Context(), "POST", "auth/token/create", body, &created); err != nil {
		t.Fatal(err)
	}
	return created.Auth.ClientToken
}

func TestDeployerIntroducesAndReadsNothing(t *testing.T) {
	token := deployerToken(t)
	wrapped, err := introduce.Mint(t.Context(), introduce.Config{
		Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Token: token, Minting: vaultpki.Minting{Role: gatewayRole},
	})
	if err != nil {
		t.Fatal(err)
	}
	if wrapped.TTL != vaultpki.DefaultWrapTTL {
		t.Errorf("wrapped for %s", wrapped.TTL)
	}
	checkPrivileges(t, token, []call{
		// Without wrapping the deployer would see the SecretID.
		{"PUT", "auth/approle/role/sallyport-gateway/secret-id", false},
		{"PUT", "auth/approle/role/other/secret-id", false},
		{"GET", "secret/data/sallyport/saml", false},
		{"PUT", "pki-edge/sign/sallyport-edge", false},
	})
}
