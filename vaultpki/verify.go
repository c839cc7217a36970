package vaultpki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Usage says what a certificate is for. A certificate of this package is never
// for both.
type Usage int

// The usages.
const (
	// ServerUsage: the certificate answers TLS handshakes.
	ServerUsage Usage = iota + 1
	// ClientUsage: the certificate is shown to servers that demand one.
	ClientUsage
	// AssertionUsage: the key of the certificate signs JWTs; no handshake takes it.
	AssertionUsage
)

// String returns "server", "client" or "signer of assertions".
func (u Usage) String() string {
	switch u {
	case ServerUsage:
		return "server"
	case ClientUsage:
		return "client"
	case AssertionUsage:
		return "signer of assertions"
	}
	return "unknown"
}

// oidJWT is id-kp-jwt: the key signs JWTs (RFC 9509 section 3).
var oidJWT = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 37}

// extKeyUsage returns the X.509 usage and its opposite.
func (u Usage) extKeyUsage() (own, other x509.ExtKeyUsage) {
	if u == ClientUsage {
		return x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	}
	return x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
}

const (
	// minLife is the shortest remaining life of a certificate that is accepted.
	minLife = 5 * time.Second
	// longestPublicLife is what browsers accept of an authority that is not
	// public; of one that is, less.
	longestPublicLife = 825 * 24 * time.Hour
)

// parseChain reads all PEM blocks, each of which must be a certificate.
func parseChain(pemText string) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	rest := []byte(pemText)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("parsing a PEM block of type %q: expected CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parsing a certificate: %w", err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("parsing certificates: there are none")
	}
	return chain, nil
}

// isRoot says whether the certificate is an authority that signed itself.
func isRoot(cert *x509.Certificate) bool {
	return cert.BasicConstraintsValid && cert.IsCA && bytes.Equal(cert.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(cert) == nil
}

// expectation is what was asked for in a signing request.
type expectation struct {
	request *x509.CertificateRequest
	usage   Usage
	trust   *trust // nil for a public authority's: neither chain nor further uses are judged
	now     time.Time
}

// check compares an issued chain, leaf first, with what was asked for: our own
// key, exactly the names, exactly the usage, a chain to the pinned roots, and a
// life that has begun and is not over.
func (want expectation) check(chain []*x509.Certificate) error {
	leaf := chain[0]
	public, ok := want.request.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(leaf.PublicKey) {
		return errors.New("the certificate is for another key")
	}
	if err := checkNames(leaf, want.request); err != nil {
		return err
	}
	if leaf.IsCA {
		return errors.New("the certificate is an authority's")
	}
	// Public authorities used to give both usages.
	own, _ := want.usage.extKeyUsage()
	if err := checkUsage(leaf, want.usage); err != nil && (want.trust != nil || !slices.Contains(leaf.ExtKeyUsage, own)) {
		return err
	}
	if leaf.NotBefore.After(want.now.Add(clockSkew)) || leaf.NotAfter.Before(want.now.Add(minLife)) {
		return fmt.Errorf("the certificate is valid from %s to %s, now is %s, compare the clocks of this host and of its issuer",
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), want.now.UTC().Format(time.RFC3339))
	}
	if want.trust == nil {
		return checkPublic(leaf)
	}
	// A clock that is a little behind Vault's must not refuse a fresh leaf.
	at := want.now
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	return checkChain(chain, want.usage, want.trust, at)
}

// checkPublic refuses what no ACME server issues. Its authority is not known here.
func checkPublic(leaf *x509.Certificate) error {
	if leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil {
		return errors.New("the certificate has signed itself")
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > longestPublicLife {
		return fmt.Errorf("the certificate lives %d days: expected at most %d", int(life.Hours()/24), int(longestPublicLife.Hours()/24))
	}
	return nil
}

// checkNames demands exactly the names asked for and no name of any other kind.
func checkNames(leaf *x509.Certificate, request *x509.CertificateRequest) error {
	if !slices.Equal(slices.Sorted(slices.Values(leaf.DNSNames)), slices.Sorted(slices.Values(request.DNSNames))) || !slices.Equal(textOf(leaf.URIs), textOf(request.URIs)) {
		return fmt.Errorf("the certificate is for the names %q and URIs %q, expected %q and %q",
			leaf.DNSNames, textOf(leaf.URIs), request.DNSNames, textOf(request.URIs))
	}
	if len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 {
		return errors.New("the certificate holds addresses that were not asked for")
	}
	return nil
}

// textOf returns URIs as text, in order.
func textOf(uris []*url.URL) []string {
	var texts []string
	for _, uri := range uris {
		texts = append(texts, uri.String())
	}
	slices.Sort(texts)
	return texts
}

// checkUsage demands the one usage and neither the other nor "any". x509.Verify
// alone would take a certificate without any usage for both.
func checkUsage(leaf *x509.Certificate, usage Usage) error {
	if usage == AssertionUsage {
		if len(leaf.ExtKeyUsage) > 0 || len(leaf.UnknownExtKeyUsage) != 1 || !leaf.UnknownExtKeyUsage[0].Equal(oidJWT) {
			return fmt.Errorf("the certificate is not for use as a %s alone", usage)
		}
		return nil
	}
	own, other := usage.extKeyUsage()
	switch {
	case !slices.Contains(leaf.ExtKeyUsage, own):
		return fmt.Errorf("the certificate is not for use as a %s", usage)
	case slices.Contains(leaf.ExtKeyUsage, other) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny):
		return fmt.Errorf("the certificate is for more uses than as a %s", usage)
	}
	return nil
}

// checkChain builds a path from the leaf to a trusted root.
func checkChain(chain []*x509.Certificate, usage Usage, t *trust, at time.Time) error {
	if _, err := t.anchors(chain, usage, at); err != nil {
		return fmt.Errorf("building the chain to a root of this mount: %w", err)
	}
	return nil
}

// serialOf writes a serial number as Vault does: hex octets with colons.
func serialOf(cert *x509.Certificate) string {
	var b strings.Builder
	for i, octet := range cert.SerialNumber.Bytes() {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02x", octet)
	}
	return b.String()
}
