package saml

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"

	saml2 "github.com/russellhaering/gosaml2"
	dsig "github.com/russellhaering/goxmldsig"
)

// requester makes signed requests for HTTP-Redirect (saml-bindings 3.4). The
// message is gosaml2's; the encoding and the signature are ours, because
// gosaml2 signs with RSA alone and sorts the query of the identity provider's
// own address.
type requester struct {
	sp        *saml2.SAMLServiceProvider
	key       crypto.Signer
	algorithm string // SigAlg
	location  string // with "?" or "&" at its end
}

// newRequester chooses the algorithm by the key: one of each is enough, and
// SHA-1 is none.
func newRequester(cfg *Config, idp *identityProvider) (*requester, error) {
	algorithm := dsig.RSASHA256SignatureMethod
	if _, ok := cfg.Key.Public().(*ecdsa.PublicKey); ok {
		algorithm = dsig.ECDSASHA256SignatureMethod
	}
	r := &requester{
		sp: &saml2.SAMLServiceProvider{
			IdentityProviderSSOURL:      idp.ssoURL,
			AssertionConsumerServiceURL: cfg.ACSURL,
			ServiceProviderIssuer:       cfg.EntityID,
			Clock:                       dsig.NewFakeClock(newClock(cfg.Now, 0)),
		},
		key: cfg.Key, algorithm: algorithm, location: openQuery(idp.ssoURL),
	}
	// A key that cannot sign shall stop the start, not the first sign-on.
	if _, err := r.sign("probe"); err != nil {
		return nil, fmt.Errorf("trying our own key: %w", err)
	}
	return r, nil
}

// openQuery makes an address ready for more parameters. What it has in its own
// query stays as it is.
func openQuery(location string) string {
	switch {
	case !strings.Contains(location, "?"):
		return location + "?"
	case strings.HasSuffix(location, "?"), strings.HasSuffix(location, "&"):
		return location
	}
	return location + "&"
}

// begin makes one request.
func (r *requester) begin(relayState string) (Message, error) {
	doc, err := r.sp.BuildAuthRequestDocumentNoSig()
	if err != nil {
		return Message{}, fmt.Errorf("building the request: %w", err)
	}
	id := newRequestID()
	doc.Root().CreateAttr("ID", id) // replaces a UUID, which has 122 random bits
	message, err := doc.WriteToBytes()
	if err != nil {
		return Message{}, fmt.Errorf("writing the request: %w", err)
	}
	packed, err := deflate(message)
	if err != nil {
		return Message{}, fmt.Errorf("packing the request: %w", err)
	}
	query, err := r.signedQuery(packed, relayState)
	if err != nil {
		return Message{}, err
	}
	return Message{ID: id, IssuedAt: r.sp.Clock.Now(), URL: r.location + query}, nil
}

// newRequestID returns an XML ID with 160 random bits: whoever could guess it
// could finish somebody else's sign-on.
func newRequestID() string {
	random := make([]byte, 20)
	rand.Read(random) // never fails: crypto/rand ends the process instead
	return "_" + hex.EncodeToString(random)
}

// deflate packs a message as saml-bindings 3.4.4.1 has it: raw DEFLATE, base64.
func deflate(message []byte) (string, error) {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(message); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(buf.Bytes()), nil
}

// signedQuery writes the parameters in the order that the signature is over
// (saml-bindings 3.4.4.1), so that the octets signed are the octets sent.
func (r *requester) signedQuery(packed, relayState string) (string, error) {
	query := "SAMLRequest=" + url.QueryEscape(packed)
	if relayState != "" {
		query += "&RelayState=" + url.QueryEscape(relayState)
	}
	query += "&SigAlg=" + url.QueryEscape(r.algorithm)
	signature, err := r.sign(query)
	if err != nil {
		return "", fmt.Errorf("signing the request: %w", err)
	}
	return query + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(signature)), nil
}

// sign signs the SHA-256 of the octets.
func (r *requester) sign(octets string) ([]byte, error) {
	digest := sha256.Sum256([]byte(octets))
	signature, err := r.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	if public, ok := r.key.Public().(*ecdsa.PublicKey); ok {
		return concatenate(signature, public)
	}
	return signature, nil
}

// concatenate turns Go's ECDSA signature (DER) into what the algorithm's
// identifier stands for: r and s, each as long as the curve's order
// (xmldsig-core1 6.4.3).
func concatenate(der []byte, public *ecdsa.PublicKey) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	size := (public.Curve.Params().N.BitLen() + 7) / 8
	if rs.R.Sign() < 0 || rs.S.Sign() < 0 || rs.R.BitLen() > size*8 || rs.S.BitLen() > size*8 {
		return nil, errors.New("the key made a malformed signature")
	}
	out := make([]byte, 2*size)
	rs.R.FillBytes(out[:size])
	rs.S.FillBytes(out[size:])
	return out, nil
}
