package vaultpki_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/vaultpki"
)

const (
	lookupSelf   = "auth/token/lookup-self"
	wrapLookup   = "sys/wrapping/lookup"
	wrapUnwrap   = "sys/wrapping/unwrap"
	approleLogin = "auth/approle/login"

	// ownToken lets a token be renewed and looked up.
	ownToken = `path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
`
)

// heirRole is an AppRole whose processes may mint their heirs, and the Config of
// one such process.
type heirRole struct {
	name string
	cfg  vaultpki.Config
	log  *journal
	file string // the heir's
}

// newHeirRole makes the role in Vault and a place for the heir in memory.
func newHeirRole(t testing.TB, name string, settings map[string]any) *heirRole {
	t.Helper()
	rules := fmt.Sprintf(`path "auth/approle/role/%s/secret-id" { capabilities = ["update"] min_wrapping_ttl = "1s" max_wrapping_ttl = "24h" }
%spath "secret/data/sallyport/saml" { capabilities = ["read"] }`, name, ownToken)
	return newRole(t, name, rules, settings)
}

func newRole(t testing.TB, name, rules string, settings map[string]any) *heirRole {
	t.Helper()
	roleIDs.Store(name, makeRole(t, vault, name, rules, settings))
	r := &heirRole{name: name, log: new(journal), file: filepath.Join(memoryDir(t), "heir")}
	r.cfg = configFor(name, tokenFile(t, mint(t, name, time.Minute)))
	r.cfg.Log = r.log.logger()
	r.cfg.Method = changed(r.cfg, func(m *vaultpki.AppRole) { m.Heir.File = r.file })
	return r
}

// makeRole makes an AppRole with a policy of its own, and returns its RoleID.
func makeRole(t testing.TB, server *vaulttest.Server, name, rules string, settings map[string]any) string {
	t.Helper()
	body := map[string]any{"token_policies": []string{name}, "secret_id_num_uses": 0, "secret_id_ttl": "25h", "token_no_default_policy": true}
	maps.Copy(body, settings)
	var id struct {
		Data struct {
			RoleID string `json:"role_id"`
		} `json:"data"`
	}
	err := errors.Join(
		server.Call(t.Context(), "PUT", "sys/policies/acl/"+name, map[string]string{"policy": rules}, nil),
		server.Call(t.Context(), "POST", "auth/approle/role/"+name, body, nil),
		server.Call(t.Context(), "GET", "auth/approle/role/"+name+"/role-id", nil, &id),
	)
	if err != nil {
		t.Fatal(err)
	}
	return id.Data.RoleID
}

// prepare does one call in Vault.
func prepare(t testing.TB, method, path string, body, out any) {
	t.Helper()
	if err := vault.Call(t.Context(), method, path, body, out); err != nil {
		t.Fatal(err)
	}
}

// memoryDir is a folder of the test's own on tmpfs.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "sallyport")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// login starts a process that has an introduction, or what an earlier one left.
func (r *heirRole) login(t testing.TB) *vaultpki.Client {
	t.Helper()
	client, err := vaultpki.Login(t.Context(), r.cfg)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.log.String())
	}
	t.Cleanup(client.Close)
	return client
}

