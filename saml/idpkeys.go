package saml

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/beevik/etree"
)

// signingCertificates collects the certificates whose keys may sign. Of several
// in one X509Data the first is the signer's; the rest is its chain, which must
// not be able to sign for it.
func signingCertificates(role *etree.Element) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, descriptor := range childrenOf(role, nsMetadata, "KeyDescriptor") {
		if use := descriptor.SelectAttrValue("use", "signing"); use != "signing" {
			continue
		}
		for _, info := range childrenOf(descriptor, nsDsig, "KeyInfo") {
			for _, data := range childrenOf(info, nsDsig, "X509Data") {
				cert, err := metadataCertificate(data)
				if err != nil {
					return nil, fmt.Errorf("signing certificate %d: %w", len(certs)+1, err)
				}
				if cert != nil && !slices.ContainsFunc(certs, cert.Equal) {
					certs = append(certs, cert)
				}
			}
		}
	}
	if len(certs) == 0 || len(certs) > maxIdPCertificates {
		return nil, fmt.Errorf("%d signing certificates, expected 1 to %d", len(certs), maxIdPCertificates)
	}
	return certs, nil
}

// metadataCertificate returns nil if there is none in it: an X509Data may name a
// key in other ways, which say nothing that could be trusted.
//
// How the certificate itself is signed does not matter, not even if with SHA-1: it
// is only a wrapping for a key that the metadata vouches for (Metadata
// Interoperability Profile).
func metadataCertificate(data *etree.Element) (*x509.Certificate, error) {
	el := childOf(data, nsDsig, "X509Certificate")
	if el == nil {
		return nil, nil
	}
	cert, err := readCertificate(el)
	if err != nil {
		return nil, err
	}
	if err := checkStrength(cert.PublicKey); err != nil {
		return nil, err
	}
	return cert, nil
}

// readCertificate reads an X509Certificate.
func readCertificate(el *etree.Element) (*x509.Certificate, error) {
	der, err := decodeBase64(el.Text())
	if err != nil {
		return nil, fmt.Errorf("decoding base64: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing X.509: %w", err)
	}
	return cert, nil
}

// fingerprint is how we name a certificate to people.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// keyHash is how a key is pinned; see [Config.PinnedKeys].
func keyHash(cert *x509.Certificate) string { return fingerprint(cert.RawSubjectPublicKeyInfo) }

var sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)

// pinSet judges the form of pins. Whether they are of any use is seen in
// [IdPInfo.UnusedPins].
func pinSet(pins []string) (map[string]bool, error) {
	set := map[string]bool{}
	for _, pin := range pins {
		if !sha256Hex.MatchString(pin) {
			return nil, fmt.Errorf("pinned key %.100q, expected the SHA-256 of a public key: 64 digits of lower-case hex", pin)
		}
		set[pin] = true
	}
	return set, nil
}

func (idp *identityProvider) pinned(cert *x509.Certificate) bool { return idp.pins[keyHash(cert)] }

// trusts reports whether a certificate counts now. Its validity is a reminder to
// change the key, not a proof of anything: whoever pins the key has decided
// that it is good.
func (idp *identityProvider) trusts(cert *x509.Certificate, now time.Time) bool {
	return idp.pinned(cert) || (!now.Before(cert.NotBefore) && !now.After(cert.NotAfter))
}
