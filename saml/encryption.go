package saml

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

const (
	typeElement      = nsXMLEnc + "Element"
	typeEncryptedKey = nsXMLEnc + "EncryptedKey"

	algOAEPMGF1P = nsXMLEnc + "rsa-oaep-mgf1p"
	algOAEP      = nsXMLEnc11 + "rsa-oaep"
	mgf1SHA1     = nsXMLEnc11 + "mgf1sha1"
)

// dataMethod is how an assertion may be encrypted.
type dataMethod struct {
	keySize int // in bytes
	// authenticated means that whoever changes the ciphertext is found out. What is
	// not authenticated must have been signed over, or decrypting it tells a
	// stranger, by how it fails, what is in it.
	authenticated bool
}

// dataMethods, keyMethods, keyDigests and maskFunctions are the algorithms that we
// accept. RSA with PKCS #1 v1.5 and 3DES are what is missing, and what attackers
// send. SHA-1 is no weakness in OAEP, and it is its default.
var (
	dataMethods = map[string]dataMethod{
		nsXMLEnc11 + "aes128-gcm": {16, true}, nsXMLEnc11 + "aes192-gcm": {24, true}, nsXMLEnc11 + "aes256-gcm": {32, true},
		nsXMLEnc + "aes128-cbc": {16, false}, nsXMLEnc + "aes192-cbc": {24, false}, nsXMLEnc + "aes256-cbc": {32, false},
	}
	keyMethods = map[string]bool{algOAEPMGF1P: true, algOAEP: true}
	keyDigests = map[string]crypto.Hash{
		"": crypto.SHA1, nsDsig + "sha1": crypto.SHA1, nsXMLEnc + "sha256": crypto.SHA256,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": crypto.SHA384, nsXMLEnc + "sha512": crypto.SHA512,
	}
	maskFunctions = map[string]crypto.Hash{
		"": crypto.SHA1, mgf1SHA1: crypto.SHA1, nsXMLEnc11 + "mgf1sha256": crypto.SHA256,
		nsXMLEnc11 + "mgf1sha384": crypto.SHA384, nsXMLEnc11 + "mgf1sha512": crypto.SHA512,
	}
)

// encryptionAttributes are those of XML Encryption but Encoding, which would have
// the plaintext be something else than XML.
var encryptionAttributes = map[string]bool{
	"Id": true, "Algorithm": true, "URI": true, "Type": true, "MimeType": true, "Recipient": true,
}

// encryptedAssertionShape has the encrypted key in either of the places where
// identity providers put it: inside of EncryptedData, as SimpleSAMLphp and Keycloak
// do, or behind it, as Shibboleth and Okta do. There is no CipherReference, so
// nothing is fetched, and no parameter of OAEP, which no identity provider sends.
var encryptedAssertionShape = shape{ns: nsAssertion, tag: "EncryptedAssertion", min: 1, max: 1, count: CodeAssertions, code: CodeEncryptionShape, children: []shape{
	{ns: nsXMLEnc, tag: "EncryptedData", min: 1, max: 1, code: CodeEncryptionShape, children: []shape{
		{ns: nsXMLEnc, tag: "EncryptionMethod", min: 1, max: 1, code: CodeEncryptionShape},
		{ns: nsDsig, tag: "KeyInfo", max: 1, code: CodeEncryptionShape, children: []shape{
			encryptedKeyShape,
			{ns: nsDsig, tag: "RetrievalMethod", max: maxEncryptedKeys, code: CodeEncryptionShape},
			{ns: nsDsig, tag: "KeyName", max: 1, content: text, code: CodeEncryptionShape},
		}},
		cipherDataShape,
	}},
	encryptedKeyShape,
}}

var encryptedKeyShape = shape{ns: nsXMLEnc, tag: "EncryptedKey", max: maxEncryptedKeys, code: CodeEncryptionShape, children: []shape{
	{ns: nsXMLEnc, tag: "EncryptionMethod", min: 1, max: 1, code: CodeEncryptionShape, children: []shape{
		{ns: nsDsig, tag: "DigestMethod", max: 1, code: CodeEncryptionShape},
		{ns: nsXMLEnc11, tag: "MGF", max: 1, code: CodeEncryptionShape},
	}},
	{ns: nsDsig, tag: "KeyInfo", max: 1, code: CodeEncryptionShape, children: []shape{
		{ns: nsDsig, tag: "KeyName", max: 1, content: text, code: CodeEncryptionShape},
		{ns: nsDsig, tag: "X509Data", max: 1, code: CodeEncryptionShape, children: []shape{
			{ns: nsDsig, tag: "X509Certificate", max: 8, content: text, code: CodeEncryptionShape},
			{ns: nsDsig, tag: "X509SubjectName", max: 1, content: text, code: CodeEncryptionShape},
			{ns: nsDsig, tag: "X509IssuerSerial", max: 1, content: ignored, code: CodeEncryptionShape},
			{ns: nsDsig, tag: "X509SKI", max: 1, content: text, code: CodeEncryptionShape},
		}},
		{ns: nsDsig, tag: "KeyValue", max: 1, content: ignored, code: CodeEncryptionShape},
	}},
	cipherDataShape,
	{ns: nsXMLEnc, tag: "ReferenceList", max: 1, code: CodeEncryptionShape, children: []shape{
		{ns: nsXMLEnc, tag: "DataReference", max: 1, code: CodeEncryptionShape},
	}},
	{ns: nsXMLEnc, tag: "CarriedKeyName", max: 1, content: text, code: CodeEncryptionShape},
}}

var cipherDataShape = shape{ns: nsXMLEnc, tag: "CipherData", min: 1, max: 1, code: CodeEncryptionShape, children: []shape{
	{ns: nsXMLEnc, tag: "CipherValue", min: 1, max: 1, content: text, code: CodeEncryptionShape},
}}

