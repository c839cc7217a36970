package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// testAssertions has a tool verify by the authority alone what a real gateway tells
// it, with the certificate of each connection, while that is renewed.
func testAssertions(t *testing.T, s *stand) {
	tool := &verifyingTool{roots: s.roots(t, "pki-backend-root"), certificates: map[string]bool{}}
	server := httptest.NewUnstartedServer(tool)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{s.issueSidecar(t)}, ClientCAs: tool.roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	https, admin := free(t), free(t)
	yaml := strings.Replace(gatewayYAML(https, admin, ""), "https://127.0.0.1:1", server.URL, 1)
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, writeFile(t, t.TempDir(), "gateway.yaml", yaml))
	p.ready(t, admin)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var people sync.WaitGroup
	for range 4 {
		cookie := s.signIn(t)
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: s.roots(t, "pki-edge"), MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", https)
			},
		}
		people.Go(func() {
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				if fault := askSignedIn(context.WithoutCancel(ctx), transport, cookie); fault != "" {
					t.Error(fault)
					return
				}
			}
		})
	}
	tool.eventually(t, p, 1, 200)
	renew := s.start(t, "certificates", "renew", clientName, "--admin-url", "http://"+admin)
	if code := renew.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, renew.err.String())
	}
	tool.eventually(t, p, 2, 600)
	stop()
	people.Wait()
	tool.mu.Lock()
	defer tool.mu.Unlock()
	if tool.fault != "" {
		t.Error(tool.fault)
	}
}

// issueSidecar is a certificate for a server that stands in for a sidecar.
func (s *stand) issueSidecar(t *testing.T) tls.Certificate {
	t.Helper()
	var answer struct {
		Data struct {
			Certificate string
			CAChain     []string `json:"ca_chain"`
			PrivateKey  string   `json:"private_key"`
		}
	}
	s.call(t, "PUT", "pki-backend/issue/sidecar-notes", map[string]string{"common_name": sidecarName, "ttl": "1h"}, &answer)
	pair, err := tls.X509KeyPair([]byte(answer.Data.Certificate+"\n"+strings.Join(answer.Data.CAChain, "\n")), []byte(answer.Data.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// verifyingTool is a tool that ends mutual TLS itself and believes no header.
type verifyingTool struct {
	roots *x509.CertPool

	mu           sync.Mutex
	requests     int
	certificates map[string]bool // of connections
	fault        string          // the first
}

func (v *verifyingTool) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, bound, err := v.verify(r.Header.Values("X-Sallyport-Assertion"))
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	seen := base64.RawURLEncoding.EncodeToString(sum[:])
	if err == nil && bound != seen {
		err = fmt.Errorf("an assertion for %s arrives on a connection with %s", bound, seen)
	}
	v.mu.Lock()
	v.requests++
	v.certificates[seen] = true
	if err != nil && v.fault == "" {
		v.fault = err.Error()
	}
	v.mu.Unlock()
	_, _ = fmt.Fprint(w, "hello "+who)
}

// verify returns whom an assertion names, and the certificate that it is bound to.
func (v *verifyingTool) verify(values []string) (who, bound string, err error) {
	if len(values) != 1 || strings.Count(values[0], ".") != 2 {
		return "", "", fmt.Errorf("assertions %q, expected one", values)
	}
	parts := strings.Split(values[0], ".")
	var header struct{ X5C [][]byte }
	var claims struct {
		Bound struct {
			Thumbprint string `json:"x5t#S256"`
		} `json:"cnf"`
	}
	names := map[string]any{}
	for part, into := range map[string]any{parts[0]: &header, parts[1]: &claims} {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return "", "", err
		}
		_ = json.Unmarshal(text, &names)
	}
	leaf, err := x509.ParseCertificate(header.X5C[0])
	if err != nil {
		return "", "", err
	}
	between := x509.NewCertPool()
	for _, der := range header.X5C[1:] {
		if authority, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(authority)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: v.roots, Intermediates: between, DNSName: "assertion.sallyport.internal", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return "", "", err
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || len(signature) != 64 || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return "", "", errors.New("the signature does not verify")
	}
	if names["iss"] != "https://"+doorHost || names["aud"] != "sallyport:route:notes" {
		return "", "", fmt.Errorf("issuer %v, audience %v", names["iss"], names["aud"])
	}
	return fmt.Sprint(names["sub"]), claims.Bound.Thumbprint, nil
}

// eventually waits until so many requests came, on connections with so many
// certificates.
func (v *verifyingTool) eventually(t *testing.T, p *process, certificates, requests int) {
	t.Helper()
	p.eventually(t, fmt.Sprintf("%d requests under %d certificates", requests, certificates), func() (string, bool) {
		v.mu.Lock()
		defer v.mu.Unlock()
		return fmt.Sprintf("%d requests, %d certificates, fault %q", v.requests, len(v.certificates), v.fault), v.requests >= requests && len(v.certificates) >= certificates
	})
	<-time.After(time.Second) // more of them
}
