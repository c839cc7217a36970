package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// TestTheGatewayRecordsWhatItDecidesBy runs a gateway beside a real Vault: how it came to
// Vault, with the accessor that Vault's own audit log has; what it was started with; other
// keys and other configurations, taken and refused; its start and its end are in its access
// log, and people there are pseudonyms that their auditor can reveal.
func TestTheGatewayRecordsWhatItDecidesBy(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	vaultLog := filepath.Join(t.TempDir(), "vault-audit.log")
	s.call(t, "PUT", "sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": vaultLog}}, nil)
	https, admin, file := free(t), free(t), filepath.Join(t.TempDir(), "access.log")
	yaml := gatewayYAML(https, admin, fmt.Sprintf("access_log: {file: %q, pseudonymise: true}\nvault: {audit_device: file}\n", file))
	config := writeFile(t, t.TempDir(), "gateway.yaml", yaml)
	s.mustRun(t, exitOK, "provision", "apply", "--config", config, "--token-file", s.tokenFile, "--token-period", "1h", "--allow-loosen")

	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
	p.ready(t, admin)
	if status := s.openAsAlice(t, https); status != http.StatusBadGateway {
		t.Errorf("status %d, expected that of a tool that is not there", status)
	}
	s.writeKV(t, "sallyport/session", map[string]string{
		fieldCurrentKey: base64.StdEncoding.EncodeToString(make([]byte, 32)), fieldPreviousKey: s.session[fieldCurrentKey],
	})
	change := func(text, until string) {
		t.Helper()
		before := p.told(until)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(t, syscall.SIGHUP)
		p.eventually(t, until, func() (string, bool) { return "", p.told(until) > before })
	}
	change(yaml+"limits: {requests: 300}\n", "new version in use")
	p.eventually(t, "the keys are in use", func() (string, bool) { return "", p.told("new version in use") > 1 })
	change(strings.Replace(yaml, https, "127.0.0.1:1", 1), "new version refused, the one before stays in use")
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	checkRecordedEvents(t, file, vaultLog)
	s.checkReveal(t, file)
}

// mustRun runs a command to its end and returns what it prints.
func (s *stand) mustRun(t *testing.T, code int, args ...string) string {
	t.Helper()
	p := s.start(t, args...)
	if got := p.wait(t); got != code {
		t.Fatalf("%v: exit code %d, expected %d\n%s%s", args, got, code, p.out.String(), p.err.String())
	}
	return p.out.String()
}

// openAsAlice asks for the tool with a session of alice's.
func (s *stand) openAsAlice(t *testing.T, https string) int {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots(t, "pki-edge"), MinVersion: tls.VersionTLS13},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", https)
		},
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+notesHost+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(s.signIn(t))
	res, err := (&http.Client{Transport: transport, Timeout: patience}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// checkRecordedEvents looks for what must be in the log, and for what must not.
func checkRecordedEvents(t *testing.T, file, vaultLog string) {
	t.Helper()
	seen := map[string]map[string]any{}
	for line, err := range logfile.Lines(t.Context(), file) {
		if err != nil {
			t.Fatal(err)
		}
		var r map[string]any
		if err := json.Unmarshal(line.Text, &r); err != nil {
			t.Fatalf("%v: %s", err, line.Text)
		}
		if strings.Contains(string(line.Text), "alice") {
			t.Errorf("a name stands in the log: %s", line.Text)
		}
		kind := fmt.Sprint(r["event.action"], " ", r["event.reason"])
		if object := r["sallyport.object.kind"]; object != nil {
			kind += fmt.Sprint(" ", object)
		}
		seen[kind] = r
	}
	for _, kind := range []string{
		"introduction found", "introduction checked", "introduction unwrapped", "vault_login start", "config_change loaded configuration",
		"key_change loaded session_keys", "key_change loaded saml_keys", "key_change loaded assertion_keys", "key_change loaded pseudonym_key",
		"certificate_change issued certificate", "process_start serving", "operator_request reload", "config_change changed configuration",
		"key_change changed session_keys", "config_change version_refused configuration", "process_stop stopping", "process_stop stopped",
	} {
		if seen[kind] == nil {
			t.Errorf("there is no record %q", kind)
		}
	}
	if got := fmt.Sprint(seen["config_change changed configuration"]["sallyport.object.sections"]); got != "[limits]" {
		t.Errorf("sections that have changed: %s", got)
	}
	if got := seen["key_change changed session_keys"]; got != nil && (got["sallyport.object.version"] != "2" || got["sallyport.object.version_before"] != "1") {
		t.Errorf("versions of the session keys: %v", got)
	}
	accessor, _ := seen["vault_login start"]["sallyport.vault.accessor"].(string)
	if text := read(t, vaultLog); accessor == "" || strings.Count(text, `"accessor":"`+accessor+`"`) == 0 {
		t.Errorf("accessor %q is not in Vault's own audit log", accessor)
	}
}

// checkReveal has an auditor, who may read nothing but the key, find alice.
func (s *stand) checkReveal(t *testing.T, file string) {
	t.Helper()
	var answer struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		}
	}
	s.call(t, "POST", "auth/token/create", map[string]any{"policies": []string{"sallyport-auditor"}, "no_default_policy": true, "ttl": "10m"}, &answer)
	auditor := writeFile(t, t.TempDir(), "auditor", answer.Auth.ClientToken+"\n")
	reveal := func(code int, args ...string) string {
		t.Helper()
		return s.mustRun(t, code, append([]string{"audit", "reveal", "--token-file", auditor}, args...)...)
	}
	line := reveal(exitOK, "--user", "alice@example.com")
	pseudonym, _, _ := strings.Cut(line, "\t")
	if line != pseudonym+"\talice@example.com\tpseudonym_key\n" || !strings.HasPrefix(pseudonym, "p-") {
		t.Errorf("revealed: %q", line)
	}
	if lines := reveal(exitOK, "--user", "alice@example.com", file); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, `"user.name":"`+pseudonym+`"`) {
		t.Errorf("her lines: %s", lines)
	}
	if lines := reveal(exitOK, "--user", "bob@example.com", file); lines != "" {
		t.Errorf("his lines: %s", lines)
	}
	staff := writeFile(t, t.TempDir(), "staff", "bob@example.com\nalice@example.com\n")
	if line := reveal(exitOK, "--users", staff, "--pseudonym", pseudonym); line != pseudonym+"\talice@example.com\n" {
		t.Errorf("whose it is: %q", line)
	}
	reveal(exitFailure, "--user", "bob@example.com", "--pseudonym", pseudonym)
	reveal(exitUsage, "--pseudonym", pseudonym)
}
