package saml

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// xmlsec runs xmlsec1, which shares no line with our signer or our verifier: a fault
// that the two have in common shows here.
func xmlsec(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "xmlsec1", args...).CombinedOutput()
	return string(out), err
}

// xmlsecIDs tells it which attributes are IDs.
func xmlsecIDs() []string {
	return []string{
		"--id-attr:ID", nsAssertion + ":Assertion", "--id-attr:ID", nsProtocol + ":Response",
		"--id-attr:ID", nsProtocol + ":AuthnRequest", "--id-attr:ID", nsMetadata + ":EntityDescriptor",
	}
}

// signatureOf is where the signature of an element stands.
func signatureOf(tag string) string {
	return fmt.Sprintf("//*[local-name()='%s']/*[local-name()='Signature']", tag)
}

// xmlsecVerifies asks it whether the signature of one element is of any of the keys
// that the service provider trusts.
func xmlsecVerifies(t *testing.T, raw []byte, sp *ServiceProvider, tag string) (out string, ok bool) {
	t.Helper()
	for _, cert := range sp.idp.certificates {
		if out, ok = xmlsecVerify(t, raw, cert, tag); ok {
			break
		}
	}
	return out, ok
}

func xmlsecVerify(t *testing.T, raw []byte, cert *x509.Certificate, tag string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	file, trusted := filepath.Join(dir, "response.xml"), filepath.Join(dir, "cert.pem")
	write(t, file, raw)
	write(t, trusted, pemOf("CERTIFICATE", cert.Raw))
	// The certificate in KeyInfo is self-signed, and so not used.
	out, err := xmlsec(t, append(append([]string{"--verify", "--enabled-key-data", "x509", "--pubkey-cert-pem", trusted}, xmlsecIDs()...), "--node-xpath", signatureOf(tag), file)...)
	return out, err == nil
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestXMLSecVerifiesWhatPasses: what our test signer signs, and we accept, is signed
// in everybody's eyes.
func TestXMLSecVerifiesWhatPasses(t *testing.T) {
	verified := 0
	for _, a := range corpus() {
		if a.want != "" || a.encode != nil {
			continue
		}
		s := a.scene(t)
		sp := newTestSP(t, s.cfg)
		raw, err := decodeResponse(s.response)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range []string{"Response", "Assertion"} {
			if !signs(a.sign, tag) || a.encrypt != nil && tag == "Assertion" { // nobody can see that one
				continue
			}
			if isDERIn(t, raw, s.idp, tag) { // which is not XML Signature's form
				continue
			}
			verified++
			if out, ok := xmlsecVerifies(t, raw, sp, tag); !ok {
				t.Errorf("%s %s: xmlsec1 does not verify the signature of the %s: %s", a.id, a.name, tag, out)
			}
		}
	}
	if verified < 40 {
		t.Errorf("only %d signatures were looked at", verified)
	}
	t.Logf("xmlsec1 verified %d signatures", verified)
}

// isDERIn reports whether an ECDSA signature is in the form that the library reads.
func isDERIn(t *testing.T, raw []byte, idp *testIdP, tag string) bool {
	t.Helper()
	m := newMessage(t, string(raw))
	el := m.root
	if tag == "Assertion" {
		el = m.assertion
	}
	_, ok := idp.key.Public().(*ecdsa.PublicKey)
	return ok && !isPair(valueOfSignature(t, el), idp.key.Public())
}

func signs(s signing, tag string) bool {
	return s == signBoth || s == signResponse && tag == "Response" || s == signAssertion && tag == "Assertion"
}

// TestXMLSecRefusesWhatDoesNotVerify: of what we refuse because a signature does not
// fit, xmlsec1 verifies nothing either.
func TestXMLSecRefusesWhatDoesNotVerify(t *testing.T) {
	refused := 0
	for _, a := range corpus() {
		if a.want != CodeSignature || a.encode != nil || a.encrypt != nil {
			continue
		}
		s := a.scene(t)
		sp := newTestSP(t, s.cfg)
		raw, err := decodeResponse(s.response)
		if err != nil {
			t.Fatal(err)
		}
		all, m := true, newMessage(t, string(raw))
		for tag, el := range map[string]*etree.Element{"Response": m.root, "Assertion": m.assertion} {
			if childOf(el, nsDsig, "Signature") != nil {
				_, ok := xmlsecVerifies(t, raw, sp, tag)
				all = all && ok
			}
		}
		if refused++; all {
			t.Errorf("%s %s: xmlsec1 verifies it", a.id, a.name)
		}
	}
	if refused < 4 {
		t.Errorf("only %d responses were looked at", refused)
	}
}

// TestXMLSecSignsForUs: we accept what xmlsec1 signs, in each algorithm that we have
// in common.
func TestXMLSecSignsForUs(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	for _, method := range []string{dsig.RSASHA256SignatureMethod, dsig.RSASHA384SignatureMethod, dsig.RSASHA512SignatureMethod} {
		for digest := range digestMethods {
			for _, prefixes := range []string{"", "xs xsi saml"} {
				for _, sign := range []signing{signAssertion, signResponse, signBoth} {
					raw := xmlsecSigned(t, idp, sign, func(id string) string { return signatureTemplate(id, method, digest, prefixes) })
					_, err := newTestSP(t, testConfig(t, idp)).Verify(t.Context(), Post{Response: encode(raw)}, Expectation{RequestID: testRequestID})
					if err != nil {
						t.Errorf("%s, %s, prefixes %q, signing %d: %v", method, digest, prefixes, sign, err)
					}
				}
			}
		}
	}
}

// TestXMLSecSignsForUsWithECDSA: xmlsec1 writes r and s side by side. We accept that
// in the response and in the assertion, in the clear and encrypted, and nothing that
// was changed since.
func TestXMLSecSignsForUsWithECDSA(t *testing.T) {
	accepted := 0
	for _, tt := range []struct{ key, method, digest string }{
		{"p256-idp", dsig.ECDSASHA256SignatureMethod, "http://www.w3.org/2001/04/xmlenc#sha256"},
		{"p384-idp", dsig.ECDSASHA384SignatureMethod, "http://www.w3.org/2001/04/xmldsig-more#sha384"},
		{"p521-idp", dsig.ECDSASHA512SignatureMethod, "http://www.w3.org/2001/04/xmlenc#sha512"},
		{"p256-idp", dsig.ECDSASHA512SignatureMethod, "http://www.w3.org/2001/04/xmlenc#sha256"},
	} {
		idp := newTestIdP(t, tt.key)
		verify := func(raw []byte) error {
			cfg := testConfig(t, idp)
			cfg.Decryption = decryptionKeys(t, "rsa-dec")
			_, err := newTestSP(t, cfg).Verify(t.Context(), Post{Response: encode(raw)}, Expectation{RequestID: testRequestID})
			return err
		}
		for _, sign := range []signing{signAssertion, signResponse, signBoth} {
			raw := xmlsecSigned(t, idp, sign, func(id string) string { return signatureTemplate(id, tt.method, tt.digest, "xs xsi saml") })
			if err := verify(raw); err != nil {
				t.Errorf("%s, %s, signing %d: %v", tt.key, tt.method, sign, err)
			}
			accepted++
			for what, changed := range map[string][]byte{
				"name":   bytes.Replace(raw, []byte("Alice Example"), []byte("Alice Exampel"), 1),
				"digest": bytes.Replace(raw, []byte("<ds:DigestValue>"), []byte("<ds:DigestValue>AAAA"), 1),
				"value":  bytes.Replace(raw, []byte("<ds:SignatureValue>"), []byte("<ds:SignatureValue>AAAA"), 1),
			} {
				if got := codeOf(t, verify(changed)); got != CodeSignature {
					t.Errorf("%s, signing %d, %s changed: code %q, want %q", tt.key, sign, what, got, CodeSignature)
				}
			}
			if sign != signAssertion {
				continue
			}
			m := newMessage(t, string(raw))
			xmlsecEncrypt(t, m, aes256GCM, 256, "")
			if err := verify(m.bytes(t)); err != nil {
				t.Errorf("%s, encrypted: %v", tt.key, err)
			}
			accepted++
		}
	}
	t.Logf("accepted %d responses that xmlsec1 signed with ECDSA", accepted)
}

// xmlsecSigned is the well-behaved response, signed by xmlsec1: the assertion first,
// then the response around it.
func xmlsecSigned(t *testing.T, idp *testIdP, sign signing, template func(id string) string) []byte {
	t.Helper()
	dir := t.TempDir()
	key, cert, in := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "template.xml")
	write(t, key, []byte(keyPEM(t, idp.key)))
	write(t, cert, pemOf("CERTIFICATE", idp.cert.Raw))
	m := newMessage(t, testResponse)
	for tag, id := range map[string]string{"Assertion": "_assertion", "Response": "_response"} {
		if signs(sign, tag) {
			el := m.root
			if tag == "Assertion" {
				el = m.assertion
			}
			el.InsertChildAt(1, fragment(t, template(id)))
		}
	}
	write(t, in, m.bytes(t))
	for _, tag := range []string{"Assertion", "Response"} {
		if !signs(sign, tag) {
			continue
		}
		out, err := xmlsec(t, append(append([]string{"--sign", "--privkey-pem", key + "," + cert, "--output", in + ".out"}, xmlsecIDs()...), "--node-xpath", signatureOf(tag), in)...)
		if err != nil {
			t.Fatalf("xmlsec1 signs the %s: %v\n%s", tag, err, out)
		}
		in += ".out"
	}
	raw, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// signatureTemplate is a signature to be filled in.
func signatureTemplate(id, method, digest, prefixes string) string {
	list := ""
	if prefixes != "" {
		list = `<ec:InclusiveNamespaces xmlns:ec="` + nsExcC14N + `" PrefixList="` + prefixes + `"/>`
	}
	return `<ds:Signature xmlns:ds="` + nsDsig + `"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="` + algExcC14N + `"/><ds:SignatureMethod Algorithm="` + method +
		`"/><ds:Reference URI="#` + id + `"><ds:Transforms><ds:Transform Algorithm="` + algEnveloped + `"/><ds:Transform Algorithm="` + algExcC14N + `">` + list +
		`</ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="` + digest + `"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/><ds:KeyInfo><ds:X509Data><ds:X509Certificate/></ds:X509Data></ds:KeyInfo></ds:Signature>`
}
