package saml

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/russellhaering/goxmldsig/etreeutils"
)

const (
	algEnveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	algExcC14N   = "http://www.w3.org/2001/10/xml-exc-c14n#"
)

// signatureMethods and digestMethods are the algorithms that we accept. SHA-1
// is what the library would accept besides; HMAC and "none" are what attackers
// send.
var (
	signatureMethods = map[string]x509.SignatureAlgorithm{
		dsig.RSASHA256SignatureMethod:   x509.SHA256WithRSA,
		dsig.RSASHA384SignatureMethod:   x509.SHA384WithRSA,
		dsig.RSASHA512SignatureMethod:   x509.SHA512WithRSA,
		dsig.ECDSASHA256SignatureMethod: x509.ECDSAWithSHA256,
		dsig.ECDSASHA384SignatureMethod: x509.ECDSAWithSHA384,
		dsig.ECDSASHA512SignatureMethod: x509.ECDSAWithSHA512,
	}
	digestMethods = map[string]bool{
		"http://www.w3.org/2001/04/xmlenc#sha256":       true,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": true,
		"http://www.w3.org/2001/04/xmlenc#sha512":       true,
	}
)

// signatureAttributes are all that XMLDSig has for the elements below.
var signatureAttributes = map[string]bool{"Id": true, "Algorithm": true, "URI": true, "Type": true}

// signatureShape has no Object and no second Reference, so there is nothing in
// a signature that is not verified or could be wrapped in it. KeyName and
// KeyValue are let through because Keycloak sends both beside the certificate;
// nobody reads them.
var signatureShape = shape{ns: nsDsig, tag: "Signature", max: 1, code: CodeSignatureShape, children: []shape{
	{ns: nsDsig, tag: "SignedInfo", min: 1, max: 1, code: CodeSignatureShape, children: []shape{
		{ns: nsDsig, tag: "CanonicalizationMethod", min: 1, max: 1, code: CodeSignatureShape},
		{ns: nsDsig, tag: "SignatureMethod", min: 1, max: 1, code: CodeSignatureShape},
		{ns: nsDsig, tag: "Reference", min: 1, max: 1, code: CodeSignatureShape, children: []shape{
			{ns: nsDsig, tag: "Transforms", min: 1, max: 1, code: CodeSignatureShape, children: []shape{
				{ns: nsDsig, tag: "Transform", min: 2, max: 2, code: CodeSignatureShape, children: []shape{
					{ns: nsExcC14N, tag: "InclusiveNamespaces", max: 1, code: CodeSignatureShape},
				}},
			}},
			{ns: nsDsig, tag: "DigestMethod", min: 1, max: 1, code: CodeSignatureShape},
			{ns: nsDsig, tag: "DigestValue", min: 1, max: 1, content: text, code: CodeSignatureShape},
		}},
	}},
	{ns: nsDsig, tag: "SignatureValue", min: 1, max: 1, content: text, code: CodeSignatureShape},
	{ns: nsDsig, tag: "KeyInfo", max: 1, code: CodeSignatureShape, children: []shape{
		{ns: nsDsig, tag: "KeyName", max: 1, content: text, code: CodeSignatureShape},
		{ns: nsDsig, tag: "X509Data", min: 1, max: 1, code: CodeSignatureShape, children: []shape{
			{ns: nsDsig, tag: "X509Certificate", min: 1, max: 8, content: text, code: CodeSignatureShape},
			{ns: nsDsig, tag: "X509SubjectName", max: 1, content: text, code: CodeSignatureShape},
			{ns: nsDsig, tag: "X509IssuerSerial", max: 1, content: ignored, code: CodeSignatureShape},
			{ns: nsDsig, tag: "X509SKI", max: 1, content: text, code: CodeSignatureShape},
		}},
		{ns: nsDsig, tag: "KeyValue", max: 1, content: ignored, code: CodeSignatureShape},
	}},
}}

// checkSignatures holds each signature to the one form that SAML has for it:
// right behind the Issuer of the element that it covers, and covering that. As
// long as the assertion is encrypted, it may have one that nobody can see yet.
func (j *judgement) checkSignatures() error {
	signed := j.encrypted != nil || j.vouched != nil
	for _, el := range j.statements() {
		sig := childOf(el, nsDsig, "Signature")
		if sig == nil {
			continue
		}
		signed = true
		if err := checkSignature(el, sig); err != nil {
			return err
		}
	}
	if !signed {
		return refusef(CodeUnsigned, "neither the response nor the assertion is signed")
	}
	return j.readSignatures()
}

// checkSignature holds one signature to its place, its reference and its
// algorithms. What stands in it besides was settled by its shape.
func checkSignature(parent, sig *etree.Element) error {
	siblings := parent.ChildElements()
	if siblings[0].Tag != "Issuer" || siblings[1] != sig {
		return refusef(CodeSignatureShape, "signature of the %s is not right behind its Issuer", parent.Tag)
	}
	info := childOf(sig, nsDsig, "SignedInfo")
	reference := childOf(info, nsDsig, "Reference")
	id := parent.SelectAttrValue("ID", "")
	if uri := reference.SelectAttrValue("URI", ""); id == "" || uri != "#"+id {
		return refusef(CodeSignatureShape, "signature of the %s refers to %.100q, expected %.100q", parent.Tag, uri, "#"+id)
	}
	if err := checkTransforms(reference); err != nil {
		return err
	}
	return checkAlgorithms(info, reference)
}

