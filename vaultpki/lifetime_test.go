package vaultpki_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// revokeTokensOf does what an operator does in an emergency.
func revokeTokensOf(t *testing.T, role string) {
	t.Helper()
	var list struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", "auth/token/accessors?list=true", nil, &list); err != nil {
		t.Fatal(err)
	}
	revoked := 0
	for _, accessor := range list.Data.Keys {
		var info struct {
			Data struct {
				Meta map[string]string `json:"meta"`
			} `json:"data"`
		}
		body := map[string]string{"accessor": accessor}
		if err := vault.Call(t.Context(), "POST", "auth/token/lookup-accessor", body, &info); err != nil {
			continue // it expired since it was listed
		}
		if info.Data.Meta["role_name"] == role {
			if err := vault.Call(t.Context(), "POST", "auth/token/revoke-accessor", body, nil); err != nil {
				t.Fatal(err)
			}
			revoked++
		}
	}
	if revoked == 0 {
		t.Fatalf("no token of role %s", role)
	}
}

func TestRevokedTokenEndsTheRun(t *testing.T) {
	client := login(t, "revoked")
	revokeTokensOf(t, "revoked")
	begin := time.Now()
	err := client.Run(t.Context())
	if vaultpki.ReasonOf(err) != vaultpki.ReasonTokenLost || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("Run ended with %v, expected token_lost for revocation", err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("noticed after %s, expected the first renewal", took)
	}
}

func TestTokenNearItsMaximumIsWarnedOf(t *testing.T) {
	var log journal
	cfg := configFor("capped", tokenFile(t, mint(t, "capped", time.Minute)))
	cfg.Log = log.logger()
	client, err := vaultpki.Login(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Run(t.Context()); vaultpki.ReasonOf(err) != vaultpki.ReasonTokenLost {
		t.Errorf("Run ended with %v, expected token_lost", err)
	}
	if len(log.entries(t, "vault token renewed")) == 0 {
		t.Error("the token was never renewed")
	}
	if len(log.entries(t, "vault token was granted a shorter life: it nears its maximum")) == 0 {
		t.Errorf("no warning before the end:\n%s", log.String())
	}
}