// sealedAssertion is an EncryptedAssertion of the right shape, with algorithms that
// are allowed, read but not opened.
type sealedAssertion struct {
	algorithm string
	method    dataMethod
	data      *etree.Element // CipherValue
	keys      []wrappedKey   // for us, or for whom it does not say
}

// wrappedKey is an EncryptedKey.
type wrappedKey struct {
	algorithm   string
	options     *rsa.OAEPOptions
	value       *etree.Element // CipherValue
	certificate []byte         // whose key it is encrypted to, in DER; nil if it does not say
}

// describe names the algorithms, for a trace.
func (s *sealedAssertion) describe() string {
	names := []string{s.algorithm[strings.LastIndex(s.algorithm, "#")+1:]}
	for _, k := range s.keys {
		name := fmt.Sprintf("%s (%s, mask %s)", k.algorithm[strings.LastIndex(k.algorithm, "#")+1:], k.options.Hash, k.options.MGFHash)
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// checkEncryption holds what is encrypted to its algorithms, and to the one form
// that an assertion is encrypted in. No key is used yet.
func (j *judgement) checkEncryption() error {
	el := childOf(j.encrypted, nsXMLEnc, "EncryptedData")
	if t := el.SelectAttrValue("Type", ""); t != typeElement {
		return refusef(CodeEncryptionShape, "EncryptedData of the type %.100q, expected %s", t, typeElement)
	}
	s := &sealedAssertion{algorithm: algorithmOf(childOf(el, nsXMLEnc, "EncryptionMethod")), data: cipherValue(el)}
	var ok bool
	if s.method, ok = dataMethods[s.algorithm]; !ok {
		return refusef(CodeAlgorithm, "assertion encrypted with %.100q, which is not allowed", s.algorithm)
	}
	if !s.method.authenticated && j.vouched == nil {
		return refusef(CodeAlgorithm, "assertion encrypted with %s in a response that is not signed: let the identity provider sign the response, or encrypt with AES-GCM", s.algorithm)
	}
	keys, err := encryptedKeys(j.encrypted)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if to := key.SelectAttrValue("Recipient", j.sp.entityID); to != j.sp.entityID {
			continue
		}
		k, err := readWrappedKey(key)
		if err != nil {
			return err
		}
		s.keys = append(s.keys, k)
	}
	j.sealed = s
	return nil
}

// encryptedKeys collects the EncryptedKeys from both places, and wants every
// RetrievalMethod to mean one of them.
func encryptedKeys(encrypted *etree.Element) ([]*etree.Element, error) {
	keys := childrenOf(encrypted, nsXMLEnc, "EncryptedKey")
	info := childOf(childOf(encrypted, nsXMLEnc, "EncryptedData"), nsDsig, "KeyInfo")
	if info != nil {
		keys = append(keys, childrenOf(info, nsXMLEnc, "EncryptedKey")...)
	}
	if len(keys) == 0 || len(keys) > maxEncryptedKeys {
		return nil, refusef(CodeEncryptionShape, "%d encrypted keys, expected 1 to %d", len(keys), maxEncryptedKeys)
	}
	if info == nil {
		return keys, nil
	}
	for _, method := range childrenOf(info, nsDsig, "RetrievalMethod") {
		uri := method.SelectAttrValue("URI", "")
		there := slices.ContainsFunc(keys, func(key *etree.Element) bool { return uri == "#"+key.SelectAttrValue("Id", "") })
		if t := method.SelectAttrValue("Type", typeEncryptedKey); len(uri) < 2 || !there || t != typeEncryptedKey {
			return nil, refusef(CodeEncryptionShape, "retrieval method %.100q of the type %.100q, expected an EncryptedKey beside it", uri, t)
		}
	}
	return keys, nil
}

// readWrappedKey takes apart an EncryptedKey of the right shape.
func readWrappedKey(el *etree.Element) (k wrappedKey, err error) {
	method := childOf(el, nsXMLEnc, "EncryptionMethod")
	k = wrappedKey{algorithm: algorithmOf(method), value: cipherValue(el)}
	if !keyMethods[k.algorithm] {
		return k, refusef(CodeAlgorithm, "key encrypted with %.100q, which is not allowed", k.algorithm)
	}
	digest, mask := optionalAlgorithm(method, nsDsig, "DigestMethod"), optionalAlgorithm(method, nsXMLEnc11, "MGF")
	k.options = &rsa.OAEPOptions{Hash: keyDigests[digest], MGFHash: maskFunctions[mask]}
	if k.options.Hash == 0 || k.options.MGFHash == 0 {
		return k, refusef(CodeAlgorithm, "key encrypted with the digest %.100q and the mask %.100q, which is not allowed", digest, mask)
	}
	if k.algorithm == algOAEPMGF1P && k.options.MGFHash != crypto.SHA1 {
		return k, refusef(CodeAlgorithm, "key encrypted with the mask %.100q, which rsa-oaep-mgf1p does not have", mask)
	}
	if info := childOf(el, nsDsig, "KeyInfo"); info != nil {
		if data := childOf(info, nsDsig, "X509Data"); data != nil {
			// What is unreadable names no key of ours; it is a hint and no more.
			k.certificate, _ = decodeBase64(textOf(childOf(data, nsDsig, "X509Certificate")))
		}
	}
	return k, nil
}

func optionalAlgorithm(method *etree.Element, ns, tag string) string {
	el := childOf(method, ns, tag)
	if el == nil {
		return ""
	}
	return algorithmOf(el)
}

func cipherValue(el *etree.Element) *etree.Element {
	return childOf(childOf(el, nsXMLEnc, "CipherData"), nsXMLEnc, "CipherValue")
}