// checkTransforms wants the enveloped signature taken out and the rest made
// canonical, in this order, and nothing else: XSLT and XPath are programs.
func checkTransforms(reference *etree.Element) error {
	transforms := childOf(reference, nsDsig, "Transforms").ChildElements()
	for i, want := range []string{algEnveloped, algExcC14N} {
		if got := algorithmOf(transforms[i]); got != want {
			return refusef(CodeAlgorithm, "transform %d is %.100q, expected %s", i+1, got, want)
		}
	}
	if len(transforms[0].ChildElements()) > 0 {
		return refusef(CodeSignatureShape, "enveloped-signature transform with a parameter")
	}
	return nil
}

// checkAlgorithms is the allow-list. The library's own list has SHA-1 in it.
func checkAlgorithms(info, reference *etree.Element) error {
	if got := algorithmOf(childOf(info, nsDsig, "CanonicalizationMethod")); got != algExcC14N {
		return refusef(CodeAlgorithm, "canonicalization method %.100q, expected %s", got, algExcC14N)
	}
	if got := algorithmOf(childOf(reference, nsDsig, "DigestMethod")); !digestMethods[got] {
		return refusef(CodeAlgorithm, "digest method %.100q is not allowed", got)
	}
	method := algorithmOf(childOf(info, nsDsig, "SignatureMethod"))
	if _, ok := signatureMethods[method]; !ok {
		return refusef(CodeAlgorithm, "signature method %.100q is not allowed", method)
	}
	return nil
}

func algorithmOf(el *etree.Element) string { return el.SelectAttrValue("Algorithm", "") }

// envelope is what the gates learnt from a response that the library has not
// seen yet: enough to choose the certificate to verify it with.
type envelope struct {
	assertionID    string
	responseSigned bool
	signatures     []signature // the response's first; none in what came out of a signed response
}

// signature is a ds:Signature, read but not verified.
type signature struct {
	signed      []byte // SignedInfo in its canonical form
	algorithm   x509.SignatureAlgorithm
	value       []byte // as sent; see [derValue]
	certificate []byte // DER from KeyInfo; nil if it has none
}

// madeBy reports whether the key of this certificate made the signature.
func (s signature) madeBy(cert *x509.Certificate) bool {
	return cert.CheckSignature(s.algorithm, s.signed, derValue(s.value, cert.PublicKey)) == nil
}

// readSignatures notes which signatures there are.
func (j *judgement) readSignatures() error {
	j.env = &envelope{responseSigned: j.vouched != nil}
	if j.assertion != nil {
		j.env.assertionID = j.assertion.SelectAttrValue("ID", "")
	}
	for _, el := range j.statements() {
		sig := childOf(el, nsDsig, "Signature")
		if sig == nil {
			continue
		}
		j.env.responseSigned = j.env.responseSigned || el == j.root
		s, err := readSignature(sig)
		if err != nil {
			return refusef(CodeSignatureShape, "reading the signature of the %s: %w", el.Tag, err)
		}
		j.env.signatures = append(j.env.signatures, s)
	}
	return nil
}

// readSignature takes apart a signature that has the right shape.
func readSignature(el *etree.Element) (s signature, err error) {
	info := childOf(el, nsDsig, "SignedInfo")
	s.algorithm = signatureMethods[algorithmOf(childOf(info, nsDsig, "SignatureMethod"))]
	if s.value, err = decodeBase64(childOf(el, nsDsig, "SignatureValue").Text()); err != nil {
		return s, fmt.Errorf("decoding its value: %w", err)
	}
	if s.signed, err = canonical(info); err != nil {
		return s, fmt.Errorf("canonicalising it: %w", err)
	}
	if key := childOf(el, nsDsig, "KeyInfo"); key != nil {
		if s.certificate, err = decodeBase64(childOf(childOf(key, nsDsig, "X509Data"), nsDsig, "X509Certificate").Text()); err != nil {
			return s, fmt.Errorf("decoding its certificate: %w", err)
		}
	}
	return s, nil
}

// canonical returns the exclusive canonical form of an element in its place.
func canonical(info *etree.Element) ([]byte, error) {
	ctx, err := etreeutils.NSBuildParentContext(info)
	if err != nil {
		return nil, err
	}
	detached, err := etreeutils.NSDetatch(ctx, info)
	if err != nil {
		return nil, err
	}
	return dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(detached)
}

// names reports whether every signature names this certificate or none.
func (e *envelope) names(cert *x509.Certificate) bool {
	return !slices.ContainsFunc(e.signatures, func(s signature) bool {
		return s.certificate != nil && !bytes.Equal(s.certificate, cert.Raw)
	})
}

// signedBy reports whether the key of this certificate made every signature.
// That says nothing yet about what they cover: the library does. It keeps
// whoever has no signature of the identity provider away from the library,
// which walks the whole tree several times before it looks at a key.
func (e *envelope) signedBy(cert *x509.Certificate) bool {
	return !slices.ContainsFunc(e.signatures, func(s signature) bool { return !s.madeBy(cert) })
}

// fingerprints are of the certificates that the signatures name.
func (e *envelope) fingerprints() string {
	var all []string
	for _, s := range e.signatures {
		all = append(all, fingerprint(s.certificate))
	}
	return strings.Join(all, " and ")
}

// decodeBase64 decodes base64 in XML, where any white space may stand in it.
func decodeBase64(s string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
}
