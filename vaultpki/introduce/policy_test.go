package introduce_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce"
)

// deployer returns a token with the policy and no other.
func deployer(t *testing.T, vault *vaulttest.Server, policy introduce.Policy) string {
	t.Helper()
	text, err := policy.Text()
	if err != nil {
		t.Fatal(err)
	}
	if err := vault.Call(t.Context(), http.MethodPut, "sys/policies/acl/deployer", map[string]string{"policy": text}, nil); err != nil {
		t.Fatal(err)
	}
	var created struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	body := map[string]any{"policies": []string{"deployer"}, "no_default_policy": true}
	if err := vault.Call(t.Context(), http.MethodPost, "auth/token/create", body, &created); err != nil {
		t.Fatal(err)
	}
	return created.Auth.ClientToken
}

func TestDeployerIntroducesAndReadsNothing(t *testing.T) {
	vault := startVault(t)
	if err := vault.Call(t.Context(), http.MethodPost, "auth/approle/role/other", map[string]any{"secret_id_num_uses": 1}, nil); err != nil {
		t.Fatal(err)
	}
	server := vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}
	token := deployer(t, vault, introduce.Policy{Roles: []string{"app"}, MaxWrapTTL: 10 * time.Minute})
	mint := func(role string, ttl time.Duration) error {
		_, err := introduce.Mint(t.Context(), introduce.Config{Server: server, Token: token, Minting: vaultpki.Minting{Role: role, WrapTTL: ttl}})
		return err
	}
	if err := mint("app", time.Minute); err != nil {
		t.Errorf("its own role: %v", err)
	}
	for what, err := range map[string]error{"another role": mint("other", time.Minute), "longer than allowed": mint("app", 11*time.Minute)} {
		if vaultpki.ReasonOf(err) != vaultpki.ReasonDenied && vaultpki.ReasonOf(err) != vaultpki.ReasonConfig {
			t.Errorf("%s: %v, expected a refusal", what, err)
		}
	}
	var long *vaultpki.Error
	if err := mint("app", 11*time.Minute); !errors.As(err, &long) || !strings.Contains(long.Hint, "max_wrapping_ttl, if it has one, is not less than 11m0s") {
		t.Errorf("longer than allowed: %v, hint %+v", err, long)
	}
	client, err := vaultpki.WithToken(server, token)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.ReadKV(t.Context(), "secret", "anything"); vaultpki.ReasonOf(err) != vaultpki.ReasonDenied {
		t.Errorf("reading a secret: %v, expected denied", err)
	}
	for _, call := range [][2]string{
		{"PUT", "auth/approle/role/app/secret-id"}, // unwrapped
		{"GET", "auth/approle/role/app/role-id"}, {"GET", "auth/approle/role/app"}, {"GET", "auth/token/lookup-self"},
		{"GET", "sys/mounts"}, {"PUT", "auth/token/create"}, {"PUT", "auth/token/revoke-accessor"},
		{"PUT", "auth/token/renew-self"},
	} {
		if status := bare(t, vault, call[0], call[1], token); status != http.StatusForbidden {
			t.Errorf("%s %s: status %d, expected 403", call[0], call[1], status)
		}
	}
}

// bare makes one call that asks for no wrapping, and returns its status.
func bare(t *testing.T, vault *vaulttest.Server, method, path, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, vault.Address+"/v1/"+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	req.Header.Set("X-Vault-Request", "true")
	transport := &http.Transport{TLSClientConfig: trust(t, vault.CAFile), DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestTokenOfADriverKeepsItselfAlive(t *testing.T) {
	vault := startVault(t)
	token := deployer(t, vault, introduce.Policy{Roles: []string{"app"}, Renew: true})
	for call, want := range map[string]int{"auth/token/renew-self": http.StatusOK, "auth/token/create": http.StatusForbidden} {
		if status := bare(t, vault, http.MethodPut, call, token); status != want {
			t.Errorf("%s: status %d, expected %d", call, status, want)
		}
	}
}

func TestFaultyPolicyIsNotWritten(t *testing.T) {
	for name, test := range map[string]struct {
		policy introduce.Policy
		fault  string
	}{
		"no role":                              {introduce.Policy{}, "roles: none given"},
		"a pattern":                            {introduce.Policy{Roles: []string{"app", "sallyport-*"}}, `role "sallyport-*"`},
		"a path":                               {introduce.Policy{Roles: []string{"app/../admin"}}, `role "app/../admin"`},
		"a quote":                              {introduce.Policy{Roles: []string{`a"b`}}, "role"},
		"an heir of a role that is introduced": {introduce.Policy{Roles: []string{"app"}, Heir: "app"}, `heir "app"`},
		"an heir that is a pattern":            {introduce.Policy{Roles: []string{"app"}, Heir: "*"}, `role "*"`},
		"a bad mount":                          {introduce.Policy{Roles: []string{"app"}, AuthMount: "+"}, `auth mount "+"`},
	} {
		t.Run(name, func(t *testing.T) {
			if text, err := test.policy.Text(); err == nil || text != "" || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("text %q, error %v; expected %q", text, err, test.fault)
			}
		})
	}
}

func TestWhatIsNotDeliveredIsTakenBack(t *testing.T) {
	vault := startVault(t)
	for name, revoke := range map[string]bool{"the policy allows it": true, "the policy does not": false} {
		t.Run(name, func(t *testing.T) {
			cfg := introduce.Config{
				Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Minting: vaultpki.Minting{Role: "app"},
				Token: deployer(t, vault, introduce.Policy{Roles: []string{"app"}, Revoke: revoke}),
			}
			nobody := errors.New("nobody is there")
			var minted vaultpki.Wrapped
			_, err := introduce.Deliver(t.Context(), cfg, func(w vaultpki.Wrapped) error { minted = w; return nobody })
			var undelivered *introduce.UndeliveredError
			if !errors.As(err, &undelivered) || !errors.Is(err, nobody) || (undelivered.Revoke == nil) != revoke {
				t.Fatalf("error %#v, expected one that was revoked: %t", err, revoke)
			}
			if hint := undelivered.Hint(); strings.Contains(hint, minted.Token) || strings.Contains(hint, minted.Accessor) == revoke {
				t.Errorf("hint %q", hint)
			}
			alive := vault.Call(t.Context(), "PUT", "sys/wrapping/lookup", map[string]string{"token": minted.Token}, nil) == nil
			if alive == revoke {
				t.Errorf("vault knows the token: %t, revoked: %t", alive, revoke)
			}
		})
	}
}
