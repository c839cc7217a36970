package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// TestTheLogIsSignedByVault takes a gateway through an outage of Vault, and has an
// auditor verify its log: with Vault, with public keys alone, and tampered with.
func TestTheLogIsSignedByVault(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	https, admin, file := free(t), free(t), filepath.Join(t.TempDir(), "access.log")
	settings := s.write(t, "signed.yaml", gatewayYAML(https, admin, "access_log: {file: "+file+", checkpoints: {key: sallyport-access-log, every: 1s}}\n"))
	if p := s.start(t, "provision", "apply", "--config", settings, "--token-period", "1h", "--allow-loosen", "--token-file", s.tokenFile); p.wait(t) != exitOK {
		t.Fatal(p.err.String())
	} else if want := "+ transit key transit/sallyport-access-log: ed25519, not exportable\n+ policy sallyport-verifier\n"; !strings.Contains(p.out.String(), want) {
		t.Errorf("provision apply did:\n%s\nexpected %s", p.out.String(), want)
	}
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, settings)
	p.ready(t, admin)
	browser := s.browser(t, https)
	signed := func(what, key string, least int) {
		t.Helper()
		p.eventually(t, what, func() (string, bool) {
			log := read(t, file)
			return log, strings.Count(log, `"key":"`+key+`"`) >= least
		})
	}
	const byVault = "transit/transit/sallyport-access-log/v"
	signed("vault signs for the first record", byVault+"1", 1)
	browser("GET", "/", nil)
	signed("vault signs for a request", byVault+"1", 2)
	s.vault.Stop()
	browser("GET", "/away", nil)
	signed("the instance signs", "instance", 1)
	if err := s.vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	signed("vault signs again, without a request", byVault+"1", 3)
	checkMetrics(t, admin, `sallyport_access_log_checkpoints_total{signer="instance"}`, `sallyport_access_log_checkpoints_total{signer="vault"}`,
		"sallyport_access_log_checkpoint_failures_total", "sallyport_access_log_signed_seconds 1", "sallyport_access_log_unsigned_records")
	s.call(t, "POST", "transit/keys/sallyport-access-log/rotate", nil, nil)
	browser("GET", "/rotated", nil)
	signed("vault signs with the next version of its key", byVault+"2", 1)
	checkMetrics(t, admin, `sallyport_access_log_checkpoints_total{signer="vault"}`, `sallyport_access_log_checkpoints_total{signer="instance"}`,
		"sallyport_access_log_checkpoint_failures_total", "sallyport_access_log_signed_seconds", "sallyport_access_log_unsigned_records")
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	s.checkNoSecret(t, p)
	whole := read(t, file)
	s.checkVerified(t, file)
	s.checkBoard(t, whole)
}

// checkBoard lists what is published, and replaces it by what was published before, which
// shows; nothing is removed that is young, or that Vault has not signed.
func (s *stand) checkBoard(t *testing.T, log string) {
	t.Helper()
	auditor := s.auditorToken(t)
	board := func(token string, code int, want ...string) {
		t.Helper()
		p := s.start(t, "audit", "board", "--token-file", token, "--prune", "--older-than", "1d")
		if got := p.wait(t); got != code {
			t.Errorf("exit code %d, expected %d\n%s", got, code, p.err.String())
		}
		for _, part := range want {
			if !strings.Contains(p.out.String(), part) {
				t.Errorf("expected %q in\n%s", part, p.out.String())
			}
		}
	}
	board(auditor, exitOK, "  ended  right", "1 published, 0 removed\n")
	var listed struct{ Data struct{ Keys []string } }
	s.call(t, "LIST", "secret/metadata/sallyport/log", nil, &listed)
	at := "secret/data/sallyport/log/" + listed.Data.Keys[0]
	_, object, _ := strings.Cut(log, `"sallyport.log.checkpoint":`)
	object, _, _ = strings.Cut(object, `,"sallyport.log.instance"`)
	s.call(t, "POST", at, map[string]any{"data": map[string]string{"checkpoint": object}}, nil)
	file := s.write(t, "whole.log", log)
	p := s.start(t, "audit", "verify", file, "--vault", "--token-file", auditor)
	if code, out := p.wait(t), p.out.String(); code != exitTampered || !strings.Contains(out, "replaced_checkpoint: ") {
		t.Errorf("an older checkpoint in the place of the last: exit code %d\n%s%s", code, out, p.err.String())
	}
	board(auditor, exitOK, "  not ended  right", "1 published, 0 removed\n")
	old := strings.Replace(object, `"time":"2`, `"time":"1`, 1) // not signed any more
	s.call(t, "POST", at, map[string]any{"data": map[string]string{"checkpoint": old, "ended": "true"}}, nil)
	board(auditor, exitOK, "forged checkpoint", "1 published, 0 removed\n")
}

// TestAKilledGatewaysLogIsWhole kills a gateway while it answers, and starts another on
// the same file: nothing is out of place, and it shows where the first one ended.
func TestAKilledGatewaysLogIsWhole(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	https, admin, file := free(t), free(t), filepath.Join(t.TempDir(), "access.log")
	settings := s.write(t, "killed.yaml", gatewayYAML(https, admin, "access_log: {file: "+file+", checkpoints: {key: sallyport-access-log, every: 1s}}\n"))
	if p := s.start(t, "provision", "apply", "--config", settings, "--token-period", "1h", "--allow-loosen", "--token-file", s.tokenFile); p.wait(t) != exitOK {
		t.Fatal(p.err.String())
	}
	var p *process
	for n := range 3 {
		p = s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, settings)
		p.ready(t, admin)
		p.eventually(t, "vault signs", func() (string, bool) {
			log := read(t, file)
			return log, strings.Count(log, `"key":"transit/`) > n
		})
		browser := s.browser(t, https)
		for range 50 {
			browser("GET", "/", nil)
		}
		p.signal(t, syscall.SIGKILL)
		p.wait(t)
	}
	verified := s.start(t, "audit", "verify", file, "--vault", "--token-file", s.auditorToken(t))
	code, out := verified.wait(t), verified.out.String()
	if code != exitOK || strings.Count(out, "not_ended: ") != 3 || !strings.Contains(out, "records of 3 instances") {
		t.Errorf("exit code %d\n%s%s", code, out, verified.err.String())
	}
}

