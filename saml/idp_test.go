package saml

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	testEntityID  = "https://door.example.test/saml/metadata"
	testACS       = "https://door.example.test/saml/acs"
	testIdPID     = "https://idp.example.test/metadata"
	testSSO       = "https://idp.example.test/sso"
	testRequestID = "_request"
	testSkew      = 3 * time.Minute
)

// testNow is when everything in these tests happens.
var testNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// testKey makes each named key once in a run: RSA keys are slow to make. Keys
// on P-256, and those for decryption, are the same in every run, which fuzzing
// needs: its workers are processes of their own.
func testKey(t testing.TB, name string) crypto.Signer {
	t.Helper()
	testKeysMu.Lock()
	defer testKeysMu.Unlock()
	if key, ok := testKeys[name]; ok {
		return key
	}
	var key crypto.Signer
	var err error
	switch {
	case strings.HasPrefix(name, "p256"):
		scalar := sha256.Sum256([]byte(name))
		key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	case strings.HasPrefix(name, "p384"):
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case strings.HasPrefix(name, "p521"):
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case strings.HasPrefix(name, "p224"):
		key, err = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	case strings.HasPrefix(name, "rsa-dec"):
		key, err = derivedRSA(name)
	case strings.HasPrefix(name, "rsa1024"):
		key, err = rsa.GenerateKey(rand.Reader, 1024)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	testKeys[name] = key
	return key
}

var (
	testKeysMu sync.Mutex // guards testKeys
	testKeys   = map[string]crypto.Signer{}
)

// testCertificate is valid for 360 days around testNow, moved by shift. It is made
// once in a run for each key, and must not be changed.
func testCertificate(t testing.TB, key crypto.Signer, shift time.Duration) *x509.Certificate {
	t.Helper()
	id := certificateID{key, shift}
	if cert, ok := testCertificates.Load(id); ok {
		return cert.(*x509.Certificate)
	}
	cert, _ := testCertificates.LoadOrStore(id, newCertificate(t, key, shift))
	return cert.(*x509.Certificate)
}

type certificateID struct {
	key   crypto.Signer
	shift time.Duration
}

var testCertificates sync.Map // certificateID -> *x509.Certificate

func newCertificate(t testing.TB, key crypto.Signer, shift time.Duration) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "idp.example.test"},
		NotBefore:    testNow.Add(shift - 180*24*time.Hour),
		NotAfter:     testNow.Add(shift + 180*24*time.Hour),
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// testIdP signs like a real identity provider: exclusive canonicalisation,
// enveloped signature behind the Issuer, certificate in KeyInfo.
type testIdP struct {
	key       crypto.Signer
	cert      *x509.Certificate
	method    string // of signature; empty: by the key, with SHA-256
	c14n      dsig.Canonicalizer
	prefixes  string // for InclusiveNamespaces
	noKeyInfo bool
	noPrefix  bool // signature in the default namespace
	pairs     bool // ECDSA as XML Signature prescribes it, and not as the library makes it
}

// signer makes signatures in the form that the identity provider writes.
func (idp *testIdP) signer() crypto.Signer {
	if idp.pairs {
		return signingKey{idp.key}
	}
	return idp.key
}

func newTestIdP(t testing.TB, keyName string) *testIdP {
	key := testKey(t, keyName)
	return &testIdP{key: key, cert: testCertificate(t, key, 0)}
}

// testMetadata is an EntityDescriptor for certificates.
func testMetadata(certs ...*x509.Certificate) []byte {
	var keys strings.Builder
	for _, cert := range certs {
		fmt.Fprintf(&keys, `<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="%s"><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`,
			nsDsig, base64.StdEncoding.EncodeToString(cert.Raw))
	}
	return fmt.Appendf(nil, `<md:EntityDescriptor xmlns:md="%s" entityID="%s"><md:IDPSSODescriptor protocolSupportEnumeration="%s">%s<md:SingleSignOnService Binding="%s" Location="%s"/></md:IDPSSODescriptor></md:EntityDescriptor>`,
		nsMetadata, testIdPID, nsProtocol, keys.String(), bindingRedirect, testSSO)
}

// testConfig trusts idp. Its clock stands at testNow.
func testConfig(t testing.TB, idp *testIdP) Config {
	t.Helper()
	key := testKey(t, "rsa-sp")
	return Config{
		EntityID: testEntityID, ACSURL: testACS,
		Key: key, Certificate: testCertificate(t, key, 0),
		IdPMetadata: testMetadata(idp.cert),
		Attributes: Attributes{
			User: []string{"mail", NameIDAttribute}, Email: []string{"mail"},
			Name: []string{"displayName", "cn"}, Groups: []string{"groups", "memberOf"},
		},
		ClockSkew: testSkew,
		Now:       func() time.Time { return testNow },
	}
}

