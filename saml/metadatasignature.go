package saml

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// signedMetadata returns the part of a metadata document that signer signed,
// which must be the whole of it: the signature stands in the root element, first
// of all (saml-metadata 3), and is verified by the one certificate that was given
// to us beforehand, whatever certificate stands in the document.
//
// What it returns was read back from the bytes that were signed.
func signedMetadata(raw []byte, signer *x509.Certificate, now func() time.Time) ([]byte, error) {
	if err := checkStream(raw, metadataLimits()); err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	root := doc.Root()
	if err := checkMetadataSignature(root); err != nil {
		return nil, err
	}
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{signer}})
	ctx.Clock = dsig.NewFakeClock(newClock(now, 0))
	signed, err := ctx.Validate(readableBy(root, signer.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("verifying the signature with the certificate %s: %.300q", fingerprint(signer.Raw), err.Error())
	}
	out := etree.NewDocument()
	out.SetRoot(signed)
	verified, err := out.WriteToBytes()
	if err != nil {
		return nil, fmt.Errorf("writing what was signed: %w", err)
	}
	return verified, nil
}

// checkMetadataSignature holds the signature to the form and the algorithms that
// a response's has: one, in its place, over the whole document.
func checkMetadataSignature(root *etree.Element) error {
	siblings := root.ChildElements()
	if len(siblings) == 0 || siblings[0].NamespaceURI() != nsDsig || siblings[0].Tag != "Signature" {
		return fmt.Errorf("the document is not signed: expected a Signature as the first element of the %.60s", root.Tag)
	}
	sig := siblings[0]
	if err := signatureShape.check(sig); err != nil {
		return fmt.Errorf("reading the signature: %w", err)
	}
	info := childOf(sig, nsDsig, "SignedInfo")
	reference := childOf(info, nsDsig, "Reference")
	id := root.SelectAttrValue("ID", "")
	if uri := reference.SelectAttrValue("URI", ""); id == "" || uri != "#"+id {
		return fmt.Errorf("the signature refers to %.100q, expected the whole document, %.100q", uri, "#"+id)
	}
	if err := checkTransforms(reference); err != nil {
		return fmt.Errorf("reading the signature: %w", err)
	}
	if err := checkAlgorithms(info, reference); err != nil {
		return fmt.Errorf("reading the signature: %w", err)
	}
	return nil
}
