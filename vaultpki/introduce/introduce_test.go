package introduce_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce"
)

// startVault returns a Vault with one AppRole called "app".
func startVault(t *testing.T) *vaulttest.Server {
	t.Helper()
	vault, err := vaulttest.Start(t.Context(), vaulttest.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vault.Stop)
	for path, body := range map[string]any{"sys/auth/approle": map[string]any{"type": "approle"}} {
		if err := vault.Call(t.Context(), "POST", path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := vault.Call(t.Context(), "POST", "auth/approle/role/app", map[string]any{"secret_id_num_uses": 1}, nil); err != nil {
		t.Fatal(err)
	}
	return vault
}

// trust returns a configuration that trusts the authorities in a file.
func trust(t *testing.T, caFile string) *tls.Config {
	t.Helper()
	raw, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func TestMintWrapsTheIssuingCall(t *testing.T) {
	vault := startVault(t)
	cfg := introduce.Config{Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Token: vault.RootToken, Minting: vaultpki.Minting{Role: "app", WrapTTL: 90 * time.Second}}
	wrapped, err := introduce.Mint(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if wrapped.CreationPath != "auth/approle/role/app/secret-id" || wrapped.TTL != 90*time.Second || wrapped.Accessor == "" {
		t.Errorf("minted %+v", wrapped)
	}
	// Vault says the same of the token, and unwraps a SecretID.
	var lookup struct {
		Data map[string]any `json:"data"`
	}
	body := map[string]string{"token": wrapped.Token}
	if err := vault.Call(t.Context(), "PUT", "sys/wrapping/lookup", body, &lookup); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(wrapped.CreationPath), lookup.Data["creation_path"]); diff != "" {
		t.Errorf("creation path (-minted +looked up):\n%s", diff)
	}
	var secretID struct {
		Data map[string]any `json:"data"`
	}
	if err := vault.Call(t.Context(), "PUT", "sys/wrapping/unwrap", body, &secretID); err != nil {
		t.Fatal(err)
	}
	if id, _ := secretID.Data["secret_id"].(string); id == "" {
		t.Errorf("unwrapped %v, expected a SecretID", secretID.Data)
	}
	if text := fmt.Sprintf("%v %+v %#v %s %q", wrapped, wrapped, wrapped, wrapped, wrapped); strings.Contains(text, wrapped.Token) {
		t.Errorf("a format shows the token: %s", text)
	}

	for name, test := range map[string]struct {
		change func(*introduce.Config)
		reason vaultpki.Reason
		hint   string
	}{
		"token that is none": {
			func(c *introduce.Config) { c.Token = "hvs.no-token-of-this-vault" }, vaultpki.ReasonDenied, "log in to Vault again",
		},
		"no such role": {func(c *introduce.Config) { c.Role = "nobody" }, vaultpki.ReasonConfig, "provision"},
		"nobody there": {func(c *introduce.Config) { c.Address = "https://127.0.0.1:1" }, vaultpki.ReasonUnreachable, "network"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := cfg
			test.change(&changed)
			_, err := introduce.Mint(t.Context(), changed)
			var e *vaultpki.Error
			if !errors.As(err, &e) || e.Reason != test.reason || !strings.Contains(e.Hint, test.hint) || strings.Contains(err.Error(), "hvs.") {
				t.Errorf("error %#v, expected %s with hint %q", err, test.reason, test.hint)
			}
		})
	}
}

func TestAnswerThatIsNoWrappingTokenIsNotDelivered(t *testing.T) {
	for name, test := range map[string]struct{ body, fault string }{
		"not wrapped": {`{"data":{"secret_id":"c4nary"}}`, "did not wrap"},
		"wrapped, and data beside": {
			`{"data":{"secret_id":"c4nary"},"wrap_info":{"token":"hvs.c4nary","creation_path":"auth/approle/role/app/secret-id"}}`, "beside",
		},
		"wrapped by another call": {`{"wrap_info":{"token":"hvs.c4nary","creation_path":"sys/wrapping/wrap"}}`, "sys/wrapping/wrap"},
		"nothing":                 {``, "did not wrap"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(test.body))
			}))
			defer server.Close()
			caFile := filepath.Join(t.TempDir(), "ca.pem")
			block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
			if err := os.WriteFile(caFile, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := introduce.Mint(t.Context(), introduce.Config{Server: vaultpki.Server{Address: server.URL, CAFile: caFile}, Token: "t", Minting: vaultpki.Minting{Role: "app"}})
			if vaultpki.ReasonOf(err) != vaultpki.ReasonForged || !strings.Contains(err.Error(), test.fault) || strings.Contains(err.Error(), "c4nary") {
				t.Errorf("error %v, expected forged with %q", err, test.fault)
			}
		})
	}
}

func TestFaultsOfTheConfigAreToldAllAtOnce(t *testing.T) {
	_, err := introduce.Mint(t.Context(), introduce.Config{Minting: vaultpki.Minting{Role: "a/b", AuthMount: "../sys", WrapTTL: time.Millisecond}})
	if vaultpki.ReasonOf(err) != vaultpki.ReasonConfig {
		t.Fatalf("error %v, expected config", err)
	}
	for _, want := range []string{"token: none given", `role "a/b"`, `auth mount "../sys"`, "wrap ttl 1ms"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}
