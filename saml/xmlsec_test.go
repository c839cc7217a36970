package saml

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
		if a.want != "" || a.encode != nil || a.key == "p256-idp" { // ECDSA in the library's form is not XMLDSig's
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
		all := true
		for _, tag := range []string{"Response", "Assertion"} {
			if strings.Contains(string(raw), "Signature") && signs(a.sign, tag) {
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
