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
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
)

// TestAuditJoinKnowsWhoCausedAReadOfVault has a real Vault write its audit log: a token
// whose accessor our log has reads a secret while a person's request is under way, and
// another token reads it, too.
func TestAuditJoinKnowsWhoCausedAReadOfVault(t *testing.T) {
	dir := t.TempDir()
	vault, err := vaulttest.Start(t.Context(), vaulttest.Options{Dir: filepath.Join(dir, "vault")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vault.Stop)
	vaultLog := filepath.Join(dir, "vault-audit.log")
	call := func(method, path string, body, out any) {
		t.Helper()
		if err := vault.Call(t.Context(), method, path, body, out); err != nil {
			t.Fatal(err)
		}
	}
	call("PUT", "sys/audit/file", map[string]any{"type": "file", "options": map[string]string{"file_path": vaultLog}}, nil)
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
	var out, notes bytes.Buffer
	std := stdio{Out: &out, Err: &notes, Env: func(string) (string, bool) { return "", false }}
	args := []string{"audit", "join", "--vault", vaultLog, "--log", ourLog, "--vault-path", "notes/token", "--others", "--format", "csv", "--since", from.UTC().Format(time.RFC3339)}
	if code := run(t.Context(), args, std); code != 0 {
		t.Fatalf("exit code %d: %s", code, notes.String())
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for _, row := range rows[1:] {
		if row[1] == "read" {
			got = append(got, []string{row[2], row[3], row[4], row[5], row[6], row[9], row[10]})
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
