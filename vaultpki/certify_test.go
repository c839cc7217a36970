package vaultpki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

const assertionName = "assertion.sallyport.internal"

func ellipticKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyRequest(key crypto.Signer) vaultpki.KeyRequest {
	return vaultpki.KeyRequest{Key: key, Role: "sallyport-assertion", Name: assertionName, TTL: time.Hour}
}

func TestAKeyIsCertifiedForAssertionsAlone(t *testing.T) {
	p, key := newPair(t), ellipticKey(t)
	chain, err := p.gateway.CertifyKey(t.Context(), keyRequest(key))
	if err != nil {
		t.Fatal(err)
	}
	leaf := chain[0]
	public, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !public.Equal(key.Public()) || len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != assertionName || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("certificate for %q, usage %d", leaf.DNSNames, leaf.KeyUsage)
	}
	if len(leaf.ExtKeyUsage) > 0 || len(leaf.UnknownExtKeyUsage) != 1 || leaf.UnknownExtKeyUsage[0].String() != "1.3.6.1.5.5.7.3.37" {
		t.Errorf("uses %v and %v, expected that of RFC 9509 for JWTs alone", leaf.ExtKeyUsage, leaf.UnknownExtKeyUsage)
	}
	intermediates := x509.NewCertPool()
	for _, authority := range chain[1:] {
		intermediates.AddCert(authority)
	}
	verify := func(use x509.ExtKeyUsage) error {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: mountRoots(t, "pki-backend"), Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{use}})
		return err
	}
	if err := verify(x509.ExtKeyUsageAny); err != nil || len(chain) != 2 {
		t.Errorf("a chain of %d does not lead to the root of the mount: %v", len(chain), err)
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if verify(use) == nil {
			t.Errorf("it passes for use %v", use)
		}
	}

	// Whoever gets hold of the key is let in nowhere, and is nobody's server.
	pair := tls.Certificate{PrivateKey: key}
	for _, cert := range chain {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	dial := p.gateway.DialTLS(sidecarName)
	dial.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	if _, err := shake(p.sidecar.GuardTLS([]string{clientName, assertionName}), dial); err == nil {
		t.Error("a sidecar lets it in")
	}
	if _, err := shake(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}, p.gateway.DialTLS(assertionName)); err == nil {
		t.Error("the gateway takes it for a sidecar")
	}
}

func TestAKeyIsNotCertified(t *testing.T) {
	p := newPair(t)
	tests := map[string]struct {
		change func(*vaultpki.KeyRequest)
		reason vaultpki.Reason
		text   string
	}{
		"another name":             {func(r *vaultpki.KeyRequest) { r.Name = "other.sallyport.internal" }, vaultpki.ReasonDenied, "other.sallyport.internal"},
		"the client's role":        {func(r *vaultpki.KeyRequest) { r.Role, r.Name = "sallyport-gateway", clientName }, vaultpki.ReasonBadCertificate, "signer of assertions alone"},
		"a role that is not ours":  {func(r *vaultpki.KeyRequest) { r.Role = "sidecar-notes" }, vaultpki.ReasonDenied, "pki-backend/sign/sidecar-notes"},
		"no key":                   {func(r *vaultpki.KeyRequest) { r.Key = nil }, vaultpki.ReasonConfig, "key: none"},
		"a name of another kind":   {func(r *vaultpki.KeyRequest) { r.Name = "spiffe://example.com/x" }, vaultpki.ReasonConfig, "DNS name"},
		"no role":                  {func(r *vaultpki.KeyRequest) { r.Role = "" }, vaultpki.ReasonConfig, ""},
		"a life that is of no use": {func(r *vaultpki.KeyRequest) { r.TTL = time.Second }, vaultpki.ReasonConfig, "ttl 1s"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := keyRequest(ellipticKey(t))
			test.change(&want)
			chain, err := p.gateway.CertifyKey(t.Context(), want)
			if err == nil || vaultpki.ReasonOf(err) != test.reason || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%d certificates, error %v; expected reason %s and %q", len(chain), err, test.reason, test.text)
			}
		})
	}
}

// What is bound to a client certificate must not arrive on a connection that shows
// another one.
func TestShownGoesOnShowingItsCertificate(t *testing.T) {
	p := newPair(t)
	first, err := p.gateway.Shown()
	if err != nil {
		t.Fatal(err)
	}
	dial := first.DialTLS(sidecarName)
	if err := p.gateway.Renew(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	second, err := p.gateway.Shown()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first.Certificate().Raw, second.Certificate().Raw) {
		t.Fatal("the renewed certificate is the one before")
	}
	guard := p.sidecar.GuardTLS([]string{clientName})
	for name, way := range map[string]struct {
		dial *tls.Config
		want *x509.Certificate
	}{
		"made before the renewal":      {dial, first.Certificate()},
		"made after it, of the first":  {first.DialTLS(sidecarName), first.Certificate()},
		"made after it, of the second": {second.DialTLS(sidecarName), second.Certificate()},
		"whichever is in use":          {p.gateway.DialTLS(sidecarName), second.Certificate()},
	} {
		_, server, err := shakeBoth(guard, way.dial)
		if err != nil || len(server.PeerCertificates) == 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !server.PeerCertificates[0].Equal(way.want) {
			t.Errorf("%s: the sidecar sees another certificate", name)
		}
	}
	vaultpki.Expire(first)
	if _, server, err := shakeBoth(guard, dial); err != nil || !server.PeerCertificates[0].Equal(second.Certificate()) {
		t.Errorf("one that has expired: the sidecar does not see the one in use: %v", err)
	}
	if _, err := p.sidecar.Shown(); err == nil {
		t.Error("a server's certificate is shown as a client's")
	}
}
