package vaultpki_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

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

func TestRevokedTokenEndsTheRunThatIsToStop(t *testing.T) {
	t.Parallel()
	const role = "revoked-stop"
	cfg := newRole(t, role, ownToken, map[string]any{"token_period": "4s"}).cfg
	cfg.OnRevocation = vaultpki.Stop
	client, err := vaultpki.Login(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	revokeTokensOf(t, role)
	begin := time.Now()
	err = client.Run(t.Context())
	if vaultpki.ReasonOf(err) != vaultpki.ReasonTokenLost || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("Run ended with %v, expected token_lost for revocation", err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("noticed after %s, expected the first renewal", took)
	}
}

// TestRevokedTokenIsReplacedByANewIntroduction has no heir: the file is watched.
func TestRevokedTokenIsReplacedByANewIntroduction(t *testing.T) {
	t.Parallel()
	const role = "revoked-replace"
	r := newRole(t, role, ownToken, map[string]any{"token_period": "4s"})
	log, cfg := r.log, r.cfg
	cfg.Method = changed(cfg, func(m *vaultpki.AppRole) { m.Heir = vaultpki.Heir{} })
	file := cfg.Method.(vaultpki.AppRole).WrappingTokenFile
	client, err := vaultpki.Login(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, client.Run)
	revokeTokensOf(t, role)
	eventually(t, "the process finds that it has nothing to log in with", func() bool {
		return len(log.entries(t, "logging in again did not succeed")) > 0
	})
	if s := client.Status(); !s.Lost || s.LostCause == "" {
		t.Errorf("status %+v", s)
	}
	if err := os.WriteFile(file, []byte(mint(t, role, time.Minute)), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new introduction is used", func() bool { return len(log.entries(t, "logged in")) == 2 })
	if s := client.Status(); s.Lost {
		t.Errorf("status %+v", s)
	}
}

func TestTokenNearItsMaximumIsReplacedBeforeItEnds(t *testing.T) {
	t.Parallel()
	r := newHeirRole(t, "capped-heir", map[string]any{"token_ttl": "8s", "token_max_ttl": "12s"})
	client := r.login(t)
	first := client.Status().Since
	inBackground(t, client.Run)
	eventually(t, "there is another token", func() bool {
		if client.Status().Lost || time.Now().After(client.TokenExpiry()) {
			t.Fatalf("the token was lost:\n%s", r.log.String())
		}
		return client.Status().Since.After(first)
	})
	if len(r.log.entries(t, "vault token renewed")) == 0 {
		t.Error("the token was never renewed")
	}
	if len(r.log.entries(t, "vault token was granted a shorter life: it nears its maximum")) == 0 {
		t.Errorf("no warning before the end:\n%s", r.log.String())
	}
}

func TestTokenThatCannotBeRenewedIsReplacedBeforeItEnds(t *testing.T) {
	t.Parallel()
	r := newHeirRole(t, "batch-heir", map[string]any{"token_type": "batch", "token_ttl": "6s"})
	client := r.login(t)
	first := client.Status()
	if first.Renewable {
		t.Fatalf("a batch token is renewable: %+v", first)
	}
	inBackground(t, client.Run)
	eventually(t, "there is another token", func() bool { return client.Status().Since.After(first.Since) })
	if entries := r.log.entries(t, "vault token is lost"); len(entries) != 0 {
		t.Errorf("the token was lost first: %v", entries)
	}
}

// TestReadersOfADeadTokenShareOneLogin revokes the token under many readers.
func TestReadersOfADeadTokenShareOneLogin(t *testing.T) {
	front := newStandIn(t)
	r := newHeirRole(t, "shared-heir", map[string]any{"token_period": "10m"})
	r.cfg.Address, r.cfg.CAFile = front.URL, front.CAFile
	client := r.login(t)
	inBackground(t, client.Run)
	before := front.called(lookupSelf)
	revokeTokensOf(t, "shared-heir")
	var readers errgroup.Group
	for range 40 {
		readers.Go(func() error {
			_, err := client.ReadKV(t.Context(), "secret", "sallyport/saml")
			return err
		})
	}
	if err := readers.Wait(); err != nil {
		t.Errorf("a reader failed: %v", err)
	}
	if logins, lookups := front.called("auth/approle/login"), front.called(lookupSelf)-before; logins != 2 || lookups > 2 {
		t.Errorf("%d logins and %d lookups, expected 2 and at most 2: the watchdog's, and one of the new token", logins, lookups)
	}
}

// TestDeniedPathIsNoDeadToken: the token stays, an alarm is raised once, and the
// refusals of a whole flock cost few lookups.
func TestDeniedPathIsNoDeadToken(t *testing.T) {
	front := newStandIn(t)
	r := newHeirRole(t, "denied-heir", map[string]any{"token_period": "10m"})
	r.cfg.Address, r.cfg.CAFile = front.URL, front.CAFile
	client := r.login(t)
	inBackground(t, client.Run)
	before := front.called(lookupSelf)
	for range 30 {
		if _, err := client.ReadKV(t.Context(), "secret", "elsewhere"); vaultpki.ReasonOf(err) != vaultpki.ReasonDenied {
			t.Fatalf("error %v, expected denied", err)
		}
	}
	if n := front.called(lookupSelf) - before; n != 1 {
		t.Errorf("%d lookups for 30 refusals, expected 1", n)
	}
	if n := strings.Count(r.log.String(), `"event":"access_denied"`); n != 1 || front.called("auth/approle/login") != 1 {
		t.Errorf("%d alarms and %d logins, expected one of each", n, front.called("auth/approle/login"))
	}
	if _, err := client.ReadKV(t.Context(), "secret", "sallyport/saml"); err != nil {
		t.Errorf("the path that is allowed: %v", err)
	}
}
