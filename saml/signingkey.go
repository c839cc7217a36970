package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// signingKey is a key of ours whose signatures have the form that XML Signature
// prescribes. The library would write Go's own for ECDSA, which no other verifier
// reads.
type signingKey struct{ crypto.Signer }

// Sign implements [crypto.Signer].
func (k signingKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	signature, err := k.Signer.Sign(random, digest, opts)
	if err != nil {
		return nil, err
	}
	if public, ok := k.Public().(*ecdsa.PublicKey); ok {
		return concatenate(signature, public)
	}
	return signature, nil
}

// signOctets signs the SHA-256 of the octets.
func (k signingKey) signOctets(octets string) ([]byte, error) {
	digest := sha256.Sum256([]byte(octets))
	return k.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// concatenate turns Go's ECDSA signature (DER) into what the algorithm's
// identifier stands for: r and s, each as long as the curve's order
// (xmldsig-core1 6.4.3).
func concatenate(der []byte, public *ecdsa.PublicKey) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	size := orderSize(public.Curve)
	if rs.R.Sign() < 0 || rs.S.Sign() < 0 || rs.R.BitLen() > size*8 || rs.S.BitLen() > size*8 {
		return nil, errors.New("the key made a malformed signature")
	}
	out := make([]byte, 2*size)
	rs.R.FillBytes(out[:size])
	rs.S.FillBytes(out[size:])
	return out, nil
}
