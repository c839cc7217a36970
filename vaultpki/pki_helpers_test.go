package vaultpki_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"testing"
)

// trustOf returns a configuration that trusts the authorities in a file.
func trustOf(t *testing.T, caFile string) *tls.Config {
	t.Helper()
	raw, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		t.Fatalf("no certificate in %s", caFile)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func pemOf(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

func writeCertificate(t *testing.T, path string, cert *x509.Certificate) {
	t.Helper()
	if err := os.WriteFile(path, []byte(pemOf(cert)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wrapTokenOf sends a request to the real Vault and returns the wrapping token.
func wrapTokenOf(t *testing.T, req *http.Request) string {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: trustOf(t, vault.CAFile), DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		WrapInfo struct {
			Token string `json:"token"`
		} `json:"wrap_info"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.WrapInfo.Token == "" {
		t.Fatalf("wrapping: status %d, %v", resp.StatusCode, err)
	}
	return answer.WrapInfo.Token
}
