package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/letsencrypt/challtestsrv"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"

	"github.com/sallyport/sallyport/config"
)

// bindingKey is that of an account that the ACME server knows by other means.
const bindingKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"

// startPebble runs an ACME server that validates at an address, and returns its
// directory, the file of the directory's authority, and what it issues.
func startPebble(t *testing.T, validates string) (directory, caFile string, issues *x509.CertPool) {
	t.Helper()
	quiet, resolver := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), free(t)
	dns, err := challtestsrv.New(challtestsrv.Config{DNSAddrs: []string{resolver}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	dns.SetDefaultDNSIPv6("")
	go dns.Run()
	t.Cleanup(dns.Shutdown)
	_, text, _ := net.SplitHostPort(validates)
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	store := db.NewMemoryStore()
	if err := store.AddExternalAccountKeyByID("kid-1", bindingKey); err != nil {
		t.Fatal(err)
	}
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 3600}})
	front := wfe.New(quiet, store, va.New(quiet, port, port, false, resolver, store), authority, []string{"pebble"}, false, true, 0, 0)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	server.Config.ErrorLog = quiet
	issues = x509.NewCertPool()
	issues.AddCert(authority.GetRootCert(0).Cert)
	text = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return server.URL + wfe.DirectoryPath, writeFile(t, t.TempDir(), "acme-ca.pem", text), issues
}

// acmeRole is a gateway that may keep the state of ACME in Vault. The rules are
// those of docs/configuration.md.
func (s *stand) acmeRole(t *testing.T) (roleID string) {
	t.Helper()
	page := readPage(t, "configuration.md")
	_, rest, _ := strings.Cut(page, "```hcl\n")
	rules, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/configuration.md shows no policy")
	}
	s.call(t, "PUT", "sys/policies/acl/acme", map[string]string{"policy": rules}, nil)
	s.call(t, "POST", "auth/approle/role/acme", map[string]any{
		"token_policies": []string{gatewayRole, "acme"}, "token_no_default_policy": true, "token_period": "1h", "secret_id_num_uses": 1,
	}, nil)
	var id struct {
		Data struct {
			RoleID string `json:"role_id"`
		} `json:"data"`
	}
	s.call(t, "GET", "auth/approle/role/acme/role-id", nil, &id)
	return id.Data.RoleID
}

// testEdgeByACME starts a gateway whose certificates come from an ACME server,
// has one renewed by the listener for browsers, and starts it again without the
// server.
func testEdgeByACME(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	directory, caFile, issues := startPebble(t, https)
	s.writeKV(t, "sallyport/eab", map[string]string{fieldEABKeyID: "kid-1", fieldEABMACKey: bindingKey})
	more := fmt.Sprintf("vault: {edge_acme: {directory: %q, email: ops@example.com, agree_to_terms: true, ca_file: %q, eab_path: sallyport/eab}}\n", directory, caFile)
	roleID, dir := s.acmeRole(t), t.TempDir()
	start := func(https, admin string) *process {
		t.Helper()
		p := s.start(t, "gateway", "--role", "acme", "--role-id", roleID, "--wrapping-token-file", s.introduce(t, "acme").file,
			"--config", writeFile(t, dir, "gateway.yaml", gatewayYAML(https, admin, more)))
		p.ready(t, admin)
		return p
	}
	serial := func(https string) string {
		t.Helper()
		conn, err := tls.Dial("tcp", https, &tls.Config{RootCAs: issues, ServerName: notesHost})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	p := start(https, admin)
	first := serial(https)
	command := s.start(t, "certificates", "renew", notesHost, "--admin-url", "http://"+admin)
	if code := command.wait(t); code != exitOK {
		t.Fatalf("renewing: exit code %d\n%s\n%s", code, command.err.String(), p.err.String())
	}
	renewed := serial(https)
	if renewed == first {
		t.Error("the old certificate is still shown")
	}
	s.checkNoSecret(t, p, bindingKey)

	// The server still validates at the first replica, whichever has ordered.
	secondHTTPS, secondAdmin := free(t), free(t)
	second := start(secondHTTPS, secondAdmin)
	if serial(secondHTTPS) != renewed {
		t.Error("the second replica shows another certificate than the one in Vault")
	}
	command = s.start(t, "certificates", "renew", "--all", "--admin-url", "http://"+secondAdmin)
	if code := command.wait(t); code != exitOK || strings.Count(command.out.String(), ": renewed, serial") != 3 {
		t.Errorf("renewing by the second replica: exit code %d\n%s\n%s", code, command.err.String(), second.err.String())
	}
	if serial(secondHTTPS) == renewed || serial(https) != renewed {
		t.Error("the second replica did not renew for itself")
	}
	renewed = serial(secondHTTPS)
	p.signal(t, os.Interrupt)
	p.wait(t)
	if start(https, admin); serial(https) != renewed {
		t.Error("after a restart another certificate is shown than the one in Vault")
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files beside the configuration: %q, %v", left, err)
	}
}

func TestAuthoritiesOfADirectoryAreRead(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string]string{
		"absent": filepath.Join(dir, "nothing.pem"), "empty": writeFile(t, dir, "empty.pem", ""), "a key": writeFile(t, dir, "key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
	} {
		if _, err := readAuthorities("vault.edge_acme.ca_file", file); err == nil || !strings.Contains(err.Error(), "vault.edge_acme.ca_file") || hintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACMEFollowsTheConfiguration(t *testing.T) {
	text := "door: {host: door.example.com}\nlisten: {https: ':8443', acme_http: ':8080'}\nvault:\n  kv_mount: kv\n" +
		"  edge_pki: {renewal_window: '02:00-05:00'}\n" +
		"  edge_acme: {directory: 'https://acme.example.com/dir', email: ops@example.com, agree_to_terms: true, kv_path: a/acme, challenge: CHALLENGE}\n"
	for challenge, listen := range map[string]string{"tls-alpn-01": ":8443", "http-01": ":8080"} {
		cfg, err := config.LoadGateway("test", []byte(strings.ReplaceAll(text, "CHALLENGE", challenge)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := edgeIssuing(t.Context(), cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.ACME.Directory != "https://acme.example.com/dir" || got.ACME.Email != "ops@example.com" || !got.ACME.AgreeToTerms ||
			got.ACME.Listen != listen || got.ACME.HTTP != (challenge == "http-01") || got.ACME.KVMount != "kv" || got.ACME.KVPath != "a/acme" ||
			got.ACME.Roots != nil || got.ACME.KeyID != "" || got.Mount != "" || got.Window.From == 0 || len(got.Names) != 1 {
			t.Errorf("%s: %+v with %+v", challenge, got, got.ACME)
		}
	}
}