// useKey signs with the named key.
func (cfg *Config) useKey(t testing.TB, name string) {
	t.Helper()
	cfg.Key = testKey(t, name)
	cfg.Certificate = testCertificate(t, cfg.Key, 0)
}

func newTestSP(t testing.TB, cfg Config) *ServiceProvider {
	t.Helper()
	sp, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sp
}

// message is a response on its way from the identity provider's keyboard to
// the browser.
type message struct {
	doc       *etree.Document
	root      *etree.Element
	assertion *etree.Element
}

// testResponse is what a well-behaved identity provider sends for alice.
const testResponse = `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_response" Version="2.0" IssueInstant="2026-11-22T12:00:00Z" Destination="https://door.example.test/saml/acs" InResponseTo="_request"><saml:Issuer>https://idp.example.test/metadata</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema" ID="_assertion" Version="2.0" IssueInstant="2026-11-22T12:00:00Z"><saml:Issuer>https://idp.example.test/metadata</saml:Issuer><saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">alice@example.com</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="2026-11-22T12:05:00Z" Recipient="https://door.example.test/saml/acs" InResponseTo="_request"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="2026-11-22T11:59:30Z" NotOnOrAfter="2026-11-22T12:05:00Z"><saml:AudienceRestriction><saml:Audience>https://door.example.test/saml/metadata</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="2026-11-22T11:58:00Z" SessionNotOnOrAfter="2026-11-22T20:00:00Z" SessionIndex="_session"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute Name="displayName"><saml:AttributeValue xsi:type="xs:string">Alice Example</saml:AttributeValue></saml:Attribute><saml:Attribute Name="mail"><saml:AttributeValue xsi:type="xs:string">alice@example.com</saml:AttributeValue></saml:Attribute><saml:Attribute Name="groups"><saml:AttributeValue xsi:type="xs:string">engineers</saml:AttributeValue><saml:AttributeValue xsi:type="xs:string">admins</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>`

func newMessage(t testing.TB, xml string) *message {
	t.Helper()
	m := &message{doc: etree.NewDocument()}
	if err := m.doc.ReadFromString(xml); err != nil {
		t.Fatal(err)
	}
	m.root = m.doc.Root()
	m.assertion = m.root.FindElement("./Assertion")
	return m
}

// find returns the first element of that local name.
func (m *message) find(tag string) *etree.Element {
	return m.root.FindElement(".//" + tag)
}

func (m *message) bytes(t testing.TB) []byte {
	t.Helper()
	raw, err := m.doc.WriteToBytes()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// sign puts a signature behind the Issuer of el, over el as it is now.
func (idp *testIdP) sign(t testing.TB, el *etree.Element) *etree.Element {
	t.Helper()
	ctx, err := dsig.NewSigningContext(idp.signer(), [][]byte{idp.cert.Raw})
	if err != nil {
		t.Fatal(err)
	}
	ctx.Canonicalizer = idp.c14n
	if idp.c14n == nil {
		ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(idp.prefixes)
	}
	if idp.noPrefix {
		ctx.Prefix = ""
	}
	if idp.method != "" {
		if err := ctx.SetSignatureMethod(idp.method); err != nil {
			t.Fatal(err)
		}
	}
	sig, err := ctx.ConstructSignature(el.Copy(), true)
	if err != nil {
		t.Fatal(err)
	}
	if idp.prefixes != "" {
		transform := sig.FindElements(".//Transform")[1]
		appendXML(t, transform, `<ec:InclusiveNamespaces xmlns:ec="`+nsExcC14N+`" PrefixList="`+idp.prefixes+`"/>`)
		idp.resign(t, sig)
	}
	if idp.noKeyInfo {
		sig.RemoveChild(sig.FindElement("./KeyInfo"))
	}
	el.InsertChildAt(1, sig)
	return sig
}

// resign makes the signature right again after its SignedInfo was changed.
func (idp *testIdP) resign(t testing.TB, sig *etree.Element) {
	t.Helper()
	info := sig.FindElement("./SignedInfo").Copy()
	info.CreateAttr("xmlns:ds", nsDsig)
	canonical, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(info)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(canonical)
	value, err := idp.signer().Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	sig.FindElement("./SignatureValue").SetText(encode(value))
}

func fragment(t testing.TB, xml string) *etree.Element {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(xml); err != nil {
		t.Fatal(err)
	}
	return doc.Root()
}

// appendXML adds a child to el, written as XML.
func appendXML(t testing.TB, el *etree.Element, xml string) *etree.Element {
	t.Helper()
	child := fragment(t, xml)
	el.AddChild(child)
	return child
}

func encode(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// codeOf is the code of a refusal, "" for none.
func codeOf(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		t.Fatalf("error of type %T, want *Refusal: %v", err, err)
	}
	return refusal.Code
}
