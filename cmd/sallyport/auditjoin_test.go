package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
)

// TestAuditJoin has a real Vault write its audit log.
func TestAuditJoin(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	vaultLog := filepath.Join(s.dir, "vault-audit.log")
	s.call(t, "PUT", "sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": vaultLog}}, nil)
	t.Run("a gateway's own", func(t *testing.T) { testJoinGateway(t, s, vaultLog) })
	t.Run("who caused a read", func(t *testing.T) { testJoinRead(t, s.vault, vaultLog) })
}

// joined runs audit join and returns the values of columns.
func joined(t *testing.T, args ...string) []map[string]string {
	t.Helper()
	var out, notes bytes.Buffer
	std := stdio{Out: &out, Err: &notes, Env: func(string) (string, bool) { return "", false }}
	if code := run(t.Context(), append([]string{"audit", "join", "--others", "--format", "csv"}, args...), std); code != 0 {
		t.Fatalf("exit code %d: %s", code, notes.String())
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]string
	for _, row := range rows[1:] {
		values := map[string]string{}
		for i, name := range rows[0] {
			values[name] = row[i]
		}
		all = append(all, values)
	}
	return all
}

// testJoinGateway has a gateway come to Vault and live from it: what it asked for is
// its own, beginning with its login, and what others asked for is not.
func testJoinGateway(t *testing.T, s *stand, vaultLog string) {
	dir := t.TempDir()
	ourLog := filepath.Join(dir, "access.log")
	yaml := gatewayYAML(free(t), free(t), "vault: {audit_device: file}\naccess_log: {file: "+ourLog+"}\n")
	config := writeFile(t, dir, "gateway.yaml", yaml)
	p := s.start(t, "provision", "apply", "--allow-loosen", "--config", config, "--idp-metadata", s.write(t, "idp.xml", s.metadata), "--token-file", s.tokenFile, "--token-period", "1h")
	if code := p.wait(t); code != exitOK {
		t.Fatalf("provision: exit code %d\n%s", code, p.err.String())
	}
	p = s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
	p.serving(t)
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	hows := map[string]string{}
	for _, row := range joined(t, "--vault", vaultLog, "--log", ourLog) {
		how := row["how"]
		if row["how"] != "unknown" {
			how = row["how"] + " " + row["action"] + " " + row["service"]
		}
		if row["path"] != "auth/approle/login" || how != "unknown" { // others log in, too
			hows[row["operation"]+" "+row["path"]] = how
		}
	}
	for call, want := range map[string]string{
		"update auth/approle/login":              "exact vault_login sallyport-gateway",
		"read secret/data/sallyport/saml":        "sallyport-gateway",
		"update pki-edge/sign/sallyport-edge":    "sallyport-gateway",
		"update sys/policies/acl/" + gatewayRole: "",
	} {
		if got, found := hows[call]; (want != "" && !strings.HasSuffix(got, want)) || (found && want == "" && got != "unknown") {
			t.Errorf("%s: %q, expected %q; all: %v", call, got, want, hows)
		}
	}
}

// testJoinRead has a token whose accessor our log has read a secret while a person's
// request is under way; another token reads it, too.
func testJoinRead(t *testing.T, vault *vaulttest.Server, vaultLog string) {
	dir := t.TempDir()
	call := func(method, path string, body, out any) {
		t.Helper()
		if err := vault.Call(t.Context(), method, path, body, out); err != nil {
			t.Fatal(err)
		}
	}
	call("POST", "sys/mounts/notes", map[string]any{"type": "kv"}, nil)
	call("PUT", "notes/token", map[string]string{"password": "open"}, nil)
	call("PUT", "sys/policies/acl/reader", map[string]string{"policy": `path "notes/*" { capabilities = ["read"] }`}, nil)
	type token struct {
		Auth struct {
			Token    string `json:"client_token"`
			Accessor string `json:"accessor"`
		} `json:"auth"`
	}
	var ours, others token
	call("POST", "auth/token/create", map[string]any{"policies": []string{"reader"}}, &ours)
	call("POST", "auth/token/create", map[string]any{"policies": []string{"reader"}}, &others)
	var hashed struct {
		Data struct {
			Hash string `json:"hash"`
		} `json:"data"`
	}
	call("POST", "sys/audit-hash/file", map[string]string{"input": ours.Auth.Accessor}, &hashed)

	from := time.Now()
	readAs(t, vault, ours.Auth.Token, "notes/token")
	readAs(t, vault, others.Auth.Token, "notes/token")
	took := time.Since(from)

	chain := logtest.NewChain("gateway")
	stamp := func(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000000Z") }
	var log []byte
	log = chain.Seal(log, fmt.Appendf(nil, `{"@timestamp":"%s","event.action":"vault_login","service.name":"sallyport-gateway","sallyport.vault.accessor":"%s"}`, stamp(from.Add(-time.Hour)), hashed.Data.Hash))
	log = chain.Seal(log, fmt.Appendf(nil, `{"@timestamp":"%s","event.action":"access","service.name":"sallyport-gateway","user.name":"alice@example.com","http.request.id":"abcd","event.duration":%d,"sallyport.vault.accessor":"%s"}`, stamp(from), took.Nanoseconds(), hashed.Data.Hash))
	ourLog := filepath.Join(dir, "access.log")
	if err := os.WriteFile(ourLog, log, 0o600); err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for _, row := range joined(t, "--vault", vaultLog, "--log", ourLog, "--vault-path", "notes/token", "--since", from.UTC().Format(time.RFC3339)) {
		if row["operation"] == "read" {
			got = append(got, []string{row["path"], row["how"], row["user"], row["action"], row["request_id"], row["service"], row["instance"]})
		}
	}
	want := [][]string{
		{"notes/token", "exact", "alice@example.com", "access", "abcd", "sallyport-gateway", chain.Instance()},
		{"notes/token", "unknown", "", "", "", "token", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
}

// readAs reads a path of Vault's with a token.
func readAs(t *testing.T, vault *vaulttest.Server, token, path string) {
	t.Helper()
	text, err := os.ReadFile(vault.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, vault.Address+"/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", res.StatusCode, err)
	}
}
