package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/base64"
	"math/big"

	"github.com/beevik/etree"
)

// An ECDSA signature is a pair of numbers, r and s, and there are two ways to write
// it down. XML Signature prescribes them side by side, each as long as the order of
// the curve (xmldsig-core1 6.4.3): so do xmlsec1, Java's XML Signature and all that
// is built on them. Go, and so the signature library, reads DER, which is what plain
// Java and OpenSSL make, and some identity providers send. We take both.
//
// Nothing becomes valid by that. The pair must still be one that the key made of the
// octets: that r and s are neither zero nor too large is Go's check. That there are
// several ways to write a good signature, and that the negative of s is as good as s,
// lets somebody change the octets of a signature that they were given; but not of
// anything that it covers, and nothing of ours depends on them.

// orderSize is how many bytes a number below the order of a curve needs.
func orderSize(curve elliptic.Curve) int { return (curve.Params().N.BitLen() + 7) / 8 }

// isPair reports whether value has the length that r and s side by side have for this
// key. DER of these curves is longer, but for one signature in a trillion, which then
// does not verify.
func isPair(value []byte, key crypto.PublicKey) bool {
	public, ok := key.(*ecdsa.PublicKey)
	return ok && len(value) == 2*orderSize(public.Curve)
}

// derValue returns the value of a signature in the form that Go verifies by this key:
// as it is, unless it is r and s side by side.
func derValue(value []byte, key crypto.PublicKey) []byte {
	if !isPair(value, key) {
		return value
	}
	half := len(value) / 2
	der, err := asn1.Marshal(struct{ R, S *big.Int }{
		new(big.Int).SetBytes(value[:half]), new(big.Int).SetBytes(value[half:]),
	})
	if err != nil {
		return nil // which no key made
	}
	return der
}

// readableBy returns el with its own signature in the form that the library reads:
// el itself if it has that already, or else a copy.
//
// No octet that is verified changes. The value stands outside of SignedInfo; and the
// transform that every signature must have takes the whole signature out of what its
// digest is of. Signatures of elements inside of el are left as they were sent: they
// are what the digest is of.
func readableBy(el *etree.Element, key crypto.PublicKey) *etree.Element {
	sent := signatureValue(el)
	if sent == nil {
		return el
	}
	value, err := decodeBase64(sent.Text())
	if err != nil || !isPair(value, key) {
		return el
	}
	readable := el.Copy()
	signatureValue(readable).SetText(base64.StdEncoding.EncodeToString(derValue(value, key)))
	return readable
}

// signatureValue is that of the element's own signature; nil if it has none.
func signatureValue(el *etree.Element) *etree.Element {
	if sig := childOf(el, nsDsig, "Signature"); sig != nil {
		return childOf(sig, nsDsig, "SignatureValue")
	}
	return nil
}
