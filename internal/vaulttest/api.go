package vaulttest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// api is the smallest possible Vault client: plain HTTP and JSON, so that a
// fault in the product's own client cannot hide behind itself.
type api struct {
	base string
	http *http.Client
}

// request is one call; token and body are optional.
type request struct {
	method, path, token string
	body                any
}

func newAPI(address, caFile string) (*api, error) {
	raw, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("reading the CA file %q: no certificate in it", caFile)
	}
	return &api{base: address + "/v1/", http: &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}}, nil
}

// health returns the status of sys/health; any answer at all is no error.
func (a *api) health(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"sys/health", nil)
	if err != nil {
		return 0, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

// initialise makes one key share and the root token.
func (a *api) initialise(ctx context.Context) (initFile, error) {
	var answer struct {
		Keys      []string `json:"keys_base64"`
		RootToken string   `json:"root_token"`
	}
	body := map[string]int{"secret_shares": 1, "secret_threshold": 1}
	if err := a.call(ctx, request{method: "PUT", path: "sys/init", body: body}, &answer); err != nil {
		return initFile{}, fmt.Errorf("initialising: %w", err)
	}
	if len(answer.Keys) != 1 || answer.RootToken == "" {
		return initFile{}, fmt.Errorf("initialising: got %d unseal keys, expected 1 and a root token", len(answer.Keys))
	}
	return initFile{UnsealKey: answer.Keys[0], RootToken: answer.RootToken}, nil
}

// call does one request and decodes the answer into out, unless that is nil.
func (a *api) call(ctx context.Context, r request, out any) error {
	var body io.Reader
	if r.body != nil {
		raw, err := json.Marshal(r.body)
		if err != nil {
			return fmt.Errorf("encoding the body for %s: %w", r.path, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, a.base+r.path, body)
	if err != nil {
		return fmt.Errorf("making a request for %s: %w", r.path, err)
	}
	req.Header.Set("X-Vault-Request", "true")
	if r.token != "" {
		req.Header.Set("X-Vault-Token", r.token)
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return fmt.Errorf("calling %s: %w", r.path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", r.path, err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("calling %s: status %d: %s", r.path, resp.StatusCode, bytes.TrimSpace(raw))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("decoding the answer of %s: %w", r.path, err)
	}
	return nil
}

// writeTLS makes a CA and a server certificate for addr's host and writes
// ca.pem, tls.crt and tls.key, unless an earlier run left them.
func writeTLS(dir, addr string) error {
	if _, err := os.Stat(filepath.Join(dir, "tls.key")); err == nil {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return fmt.Errorf("listening on %q: expected an IP address", host)
	}
	now := time.Now()
	caKey, caErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, keyErr := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(caErr, keyErr); err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Vault test CA"},
		NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Vault"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{ip},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	caDER, caErr := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	leafDER, leafErr := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	keyDER, keyErr := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(caErr, leafErr, keyErr); err != nil {
		return err
	}
	return errors.Join(
		writePEM(filepath.Join(dir, "ca.pem"), "CERTIFICATE", caDER),
		writePEM(filepath.Join(dir, "tls.crt"), "CERTIFICATE", leafDER),
		writePEM(filepath.Join(dir, "tls.key"), "PRIVATE KEY", keyDER),
	)
}

// writePEM writes one block; keys are readable by the owner alone.
func writePEM(path, kind string, der []byte) error {
	mode := os.FileMode(0o644)
	if strings.HasSuffix(kind, "KEY") {
		mode = 0o600
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