// auditorToken makes a token that the auditor's policy alone is for.
func (s *stand) auditorToken(t *testing.T) (file string) {
	t.Helper()
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	s.call(t, "POST", "auth/token/create", map[string]any{"policies": []string{"sallyport-verifier"}, "no_default_policy": true, "ttl": "1h"}, &made)
	return s.write(t, "auditor-token", made.Auth.Token)
}

// checkVerified verifies a log of one instance that has ended.
func (s *stand) checkVerified(t *testing.T, file string) {
	t.Helper()
	token := s.auditorToken(t)
	keys := s.start(t, "audit", "keys", "--token-file", token)
	if code := keys.wait(t); code != exitOK || strings.Count(keys.out.String(), "\n") != 2 {
		t.Fatalf("audit keys: exit code %d\n%s%s", code, keys.out.String(), keys.err.String())
	}
	keyFile := s.write(t, "keys", keys.out.String())
	verify := func(what, file string, code int, want []string, args ...string) {
		t.Helper()
		p := s.start(t, append([]string{"audit", "verify", file}, args...)...)
		if got := p.wait(t); got != code {
			t.Errorf("%s: exit code %d, expected %d\n%s", what, got, code, p.err.String())
		}
		for _, part := range want {
			if !strings.Contains(p.out.String(), part) {
				t.Errorf("%s: expected %q in\n%s", what, part, p.out.String())
			}
		}
	}
	byVault := []string{"--vault", "--token-file", token}
	verify("with Vault", file, exitOK, []string{", ended\n", "; 0 records behind that on the chain alone\n", "by its own key", "\nwhole: "}, byVault...)
	verify("with keys", file, exitOK, []string{" records behind that on the chain alone\n", "\nwhole: "}, "--keys", keyFile)
	whole := read(t, file)
	tampered := func(content string) string { return s.write(t, "tampered.log", content) }
	at := strings.LastIndex(whole, `"signature":"`) + len(`"signature":"`)
	forged := whole[:at] + strings.Repeat("A", 20) + whole[at+20:]
	verify("a forged signature", tampered(forged), exitTampered, []string{"forged_checkpoint: "}, byVault...)
	lines := strings.SplitAfter(whole, "\n")
	verify("a cut end", tampered(strings.Join(lines[:len(lines)-2], "")), exitTampered, []string{"truncated: ", "its checkpoint in Vault"}, byVault...)
	verify("a cut end, and nobody who knows", tampered(strings.Join(lines[:len(lines)-2], "")), exitOK, []string{"not_ended: "}, "--keys", keyFile)
	other := s.write(t, "other-keys", strings.ReplaceAll(keys.out.String(), "sallyport-access-log", "other"))
	verify("other keys", file, exitTampered, []string{"unknown_signer: "}, "--keys", other)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	verify("no file", file, exitUsage, nil, byVault...)
}

// The key of a gateway's configuration is what Vault must hold; a file beside it may say
// more of it, and nothing else.
func TestTheKeyOfTheLogIsProvisioned(t *testing.T) {
	t.Parallel()
	gateway, err := config.LoadGateway("gateway.yaml", []byte(gatewayYAML("127.0.0.1:1", "127.0.0.1:2", "access_log: {checkpoints: {key: k, mount: m, path: p/log}}\n")))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file string
		want provision.Transit
		says string
	}{
		"nothing more":   {"transit: {type: ed25519}", provision.Transit{Mount: "m", Key: "k", LogPath: "p/log", Type: "ed25519", VerifierPolicy: "sallyport-verifier"}, ""},
		"its type":       {"transit: {type: ecdsa-p256, verifier_policy: v}", provision.Transit{Mount: "m", Key: "k", LogPath: "p/log", Type: "ecdsa-p256", VerifierPolicy: "v"}, ""},
		"the same":       {"transit: {key: k, mount: m, log_path: p/log}", provision.Transit{Mount: "m", Key: "k", LogPath: "p/log", Type: "ed25519", VerifierPolicy: "sallyport-verifier"}, ""},
		"another key":    {"transit: {key: x, mount: m, log_path: p/log}", provision.Transit{}, `transit.key: found "x", expected "k"`},
		"another mount":  {"transit: {key: k, log_path: p/log}", provision.Transit{}, `transit.mount: found "transit", expected "m"`},
		"somewhere else": {"transit: {key: k, mount: m}", provision.Transit{}, `transit.log_path: found "sallyport/log", expected "p/log"`},
	} {
		vault, err := config.LoadProvision("vault.yaml", []byte(test.file))
		if err != nil {
			t.Fatal(err)
		}
		want := spec(gateway)
		err = refine(&want, vault, true)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v, expected %q", name, err, test.says)
			}
			continue
		}
		if err != nil || want.Transit != test.want {
			t.Errorf("%s: %+v, %v; expected %+v", name, want.Transit, err, test.want)
		}
	}
}
