package vaultpki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
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

// mountRoots returns the roots of a PKI mount, as an outsider reads them.
func mountRoots(t *testing.T, mount string) *x509.CertPool {
	t.Helper()
	var answer struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", mount+"/cert/ca", nil, &answer); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(answer.Data.Certificate)) {
		t.Fatalf("mount %s has no root", mount)
	}
	return pool
}

// newRequest returns the PEM of a signing request for name with a key of its own.
func newRequest(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// leafPEM returns a certificate of the edge that is no root.
func leafPEM(t *testing.T) string {
	t.Helper()
	var answer struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	body := map[string]any{"csr": newRequest(t, doorHost)}
	if err := vault.Call(t.Context(), "PUT", "pki-edge/sign/liar", body, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data.Certificate
}

func decodeBody(r *http.Request, into any) {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		panic(err)
	}
}

func encodeBody(w http.ResponseWriter, body any) {
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

// authority is a certificate authority that no Vault knows.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Sallyport backend root"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert: cert, key: key}
}

// leaf signs a certificate for name with one usage.
func (a authority) leaf(t *testing.T, name string, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// signedPair has the real Vault sign a fresh key for name; the chain goes along.
func signedPair(t *testing.T, path, name string, extra map[string]any) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]any{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request}))}
	for field, value := range extra {
		body[field] = value
	}
	var answer struct {
		Data struct {
			Certificate string   `json:"certificate"`
			Chain       []string `json:"ca_chain"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "PUT", path, body, &answer); err != nil {
		t.Fatal(err)
	}
	pair := tls.Certificate{PrivateKey: key}
	for _, text := range append([]string{answer.Data.Certificate}, answer.Data.Chain...) {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			t.Fatalf("no certificate from %s", path)
		}
		pair.Certificate = append(pair.Certificate, block.Bytes)
	}
	return pair
}

// shake does one handshake over loopback and passes one byte each way, so that
// a server's refusal of a TLS 1.3 client is seen. It returns the client's view.
func shake(server, client *tls.Config) (tls.ConnectionState, error) {
	clientState, _, err := shakeBoth(server, client)
	return clientState, err
}

// shakeBoth is shake with the views of both sides. The error joins both sides'.
func shakeBoth(server, client *tls.Config) (clientState, serverState tls.ConnectionState, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return clientState, serverState, err
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		conn := tls.Server(raw, server)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		err = echo(conn)
		serverState = conn.ConnectionState()
		served <- err
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return clientState, serverState, errors.Join(err, <-served)
	}
	conn := tls.Client(raw, client)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Write([]byte{1})
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	clientState = conn.ConnectionState()
	if err != nil {
		conn.Close()
	}
	return clientState, serverState, errors.Join(err, <-served)
}

func echo(conn net.Conn) error {
	one := make([]byte, 1)
	if _, err := io.ReadFull(conn, one); err != nil {
		return err
	}
	_, err := conn.Write(one)
	return err
}

func leafOf(t *testing.T, pair tls.Certificate) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
