package assertion

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// algorithm is the only one: ECDSA on P-256 with SHA-256.
const algorithm = "ES256"

// joseHeader is the header of an assertion (RFC 7515 section 4).
type joseHeader struct {
	Algorithm string   `json:"alg"`
	KeyID     string   `json:"kid"`
	Type      string   `json:"typ"`
	Chain     []string `json:"x5c,omitempty"`
}

// encode returns the header as it begins an assertion, with the dot after it.
func (h joseHeader) encode() (string, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return "", fmt.Errorf("encoding the header of assertions: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(text) + ".", nil
}

// claims are what an assertion says. Times are Unix seconds.
type claims struct {
	Issuer       string       `json:"iss"`
	Audience     string       `json:"aud"`
	Subject      string       `json:"sub"`
	Email        string       `json:"email,omitempty"`
	Name         string       `json:"name,omitempty"`
	Groups       []string     `json:"groups"`
	Session      string       `json:"sid"`
	ID           string       `json:"jti"`
	IssuedAt     int64        `json:"iat"`
	NotBefore    int64        `json:"nbf"`
	Expires      int64        `json:"exp"`
	AuthnContext string       `json:"acr,omitempty"`
	AuthnAt      int64        `json:"auth_time"`
	IdP          string       `json:"idp,omitempty"`
	Bound        confirmation `json:"cnf"`
}

// confirmation binds an assertion to a client certificate (RFC 8705 section 3.1).
type confirmation struct {
	Thumbprint string `json:"x5t#S256"`
}

// keySet is a JWK set (RFC 7517 section 5).
type keySet struct {
	Keys []jwk `json:"keys"`
}

// jwk is a public key (RFC 7518 section 6.2.1) with its certificates.
type jwk struct {
	Type      string   `json:"kty"`
	Curve     string   `json:"crv"`
	X         string   `json:"x"`
	Y         string   `json:"y"`
	Use       string   `json:"use"`
	Algorithm string   `json:"alg"`
	ID        string   `json:"kid"`
	Chain     []string `json:"x5c,omitempty"`
}

// newJWK returns what is published of a key.
func newJWK(key Key) (jwk, error) {
	if key.Signer == nil {
		return jwk{}, errors.New("there is none")
	}
	k, err := publicJWK(key.Signer.Public())
	if err != nil {
		return jwk{}, err
	}
	for n, certificate := range key.Chain {
		public, _ := certificate.PublicKey.(*ecdsa.PublicKey)
		if n == 0 && (public == nil || !public.Equal(key.Signer.Public())) {
			return jwk{}, errors.New("its certificate is for another key")
		}
		k.Chain = append(k.Chain, base64.StdEncoding.EncodeToString(certificate.Raw)) // not the URL's alphabet: RFC 7515 section 4.1.6
	}
	return k, nil
}

func publicJWK(key crypto.PublicKey) (jwk, error) {
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return jwk{}, fmt.Errorf("it is of type %T, expected ECDSA on P-256", key)
	}
	point, err := public.Bytes()
	if err != nil {
		return jwk{}, fmt.Errorf("encoding it: %w", err)
	}
	k := jwk{
		Type: "EC", Curve: "P-256", Use: "sig", Algorithm: algorithm, // the point is uncompressed: 4, X, Y
		X: base64.RawURLEncoding.EncodeToString(point[1:33]), Y: base64.RawURLEncoding.EncodeToString(point[33:]),
	}
	k.ID = k.thumbprint()
	return k, nil
}

// KeyID is the kid of what the key verifies. The error says that it is none of
// ours: ECDSA on P-256.
func KeyID(public crypto.PublicKey) (string, error) {
	k, err := publicJWK(public)
	return k.ID, err
}

// thumbprint names the key by what it is (RFC 7638 section 3).
func (k jwk) thumbprint() string {
	sum := sha256.Sum256([]byte(`{"crv":"` + k.Curve + `","kty":"` + k.Type + `","x":"` + k.X + `","y":"` + k.Y + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
