package secrets_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// live renders one file of the shared Vault and keeps it fresh, with signals that do not
// wait.
func live(t *testing.T, template string, grace time.Duration) (*secrets.Secrets, *app, string, func()) {
	t.Helper()
	return liveTold(t, template, grace, &journal{})
}

// liveTold is live with a log.
func liveTold(t *testing.T, template string, grace time.Duration, log *journal) (*secrets.Secrets, *app, string, func()) {
	t.Helper()
	file, told := filepath.Join(memory(t), "f"), &app{}
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")}, App: told, Refresh: 100 * time.Millisecond, Grace: grace, Log: log.logger(),
		Files: []secrets.File{{Path: file, Template: template, OnChange: secrets.Action{Verb: secrets.Signal, Signal: syscall.SIGHUP, Debounce: -1}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, told, file, running(t, s)
}

// tokenLives asks the shared Vault whether it knows a token.
func tokenLives(t *testing.T, token string) bool {
	t.Helper()
	return vault.Call(t.Context(), "POST", "auth/token/lookup", map[string]string{"token": token}, nil) == nil
}

// TestARealLeaseIsRenewedReplacedAndRevoked, as that of a token: it is renewed, replaced
// while it lives, revoked after the application has moved, and at the end.
func TestARealLeaseIsRenewedReplacedAndRevoked(t *testing.T) {
	t.Parallel()
	s, told, file, stop := live(t, `{{ with secret "auth/token/create" "policies=default" "ttl=3s" "explicit_max_ttl=5s" }}{{ .Auth.ClientToken }}{{ end }}`, time.Millisecond)
	first := content(t, file)
	await(t, "a renewal", func() bool { return s.State().Renewals > 0 })
	if got := content(t, file); got != first || !tokenLives(t, first) {
		t.Error("a renewal changed the file, or the token has ended")
	}
	await(t, "another token", func() bool { return content(t, file) != first })
	second := content(t, file)
	if !tokenLives(t, second) {
		t.Error("the file has a token that does not live")
	}
	await(t, "the signal", func() bool { return told.count("hangup") > 0 })
	await(t, "the first token's revocation", func() bool { return !tokenLives(t, first) })
	stop()
	if tokenLives(t, second) {
		t.Error("the end left a token")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the end left a file")
	}
}

// TestARealLeaseThatIsRevoked is replaced when its renewal finds that out, and not taken for
// one that may not be renewed.
func TestARealLeaseThatIsRevoked(t *testing.T) {
	t.Parallel()
	log := &journal{}
	s, told, file, _ := liveTold(t, `{{ with secret "auth/token/create" "policies=default" "ttl=4s" "period=4s" }}{{ .Auth.ClientToken }}{{ end }}`, time.Second, log)
	first := content(t, file)
	if err := vault.Call(t.Context(), "POST", "auth/token/revoke", map[string]string{"token": first}, nil); err != nil {
		t.Fatal(err)
	}
	await(t, "the signal", func() bool { return told.count("hangup") > 0 })
	if got := content(t, file); got == first || !tokenLives(t, got) {
		t.Error("the file has no token that lives")
	}
	if s.State().Replacements != 1 {
		t.Errorf("%d replacements", s.State().Replacements)
	}
	if says := log.String(); !strings.Contains(says, "is gone before its time") || strings.Contains(says, "does not let") {
		t.Errorf("the log:\n%s", says)
	}
}

// TestACertificateIsReissuedWhenItIsDue, in time, and not because other things are read.
func TestACertificateIsReissuedWhenItIsDue(t *testing.T) {
	t.Parallel()
	s, told, file, _ := live(t, `{{ with pkiCert "pki/issue/app" "common_name=due.internal" "ttl=4s" }}{{ .Cert }}{{ .Key }}{{ end }}`, time.Second)
	first := content(t, file)
	block, _ := pem.Decode([]byte(first))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if until := s.State().FreshUntil; !until.Equal(cert.NotAfter) {
		t.Errorf("fresh until %s, expected the end of the certificate, %s", until, cert.NotAfter)
	}
	await(t, "another certificate", func() bool { return content(t, file) != first })
	if told.count("hangup") > 1 {
		t.Errorf("told %v", told.heard())
	}
	await(t, "the signal", func() bool { return told.count("hangup") > 0 })
}

// TestALeasedCertificateIsRevoked when another has taken its place: the engine says so.
func TestALeasedCertificateIsRevoked(t *testing.T) {
	t.Parallel()
	s, told, file, stop := live(t, `{{ with secret "leased/issue/app" "common_name=leased.internal" "ttl=4s" }}{{ .Data.serial_number }}{{ end }}`, time.Millisecond)
	first := content(t, file)
	if s.State().Leases != 1 {
		t.Fatalf("state %+v, expected a lease", s.State())
	}
	await(t, "the signal", func() bool { return told.count("hangup") > 0 && content(t, file) != first })
	last := content(t, file)
	stop()
	var answer struct {
		Data struct {
			RevocationTime int64 `json:"revocation_time"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", "leased/cert/"+last, nil, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.Data.RevocationTime == 0 {
		t.Error("the last certificate is not revoked")
	}
}

// TestAVaultThatStopsIsOutlived: what was rendered stays, and changes come when it is back.
func TestAVaultThatStopsIsOutlived(t *testing.T) {
	t.Parallel()
	server, err := vaulttest.Start(t.Context(), vaulttest.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	if err := prepareVault(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	set := func(value string) {
		t.Helper()
		if err := server.Call(t.Context(), "POST", "secret/data/app/away", map[string]any{"data": map[string]string{"value": value}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	set("before")
	file, told := filepath.Join(memory(t), "f"), &app{}
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, server, "app")}, App: told, Refresh: 100 * time.Millisecond,
		Files: []secrets.File{{
			Path: file, OnChange: secrets.Action{Verb: secrets.Signal, Signal: syscall.SIGHUP, Debounce: -1},
			Template: `{{ with secret "secret/app/away" }}{{ .Data.data.value }}{{ end }}{{ with secret "auth/token/create" "policies=default" "ttl=1h" }} {{ .Auth.ClientToken }}{{ end }}`,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	stop := running(t, s)
	server.Stop()
	await(t, "the failure", func() bool { return len(s.State().Faults) > 0 })
	before := content(t, file)
	if state := s.State(); !strings.HasPrefix(before, "before ") || !state.Fresh(time.Now()) || time.Until(state.FreshUntil) < 50*time.Minute {
		t.Errorf("file %q, state %+v", before, state)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	set("after")
	await(t, "the signal", func() bool { return told.count("hangup") > 0 })
	if got := content(t, file); got != strings.Replace(before, "before", "after", 1) {
		t.Error("the file does not have the new value beside the token that it had")
	}
	await(t, "no failure", func() bool { return len(s.State().Faults) == 0 })
	stop()
}