// without takes the introduction away, so that only an heir can help.
func (r *heirRole) without(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(r.cfg.Method.(vaultpki.AppRole).WrappingTokenFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// heirFile is what the heir file holds.
type heirFile struct {
	Heirs []struct {
		Token   string    `json:"token"`
		Minted  time.Time `json:"minted"`
		Ends    time.Time `json:"ends"`
		Claimed time.Time `json:"claimed"`
	} `json:"heirs"`
}

func (r *heirRole) kept(t testing.TB) heirFile {
	t.Helper()
	raw, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	var kept heirFile
	if err := json.Unmarshal(raw, &kept); err != nil {
		t.Fatal(err)
	}
	return kept
}

// revokeHeirs has Vault forget every heir, as when they end.
func (r *heirRole) revokeHeirs(t *testing.T) {
	t.Helper()
	for _, heir := range r.kept(t).Heirs {
		prepare(t, "PUT", "auth/token/revoke-accessor", map[string]string{"accessor": accessorOf(t, heir.Token)}, nil)
	}
}

func TestHeirLogsInAfterARestart(t *testing.T) {
	r := newHeirRole(t, "heir-restart", map[string]any{"token_period": "1h"})
	first := r.login(t)
	if left := time.Until(first.Status().HeirEnds); left < 23*time.Hour || left > 24*time.Hour || first.Status().Outlasts != 8*time.Hour {
		t.Errorf("heir ends in %s, status %+v", left, first.Status())
	}
	info, err := os.Stat(r.file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("heir file: %v, %v; expected mode 0600", info.Mode(), err)
	}
	tokens := r.kept(t).Heirs
	if len(tokens) != 2 {
		t.Fatalf("%d heirs are kept, expected one and a spare", len(tokens))
	}
	first.Close()
	for range 3 { // each start leaves the next one an heir
		r.login(t).Close()
	}
	if n := len(r.log.entries(t, "heir found")); n != 3 {
		t.Errorf("%d starts by an heir, expected 3:\n%s", n, r.log.String())
	}
	if strings.Contains(r.log.String(), "hvs.") {
		t.Error("the log shows a token")
	}
	for _, spent := range tokens[:1] {
		if err := vault.Call(t.Context(), "PUT", wrapLookup, map[string]string{"token": spent.Token}, nil); err == nil {
			t.Error("an heir that was used is still good")
		}
	}
}

func TestHeirIsMintedAgainBeforeItEnds(t *testing.T) {
	const heirLife = 9 * time.Second // two thirds of which a busy machine may need
	t.Parallel()
	r := newHeirRole(t, "heir-minted", map[string]any{"token_period": "1h"})
	r.cfg.Method = changed(r.cfg, func(m *vaultpki.AppRole) { m.Heir.TTL = heirLife })
	client := r.login(t)
	inBackground(t, client.Run)
	begin := time.Now()
	eventually(t, "three more heirs were minted", func() bool {
		if ends := client.Status().HeirEnds; time.Now().After(ends) {
			t.Fatal("there is no heir")
		}
		return len(r.log.entries(t, "heir minted")) >= 4
	})
	if took := time.Since(begin); took < heirLife {
		t.Errorf("three heirs of %s after %s", heirLife, took)
	}
	if kept := r.kept(t).Heirs; len(kept) != 2 || !kept[0].Minted.After(kept[1].Minted) {
		t.Errorf("kept: %+v", kept)
	}
}

func TestHeirIsMintedWithEachRenewal(t *testing.T) {
	t.Parallel()
	r := newHeirRole(t, "heir-renewed", map[string]any{"token_period": "4s"})
	r.cfg.Method = changed(r.cfg, func(m *vaultpki.AppRole) { m.Heir.TTL = 30 * time.Second })
	client := r.login(t)
	inBackground(t, client.Run)
	eventually(t, "the token was renewed and the heir minted", func() bool {
		return len(r.log.entries(t, "vault token renewed")) > 0 && len(r.log.entries(t, "heir minted")) > 1
	})
}

// TestHeirIsRefused has every heir that is of no use, and what is then done.
func TestHeirIsRefused(t *testing.T) {
	spoil := func(change func(raw []byte) []byte) func(*testing.T, *heirRole) {
		return func(t *testing.T, r *heirRole) {
			raw, err := os.ReadFile(r.file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(r.file, change(raw), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		spoil func(t *testing.T, r *heirRole)
		want  refusal // without an introduction
		falls bool    // with one, it is used
	}{
		"somebody used it": {
			func(t *testing.T, r *heirRole) {
				thief := configFor(r.name, tokenFile(t, r.kept(t).Heirs[0].Token))
				thief.Method = changed(thief, func(m *vaultpki.AppRole) { m.MaxWrapTTL = 24 * time.Hour })
				if _, err := vaultpki.Login(t.Context(), thief); err != nil {
					t.Fatal(err)
				}
			}, refusal{vaultpki.ReasonIntercepted, "400", "interception_alarm"}, false,
		},
		"it is another role's": {
			func(t *testing.T, r *heirRole) {
				other := mint(t, gatewayRole, time.Hour)
				spoil(func(raw []byte) []byte {
					return []byte(strings.Replace(string(raw), r.kept(t).Heirs[0].Token, other, 1))
				})(t, r)
			}, refusal{vaultpki.ReasonForged, gatewayRole, "introduction_forged"}, false,
		},
		"it lives too long": {
			func(t *testing.T, r *heirRole) {
				other := mint(t, r.name, 30*time.Hour)
				spoil(func(raw []byte) []byte {
					return []byte(strings.Replace(string(raw), r.kept(t).Heirs[0].Token, other, 1))
				})(t, r)
			}, refusal{vaultpki.ReasonForged, "creation TTL 30h", "introduction_forged"}, false,
		},
		"it is past its end": {
			func(t *testing.T, r *heirRole) {
				ends := r.kept(t).Heirs[1].Ends
				r.revokeHeirs(t)
				r.cfg.Now = func() time.Time { return ends.Add(time.Minute) }
			}, refusal{vaultpki.ReasonExpired, "ended at", "introduction_expired"}, false,
		},
		"its file is garbage": {
			spoil(func([]byte) []byte { return []byte("{") }), refusal{vaultpki.ReasonNoToken, "empty", ""}, true,
		},
		"its file is open to others": {
			func(t *testing.T, r *heirRole) {
				if err := os.Chmod(r.file, 0o644); err != nil {
					t.Fatal(err)
				}
			}, refusal{vaultpki.ReasonNoToken, "empty", ""}, true,
		},
		"its file is a link": {
			func(t *testing.T, r *heirRole) {
				if err := os.Rename(r.file, r.file+".real"); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(r.file+".real", r.file); err != nil {
					t.Fatal(err)
				}
			}, refusal{vaultpki.ReasonNoToken, "empty", ""}, true,
		},
		"its SecretIDs were destroyed": {
			func(t *testing.T, r *heirRole) {
				prepare(t, "DELETE", "auth/approle/role/"+r.name, nil, nil)
				newHeirRole(t, r.name, map[string]any{"token_period": "1h"})
				r.cfg.Method = changed(r.cfg, func(m *vaultpki.AppRole) { m.RoleID = roleID(r.name) })
			}, refusal{vaultpki.ReasonLoginRefused, "and there is no introduction", ""}, true,
		},
	}
	n := 0
	for name, test := range tests {
		n++
		role := fmt.Sprintf("heir-refused-%d", n)
		t.Run(name, func(t *testing.T) {
			r := newHeirRole(t, role, map[string]any{"token_period": "1h"})
			r.login(t).Close()
			r.without(t)
			test.spoil(t, r)
			var log journal
			r.cfg.Log = log.logger()
			_, err := vaultpki.Login(t.Context(), r.cfg)
			test.want.check(t, err, &log)
			if !test.falls {
				return
			}
			if err := os.WriteFile(r.cfg.Method.(vaultpki.AppRole).WrappingTokenFile, []byte(mint(t, role, time.Minute)), 0o600); err != nil {
				t.Fatal(err)
			}
			r.login(t)
			if len(r.kept(t).Heirs) != 2 {
				t.Errorf("no new heirs: %+v", r.kept(t))
			}
		})
	}
}

// TestHeirOutlivesAWrongClock: a host that starts before it has asked for the time
// keeps what Vault would take.
func TestHeirOutlivesAWrongClock(t *testing.T) {
	for name, test := range map[string]struct {
		role  string
		skew  time.Duration
		fault string
	}{
		"ahead":  {"heir-ahead", 48 * time.Hour, "longer than its TTL of 24h0m0s"},
		"behind": {"heir-behind", -5 * time.Minute, "5m0s in the future"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHeirRole(t, test.role, map[string]any{"token_period": "1h"})
			r.login(t).Close()
			r.without(t)
			before := r.kept(t)
			var log journal
			wrong := r.cfg
			wrong.Log = log.logger()
			now := time.Now().Add(test.skew)
			wrong.Now = func() time.Time { return now }
			_, err := vaultpki.Login(t.Context(), wrong)
			refusal{vaultpki.ReasonClock, test.fault, ""}.check(t, err, &log)
			for _, clock := range []time.Time{now, before.Heirs[0].Minted} {
				if !strings.Contains(err.Error(), clock.UTC().Format("2006-01-02T15:04")) {
					t.Errorf("error %v: expected both clocks, also %s", err, clock)
				}
			}
			if len(log.entries(t, "heir was not used, and is kept: the clocks of this host and of vault differ")) != 1 {
				t.Errorf("no line about the clocks:\n%s", log.String())
			}
			if diff := cmp.Diff(before, r.kept(t)); diff != "" {
				t.Errorf("heirs (-before +after):\n%s", diff)
			}
			r.login(t) // the clock is right again
		})
	}
}

// TestHeirThatCannotBeKept: neither the log nor the status may promise a restart
// without an introduction.
func TestHeirThatCannotBeKept(t *testing.T) {
	r := newHeirRole(t, "heir-unkept", map[string]any{"token_period": "4s"})
	if err := os.Mkdir(r.file, 0o700); err != nil { // what a file cannot replace
		t.Fatal(err)
	}
	client := r.login(t)
	if ends := client.Status().HeirEnds; !ends.IsZero() {
		t.Errorf("the status shows an heir until %s, and there is none on the file system", ends)
	}
	if n := len(r.log.entries(t, "heir minted")); n != 0 {
		t.Errorf("the log tells %d times of an heir", n)
	}
	if n := len(r.log.entries(t, "heir file was not written: a restart will need another introduction")); n != 1 {
		t.Errorf("%d lines about the file, expected one:\n%s", n, r.log.String())
	}
	if err := os.Remove(r.file); err != nil {
		t.Fatal(err)
	}
	inBackground(t, client.Run)
	eventually(t, "the status shows the heir that is kept again", func() bool { return !client.Status().HeirEnds.IsZero() })
	if len(r.kept(t).Heirs) != 2 || len(r.log.entries(t, "heir file is written again")) != 1 {
		t.Errorf("kept %+v\n%s", r.kept(t), r.log.String())
	}
}

func TestInterceptedHeirIsNotTriedTwice(t *testing.T) {
	r := newHeirRole(t, "heir-stolen", map[string]any{"token_period": "1h"})
	r.login(t).Close()
	prepare(t, "PUT", wrapUnwrap, map[string]string{"token": r.kept(t).Heirs[0].Token}, nil)
	if _, err := vaultpki.Login(t.Context(), r.cfg); vaultpki.ReasonOf(err) != vaultpki.ReasonIntercepted {
		t.Fatalf("error %v, expected the alarm", err)
	}
	if kept := r.kept(t).Heirs; len(kept) != 0 {
		t.Errorf("%d heirs are kept: whoever read one read both", len(kept))
	}
	if err := os.WriteFile(r.cfg.Method.(vaultpki.AppRole).WrappingTokenFile, []byte(mint(t, r.name, time.Minute)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.login(t)
}

func TestTwoProcessesCannotShareAnHeir(t *testing.T) {
	r := newHeirRole(t, "heir-shared", map[string]any{"token_period": "1h"})
	first := r.login(t)
	var log journal
	cfg := r.cfg
	cfg.Log = log.logger()
	_, err := vaultpki.Login(t.Context(), cfg)
	refusal{vaultpki.ReasonConfig, "another process has it", ""}.check(t, err, &log)
	first.Close()
	r.login(t)
}

func TestHeirThatMayNotBeMintedIsDoneWithout(t *testing.T) {
	t.Parallel()
	r := newRole(t, "heirless", ownToken, map[string]any{"token_period": "3s"})
	client := r.login(t)
	inBackground(t, client.Run)
	eventually(t, "the token was renewed twice", func() bool { return len(r.log.entries(t, "vault token renewed")) >= 2 })
	warnings := r.log.entries(t, "heir may not be minted: a restart, and a token that ends, will need another introduction")
	if len(warnings) != 1 {
		t.Fatalf("%d warnings, expected one:\n%s", len(warnings), r.log.String())
	}
	if hint, _ := warnings[0]["what_to_do"].(string); !strings.Contains(hint, `path "auth/approle/role/heirless/secret-id" { capabilities = ["update"] min_wrapping_ttl = "1s"`) {
		t.Errorf("hint %q", hint)
	}
	if !client.Status().HeirEnds.IsZero() {
		t.Errorf("status %+v", client.Status())
	}
}

// TestRoleBoundToNetworks: an heir inherits the bounds of its role.
func TestRoleBoundToNetworks(t *testing.T) {
	r := newHeirRole(t, "heir-bound", map[string]any{
		"token_period": "1h", "secret_id_bound_cidrs": []string{"127.0.0.0/8"}, "token_bound_cidrs": []string{"127.0.0.0/8"},
	})
	r.login(t).Close()
	r.login(t)
	if len(r.log.entries(t, "heir found")) != 1 {
		t.Errorf("the second start was not by an heir:\n%s", r.log.String())
	}
	elsewhere := newHeirRole(t, "heir-elsewhere", map[string]any{"token_period": "1h", "secret_id_bound_cidrs": []string{"192.0.2.0/24"}})
	_, err := vaultpki.Login(t.Context(), elsewhere.cfg)
	refusal{vaultpki.ReasonLoginRefused, approleLogin, ""}.check(t, err, elsewhere.log)
}
