package saml

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
	"github.com/russellhaering/gosaml2/types"
)

// publishedKeys are the certificates in our metadata, in their order.
func publishedKeys(t *testing.T, sp *ServiceProvider) []string {
	t.Helper()
	var got types.EntityDescriptor
	if err := xml.Unmarshal(sp.Metadata(), &got); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, descriptor := range got.SPSSODescriptor.KeyDescriptors {
		keys = append(keys, descriptor.KeyInfo.X509Data.X509Certificates[0].Data)
	}
	return keys
}

func TestMetadataShowsTheOverlapOfOurKeys(t *testing.T) {
	cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
	next := testCertificate(t, testKey(t, "p256-next"), 0)
	previous := testCertificate(t, testKey(t, "rsa-previous"), 0)
	cfg.Published = []*x509.Certificate{next, previous, cfg.Certificate}
	text := func(cert *x509.Certificate) string { return base64.StdEncoding.EncodeToString(cert.Raw) }
	want := []string{text(cfg.Certificate), text(next), text(previous)}
	if diff := cmp.Diff(want, publishedKeys(t, newTestSP(t, cfg))); diff != "" {
		t.Errorf("published keys (-want +got):\n%s", diff)
	}
	weak := testKey(t, "rsa1024-next")
	cfg.Published = []*x509.Certificate{testCertificate(t, weak, 0)}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "1024 bits") {
		t.Errorf("a weak key to come is published: %v", err)
	}
}

func TestReplayMemoryOutlivesAServiceProvider(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := testConfig(t, idp)
	cfg.Replay = NewReplay(cfg.Now)
	m := newMessage(t, testResponse)
	idp.sign(t, m.assertion)
	post := Post{Response: encode(m.bytes(t))}
	if _, err := newTestSP(t, cfg).Verify(t.Context(), post, Expectation{RequestID: testRequestID}); err != nil {
		t.Fatal(err)
	}
	if _, err := newTestSP(t, cfg).Verify(t.Context(), post, Expectation{RequestID: testRequestID}); codeOf(t, err) != CodeReplay {
		t.Errorf("a second service provider with the same memory: %v", err)
	}
}

// signedMetadataOf is a metadata document that idp signed as a whole, after
// change had its way with it, and before spoil has.
func signedMetadataOf(t testing.TB, signer *testIdP, spoil func(root *etree.Element)) []byte {
	t.Helper()
	m := &message{doc: etree.NewDocument()}
	if err := m.doc.ReadFromBytes(testMetadata(newTestIdP(t, "rsa-idp").cert)); err != nil {
		t.Fatal(err)
	}
	m.root = m.doc.Root()
	m.root.CreateAttr("ID", "_metadata")
	sig := signer.sign(t, m.root) // puts it behind the first element
	m.root.RemoveChild(sig)
	m.root.InsertChildAt(0, sig)
	if spoil != nil {
		spoil(m.root)
	}
	return m.bytes(t)
}

func TestSignedMetadata(t *testing.T) {
	for key, pairs := range map[string]bool{"rsa-signer": false, "p256-signer": false, "p256-pairs": true, "p384-pairs": true} {
		signer := newTestIdP(t, key)
		signer.pairs = pairs
		cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
		cfg.MetadataSigner = signer.cert
		cfg.IdPMetadata = signedMetadataOf(t, signer, nil)
		info := newTestSP(t, cfg).IdP()
		if info.EntityID != testIdPID || info.SSOURL != testSSO || len(info.Certificates) != 1 {
			t.Errorf("%s: read back %+v", key, info)
		}
	}
}

