package saml

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestXMLSecDecryptsWhatPasses: what our test identity provider encrypts, and we
// open, xmlsec1 opens to the same.
func TestXMLSecDecryptsWhatPasses(t *testing.T) {
	key := keyFile(t, "rsa-dec")
	for _, e := range []encryption{
		{}, {data: aes128GCM}, {data: aes192GCM}, {data: aes128CBC}, {data: aes256CBC}, {digest: nsDsig + "sha1"},
	} {
		m := newMessage(t, testResponse)
		plaintext, err := writeElement(m.assertion)
		if err != nil {
			t.Fatal(err)
		}
		in := filepath.Join(t.TempDir(), "encrypted.xml")
		sealed, err := writeElement(e.element(t, plaintext).ChildElements()[0])
		if err != nil {
			t.Fatal(err)
		}
		write(t, in, sealed)
		out, err := xmlsec(t, "--decrypt", "--privkey-pem", key, "--output", in+".out", in)
		if err != nil {
			t.Errorf("%+v: xmlsec1 does not open it: %s", e, out)
			continue
		}
		opened, err := os.ReadFile(in + ".out")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(canonicalOf(t, plaintext), canonicalOf(t, opened)); diff != "" {
			t.Errorf("%+v (-encrypted +opened):\n%s", e, diff)
		}
	}
}

// canonicalOf is the document as our parser reads it.
func canonicalOf(t *testing.T, raw []byte) string {
	t.Helper()
	written, err := writeElement(fragment(t, string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return string(written)
}

// TestXMLSecEncryptsForUs: we open what xmlsec1 encrypts, in each algorithm that we
// have in common (its OAEP has SHA-1 alone), in a signed response and in one that is not.
func TestXMLSecEncryptsForUs(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := testConfig(t, idp)
	cfg.Decryption = decryptionKeys(t, "rsa-dec-old", "rsa-dec")
	cfg.Replay = &recording{first: true}
	sp := newTestSP(t, cfg)
	want := alice(idp)
	for algorithm, method := range dataMethods {
		for _, digest := range []string{"", nsDsig + "sha1"} {
			for _, sign := range []signing{signAssertion, signBoth} {
				m := newMessage(t, testResponse)
				idp.sign(t, m.assertion)
				xmlsecEncrypt(t, m, algorithm, 8*method.keySize, digest)
				if sign == signBoth {
					idp.sign(t, m.root)
				}
				got, err := sp.Verify(t.Context(), Post{Response: encode(m.bytes(t))}, Expectation{RequestID: testRequestID})
				if !method.authenticated && sign == signAssertion {
					if codeOf(t, err) != CodeAlgorithm {
						t.Errorf("%s in a response that is not signed: %v", algorithm, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s, digest %q, signing %d: %v", algorithm, digest, sign, err)
				} else if diff := cmp.Diff(want, *got); diff != "" {
					t.Errorf("%s, digest %q, signing %d (-want +got):\n%s", algorithm, digest, sign, diff)
				}
			}
		}
	}
}

// xmlsecEncrypt has xmlsec1 encrypt the assertion in its place.
func xmlsecEncrypt(t *testing.T, m *message, algorithm string, bits int, digest string) {
	t.Helper()
	method := ""
	if digest != "" {
		method = `<ds:DigestMethod Algorithm="` + digest + `"/>`
	}
	template := fmt.Sprintf(`<xenc:EncryptedData xmlns:xenc="%s" Type="%s"><xenc:EncryptionMethod Algorithm="%s"/><ds:KeyInfo xmlns:ds="%s"><xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="%s">%s</xenc:EncryptionMethod><ds:KeyInfo><ds:KeyName/></ds:KeyInfo><xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue/></xenc:CipherData></xenc:EncryptedData>`,
		nsXMLEnc, typeElement, algorithm, nsDsig, algOAEPMGF1P, method)
	dir := t.TempDir()
	in, data := filepath.Join(dir, "template.xml"), filepath.Join(dir, "assertion.xml")
	plaintext, err := writeElement(m.assertion)
	if err != nil {
		t.Fatal(err)
	}
	write(t, in, []byte(template))
	write(t, data, plaintext)
	certificate := filepath.Join(dir, "cert.pem")
	write(t, certificate, pemOf("CERTIFICATE", testCertificate(t, testKey(t, "rsa-dec"), 0).Raw))
	out, err := xmlsec(t, "--encrypt", "--pubkey-cert-pem", certificate, "--session-key", fmt.Sprintf("aes-%d", bits), "--xml-data", data, "--output", in+".out", in)
	if err != nil {
		t.Fatalf("xmlsec1 encrypts with %s: %v\n%s", algorithm, err, out)
	}
	sealed, err := os.ReadFile(in + ".out")
	if err != nil {
		t.Fatal(err)
	}
	encrypted := fragment(t, `<saml:EncryptedAssertion xmlns:saml="`+nsAssertion+`"/>`)
	encrypted.AddChild(fragment(t, string(bytes.TrimSpace(sealed))))
	i := m.assertion.Index()
	m.root.RemoveChildAt(i)
	m.root.InsertChildAt(i, encrypted)
}

func keyFile(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key.pem")
	write(t, file, []byte(keyPEM(t, testKey(t, name))))
	return file
}
