package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const minRSABits = 2048 // saml2int SDP-MD06

// ParseKeyPair reads a private key (PKCS #8, PKCS #1 or SEC 1) and the
// certificate that publishes it, both in PEM. RSA keys must have 2048 bits or
// more, elliptic ones must be on P-256, P-384 or P-521. An error says which of
// the two is wrong and why, and never holds any of the material.
func ParseKeyPair(keyPEM, certPEM []byte) (crypto.Signer, *x509.Certificate, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the private key: %w", err)
	}
	if err := checkStrength(key.Public()); err != nil {
		return nil, nil, fmt.Errorf("reading the private key: %w", err)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the certificate: %w", err)
	}
	if !publishes(cert, key) {
		return nil, nil, errors.New("the certificate does not belong to the private key: their public keys differ")
	}
	return key, cert, nil
}

// parseKey goes by the type of the PEM block.
func parseKey(data []byte) (crypto.Signer, error) {
	block, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	// The parsers' own errors are dropped: they may describe the material.
	switch block.Type {
	case "RSA PRIVATE KEY":
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	case "EC PRIVATE KEY":
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
	case "PRIVATE KEY":
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
			return nil, errors.New("a key that cannot sign")
		}
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("the key is encrypted; store it in the clear, its store keeps it secret")
	default:
		return nil, fmt.Errorf("PEM block of type %.60q, expected PRIVATE KEY", block.Type)
	}
	return nil, fmt.Errorf("PEM block of type %q does not hold such a key", block.Type)
}

// parseCertificate reads the one certificate; a chain is not published.
func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, err := onlyBlock(data)
	if err != nil {
		return nil, err
	}
	if block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("PEM block of type %.60q, expected CERTIFICATE", block.Type)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing X.509: %w", err)
	}
	return cert, nil
}

// onlyBlock refuses a second block: which of two keys was meant is not ours to
// guess.
func onlyBlock(data []byte) (*pem.Block, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil && len(strings.TrimSpace(string(data))) == 0:
		return nil, errors.New("it is empty")
	case block == nil:
		return nil, errors.New("it is not PEM")
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, errors.New("more than one PEM block, or text after it")
	}
	return block, nil
}

// publishes reports whether the certificate is for this key.
func publishes(cert *x509.Certificate, key interface{ Public() crypto.PublicKey }) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

// checkStrength is the one rule for keys, ours and the identity provider's.
func checkStrength(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return fmt.Errorf("RSA key of %d bits, at least %d are needed", bits, minRSABits)
		}
		return nil
	case *ecdsa.PublicKey:
		if bits := k.Curve.Params().BitSize; bits < 256 {
			return fmt.Errorf("elliptic curve of %d bits, at least 256 are needed", bits)
		}
		return nil
	}
	return fmt.Errorf("key of type %T, expected RSA or ECDSA", key)
}