func TestMetadataThatItsSignerDidNotSign(t *testing.T) {
	signer, stranger := newTestIdP(t, "rsa-signer"), newTestIdP(t, "rsa-stranger")
	old := newTestIdP(t, "rsa-signer")
	old.cert = testCertificate(t, old.key, -400*24*time.Hour)
	pairs := newTestIdP(t, "p256-signer")
	pairs.pairs = true
	zeros := func(root *etree.Element) { signatureValue(root).SetText(encode(make([]byte, 64))) }
	move := func(root *etree.Element) { root.AddChild(root.RemoveChildAt(0)) }
	attr := func(path, name, value string) func(*etree.Element) {
		return func(root *etree.Element) { root.FindElement(path).CreateAttr(name, value) }
	}
	for name, tt := range map[string]struct {
		raw    []byte
		signer *testIdP
		want   string
	}{
		"not signed":                {testMetadata(signer.cert), signer, "not signed"},
		"signed by a stranger":      {signedMetadataOf(t, stranger, nil), signer, "verifying"},
		"signer's certificate over": {signedMetadataOf(t, old, nil), old, "verifying"},
		"changed afterwards":        {signedMetadataOf(t, signer, attr(".//SingleSignOnService", "Location", "https://evil.example.test/")), signer, "verifying"},
		"another entity":            {signedMetadataOf(t, signer, func(root *etree.Element) { root.CreateAttr("entityID", "https://evil.example.test/") }), signer, "verifying"},
		"signature moved":           {signedMetadataOf(t, signer, move), signer, "not signed"},
		"refers to nothing":         {signedMetadataOf(t, signer, attr(".//Reference", "URI", "")), signer, "the whole document"},
		"refers to a part":          {signedMetadataOf(t, signer, attr(".//Reference", "URI", "#_part")), signer, "the whole document"},
		"document without an ID":    {signedMetadataOf(t, signer, func(root *etree.Element) { root.RemoveAttr("ID") }), signer, "the whole document"},
		"SHA-1 digest":              {signedMetadataOf(t, signer, attr(".//DigestMethod", "Algorithm", "http://www.w3.org/2000/09/xmldsig#sha1")), signer, "digest method"},
		"HMAC":                      {signedMetadataOf(t, signer, attr(".//SignatureMethod", "Algorithm", "http://www.w3.org/2000/09/xmldsig#hmac-sha1")), signer, "signature method"},
		"XSLT":                      {signedMetadataOf(t, signer, attr(".//Transforms/Transform[2]", "Algorithm", "http://www.w3.org/TR/1999/REC-xslt-19991116")), signer, "transform 2"},
		"r||s of zeros":             {signedMetadataOf(t, pairs, zeros), pairs, "verifying"},
		"changed under r||s":        {signedMetadataOf(t, pairs, attr(".//SingleSignOnService", "Location", "https://evil.example.test/")), pairs, "verifying"},
		"doctype":                   {append([]byte("<!DOCTYPE md>"), signedMetadataOf(t, signer, nil)...), signer, "reading the document"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
			cfg.MetadataSigner, cfg.IdPMetadata = tt.signer.cert, tt.raw
			if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected one with %q", err, tt.want)
			}
		})
	}
}

// What is used of a signed document is what was signed: another entity wrapped
// around it must not become the identity provider.
func TestSignedMetadataCannotBeWrapped(t *testing.T) {
	signer := newTestIdP(t, "rsa-signer")
	honest := string(signedMetadataOf(t, signer, nil))
	evil := strings.ReplaceAll(string(testMetadata(newTestIdP(t, "rsa-stranger").cert)), testIdPID, "https://evil.example.test/")
	signature := honest[strings.Index(honest, "<ds:Signature") : strings.Index(honest, "</ds:Signature>")+len("</ds:Signature>")]
	wrapped := strings.Replace(evil, `entityID=`, `ID="_evil" entityID=`, 1)
	at := strings.Index(wrapped, ">") + 1
	inner := strings.Replace(honest, signature, "", 1)
	for name, raw := range map[string]string{
		"honest one as an extension": wrapped[:at] + signature + `<md:Extensions>` + inner + `</md:Extensions>` + wrapped[at:],
		"the same ID twice":          strings.Replace(wrapped[:at]+signature+`<md:Extensions>`+inner+`</md:Extensions>`+wrapped[at:], "_evil", "_metadata", 1),
	} {
		cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
		cfg.MetadataSigner, cfg.IdPMetadata = signer.cert, []byte(raw)
		sp, err := New(cfg)
		if err == nil && sp.IdP().EntityID != testIdPID {
			t.Errorf("%s: %s is believed", name, sp.IdP().EntityID)
		}
	}
}

func FuzzSignedMetadata(f *testing.F) {
	signer := newTestIdP(f, "p256-signer")
	good := signedMetadataOf(f, signer, nil)
	f.Add(good)
	f.Add(testMetadata(signer.cert))
	now := func() time.Time { return testNow }
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := signedMetadata(slices.Clone(raw), signer.cert, now)
		if err != nil {
			return
		}
		idp, err := parseIdPMetadata(got, metadataChoice{now: testNow})
		if err != nil || idp.entityID != testIdPID || idp.ssoURL != testSSO {
			t.Errorf("accepted something else than what was signed: %+v, %v", idp, err)
		}
	})
}
