package saml

import (
	"bytes"
	"compress/flate"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/beevik/etree"
)

// row is a case of the corpus with an assertion encrypted like this.
func (e encryption) row(id, name string, sign signing, want string) attack {
	return attack{id: id, name: name, sign: sign, encrypt: &e, want: want}
}

// with changes a row.
func (a attack) with(f func(*attack)) attack {
	f(&a)
	return a
}

func ourKeys(names ...string) func(*attack) {
	return func(a *attack) {
		a.config = func(t *testing.T, cfg *Config, _ *testIdP) { cfg.Decryption = decryptionKeys(t, names...) }
	}
}

func edited(f func(testing.TB, *message)) func(*attack) {
	return func(a *attack) { a.edit = f }
}

// encryptions are rows D1 to D7, and those that must pass.
func encryptions() []attack {
	return slices.Concat(wellEncrypted(), unopened(), badKeys(), badAlgorithms(), badCiphertexts(), badPlaintexts(), encryptionShapes(), insideOfSigned())
}

func wellEncrypted() []attack {
	names := []string{"rsa-dec-next", "rsa-dec", "rsa-dec-old"}
	return []attack{
		encryption{}.row("PD1", "AES-256-GCM", signAssertion, ""),
		encryption{data: aes128GCM}.row("PD2", "AES-128-GCM", signAssertion, ""),
		encryption{data: aes192GCM}.row("PD3", "AES-192-GCM", signBoth, ""),
		encryption{}.row("PD4", "in a signed response, not signed itself", signResponse, ""),
		encryption{}.row("PD5", "in a signed response, signed itself", signBoth, ""),
		encryption{data: aes128CBC}.row("PD6", "AES-128-CBC in a signed response, as SimpleSAMLphp and LemonLDAP::NG write it", signBoth, ""),
		encryption{data: aes256CBC}.row("PD7", "AES-256-CBC in a signed response, not signed itself", signResponse, ""),
		encryption{sibling: true}.row("PD8", "key beside the data, as Shibboleth and Okta write it", signAssertion, ""),
		encryption{sibling: true, data: aes128CBC}.row("PD9", "key beside the data, AES-128-CBC in a signed response", signBoth, ""),
		encryption{to: []string{"rsa-dec-old"}}.row("D7", "to the key before", signAssertion, "").with(ourKeys("rsa-dec", "rsa-dec-old")),
		encryption{to: []string{"rsa-dec-old"}, certificate: "rsa-dec-old"}.row("D7b", "to the key before, which it names", signAssertion, "").with(ourKeys(names...)),
		encryption{to: []string{"rsa-dec-next"}}.row("D7c", "to the key after", signBoth, "").with(ourKeys("rsa-dec", "rsa-dec-next")),
		encryption{to: []string{"rsa-dec-other", "rsa-dec"}}.row("PD10", "to two recipients", signAssertion, ""),
		encryption{recipient: testEntityID}.row("PD11", "for us by name", signAssertion, ""),
		encryption{key: algOAEP}.row("PD12", "OAEP of 1.1 by default", signAssertion, ""),
		encryption{key: algOAEP, digest: nsXMLEnc + "sha256", mask: nsXMLEnc11 + "mgf1sha256"}.row("PD13", "OAEP with SHA-256 and its mask", signAssertion, ""),
		encryption{key: algOAEP, digest: nsXMLEnc + "sha256"}.row("PD13b", "OAEP with SHA-256 and the mask by default", signAssertion, ""),
		encryption{key: algOAEP, digest: nsXMLEnc + "sha512", mask: mgf1SHA1}.row("PD14", "OAEP with SHA-512 and the mask of SHA-1", signAssertion, ""),
		encryption{digest: nsDsig + "sha1"}.row("PD15", "digest of OAEP said, as Shibboleth writes it", signAssertion, ""),
		encryption{digest: nsXMLEnc + "sha256"}.row("PD16", "OAEP of 1.0 with SHA-256", signBoth, ""),
		encryption{edit: func(t testing.TB, el *etree.Element) {
			info := el.FindElement(".//EncryptedKey").CreateElement("ds:KeyInfo")
			detach(info)
			el.FindElement(".//EncryptedKey").InsertChildAt(1, info)
			info.CreateAttr("xmlns:ds", nsDsig)
			appendXML(t, info, `<ds:X509Data xmlns:ds="`+nsDsig+`"><ds:X509IssuerSerial><ds:X509IssuerName>CN=x</ds:X509IssuerName><ds:X509SerialNumber>1</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>`)
		}}.row("PD17", "key named by issuer and serial number, as ADFS writes it", signAssertion, ""),
		encryption{}.row("PD18", "200 groups", signBoth, "").with(edited(manyGroups(200))),
		encryption{plaintext: func(b []byte) []byte {
			return bytes.Replace(b, []byte(` xmlns:saml="`+nsAssertion+`"`), nil, 1)
		}}.row("PD19", "namespace declared around it, in a signed response", signResponse, ""),
		encryption{plaintext: func(b []byte) []byte { return append([]byte(`<?xml version="1.0" encoding="UTF-8"?>`), b...) }}.row("PD20", "with an XML declaration", signAssertion, ""),
		{id: "PD21", name: "in the clear, though we could open an encrypted one", config: func(t *testing.T, cfg *Config, _ *testIdP) {
			cfg.Decryption = decryptionKeys(t, "rsa-dec")
		}},
		encryption{}.row("PD22", "base64 in lines, name with a carriage return in an attribute nobody maps", signAssertion, "").with(func(a *attack) {
			a.encrypt.edit = func(_ testing.TB, el *etree.Element) {
				value := el.FindElement("./EncryptedData/CipherData/CipherValue")
				s := value.Text()
				value.SetText("\n" + s[:64] + "\n" + s[64:128] + "\r\n " + s[128:] + "\n")
			}
			a.edit = func(t testing.TB, m *message) {
				appendXML(t, m.find("AttributeStatement"), `<saml:Attribute xmlns:saml="`+nsAssertion+`" Name="note"><saml:AttributeValue>a&#13;b</saml:AttributeValue></saml:Attribute>`)
			}
		}),
		{id: "PD23", name: "ECDSA for the signature, RSA for the encryption", key: "p256-idp", sign: signBoth, encrypt: &encryption{data: aes128CBC}},
	}
}

// unopened are encrypted things that we have nothing to open with.
func unopened() []attack {
	return []attack{
		encryption{}.row("D8f", "no key of ours", signAssertion, CodeEncrypted).with(ourKeys()),
		encryption{}.row("D8g", "no key of ours, response signed", signBoth, CodeEncrypted).with(ourKeys()),
		{id: "D8", name: "encrypted assertion", want: CodeEncrypted, edit: inside(".", inAssertion("EncryptedAssertion"))},
		{id: "D8b", name: "encrypted assertion instead of the plain one", sign: signResponse, want: CodeEncrypted, edit: func(t testing.TB, m *message) {
			inside(".", inAssertion("EncryptedAssertion"))(t, m)
			without("./Assertion")(t, m)
		}},
		{id: "D8c", name: "encrypted name", want: CodeEncrypted, edit: inside(".//Subject", inAssertion("EncryptedID"))},
		{id: "D8d", name: "encrypted attribute", want: CodeEncrypted, edit: inside(".//AttributeStatement", inAssertion("EncryptedAttribute"))},
		{id: "D8e", name: "encrypted data as a value", want: CodeEncrypted, edit: inside(".//AttributeValue", `<xenc:EncryptedData xmlns:xenc="`+nsXMLEnc+`"/>`)}, encryption{}.row("D8h", "encrypted name inside of it", signAssertion, CodeEncrypted).with(edited(inside(".//Subject", inAssertion("EncryptedID")))),
		encryption{}.row("D8i", "encrypted attribute inside of it", signAssertion, CodeEncrypted).with(edited(inside(".//AttributeStatement", inAssertion("EncryptedAttribute")))),
	}
}

// badKeys are keys that are not ours, or not for us.
func badKeys() []attack {
	return []attack{
		encryption{to: []string{"rsa-dec-other"}}.row("D4", "key of somebody else", signAssertion, CodeDecryption),
		encryption{to: []string{"rsa-dec-other"}}.row("D4b", "key of somebody else, response signed", signBoth, CodeDecryption),
		encryption{to: []string{"rsa-dec-other"}, certificate: "rsa-dec"}.row("D4c", "our certificate, key of somebody else", signAssertion, CodeDecryption),
		encryption{certificate: "rsa-dec-other"}.row("D4d", "certificate of somebody else, our key", signAssertion, ""),
		encryption{recipient: "https://other.example.test/"}.row("D4e", "our key, for somebody else by name", signAssertion, CodeDecryption),
		encryption{wrapped: flip}.row("D4f", "encrypted key with a bit flipped", signAssertion, CodeDecryption),
		encryption{wrapped: cut(1)}.row("D4g", "encrypted key cut short", signAssertion, CodeDecryption),
		encryption{wrapped: cut(256)}.row("D4h", "encrypted key empty", signAssertion, CodeDecryption),
		encryption{wrapped: func([]byte) []byte { return bytes.Repeat([]byte{0xff}, 256) }}.row("D4i", "encrypted key above the modulus", signAssertion, CodeDecryption),
		encryption{data: aes128GCM, edit: method("EncryptedData", aes256GCM)}.row("D4j", "key of another length than the algorithm's", signAssertion, CodeDecryption),
		encryption{to: []string{"rsa-dec-other", "rsa-dec-other", "rsa-dec-other", "rsa-dec"}}.row("D4k", "four recipients, ours last, tried by four keys", signAssertion, CodeDecryption).with(
			ourKeys("rsa-dec-a", "rsa-dec-b", "rsa-dec-c", "rsa-dec")),
		encryption{to: []string{"rsa-dec-other", "rsa-dec-other", "rsa-dec-other", "rsa-dec-other", "rsa-dec"}}.row("D4l", "five recipients", signAssertion, CodeEncryptionShape),
		encryption{edit: text64("EncryptedKey//CipherValue", "*")}.row("D4m", "encrypted key that is not base64", signAssertion, CodeDecryption),
	}
}

func badAlgorithms() []attack {
	return []attack{
		encryption{data: aes128CBC}.row("D3", "AES-CBC in a response that is not signed", signAssertion, CodeAlgorithm),
		encryption{data: aes256CBC}.row("D3b", "AES-CBC, nothing signed", signNothing, CodeAlgorithm),
		encryption{key: rsaPKCS1}.row("D3c", "PKCS #1 v1.5", signAssertion, CodeAlgorithm),
		encryption{key: rsaPKCS1, data: aes128CBC}.row("D3d", "PKCS #1 v1.5 in a signed response", signBoth, CodeAlgorithm),
		encryption{data: nsXMLEnc + "tripledes-cbc"}.row("D3e", "3DES in a signed response", signBoth, CodeAlgorithm),
		encryption{data: "http://www.w3.org/2001/04/xmlenc#"}.row("D3f", "an algorithm that does not exist", signAssertion, CodeAlgorithm),
		encryption{digest: "http://www.w3.org/2001/04/xmldsig-more#md5"}.row("D3g", "OAEP with MD5", signAssertion, CodeAlgorithm),
		encryption{key: algOAEP, mask: nsXMLEnc11 + "mgf1md5"}.row("D3h", "OAEP with an unknown mask", signAssertion, CodeAlgorithm),
		encryption{mask: nsXMLEnc11 + "mgf1sha256"}.row("D3i", "OAEP of 1.0 with a mask that it does not have", signAssertion, CodeAlgorithm),
		encryption{key: nsXMLEnc + "kw-aes128"}.row("D3j", "a key wrapped by a key that both know", signAssertion, CodeAlgorithm),
		encryption{data: aes128CBC, ciphertext: flip}.row("D3k", "AES-CBC in a signed response, changed before it was signed", signResponse, CodeDecryption),
		encryption{data: aes128CBC}.row("D3l", "AES-CBC in a signed response, changed after it was signed", signBoth, CodeSignature).with(func(a *attack) {
			a.after = func(_ testing.TB, m *message) {
				value := m.root.FindElement("./EncryptedAssertion/EncryptedData/CipherData/CipherValue")
				raw, _ := decodeBase64(value.Text())
				value.SetText(encode(flip(raw)))
			}
		}),
		encryption{data: aes128CBC}.row("D3m", "AES-CBC, the response signed by a stranger", signNothing, CodeUnknownCertificate).with(func(a *attack) {
			a.after = func(t testing.TB, m *message) { newTestIdP(t, "rsa-attacker").sign(t, m.root) }
		}),
		encryption{data: aes128CBC}.row("D3n", "AES-CBC, signature of another response", signBoth, CodeSignature).with(func(a *attack) {
			a.after = func(_ testing.TB, m *message) { m.root.CreateAttr("Consent", "urn:x") }
		}),
	}
}

// badCiphertexts are what panicked in the library once, and their kin.
func badCiphertexts() []attack {
	var all []attack
	for i, n := range []int{0, 1, 11, 12, 27, 28} {
		all = append(all, encryption{ciphertext: keep(n)}.row("D2"+string(rune('a'+i)), fmt.Sprintf("AES-GCM of %d bytes", n), signAssertion, CodeDecryption))
	}
	for i, n := range []int{0, 1, 16, 17, 31, 33} {
		all = append(all, encryption{data: aes128CBC, ciphertext: keep(n)}.row("D2"+string(rune('g'+i)), fmt.Sprintf("AES-CBC of %d bytes", n), signBoth, CodeDecryption))
	}
	return append(all,
		encryption{ciphertext: flip}.row("D2m", "AES-GCM with a bit flipped", signAssertion, CodeDecryption),
		encryption{ciphertext: cut(1)}.row("D2n", "AES-GCM cut short", signAssertion, CodeDecryption),
		encryption{ciphertext: flip}.row("D2o", "AES-GCM with a bit flipped, response signed", signResponse, CodeDecryption),
		encryption{data: aes128CBC, ciphertext: cut(16)}.row("D2p", "AES-CBC without its last block", signResponse, CodeDecryption),
		encryption{edit: text64("EncryptedData/CipherData/CipherValue", "A")}.row("D2q", "ciphertext that is not base64", signAssertion, CodeDecryption),
		encryption{edit: method("EncryptedData", aes128CBC)}.row("D2r", "AES-GCM called AES-CBC", signBoth, CodeDecryption).with(func(a *attack) { a.encrypt.data = aes128GCM }),
		encryption{data: aes128CBC, edit: method("EncryptedData", aes128GCM)}.row("D2s", "AES-CBC called AES-GCM", signAssertion, CodeDecryption),
		encryption{data: aes128CBC, plaintext: func([]byte) []byte { return nil }}.row("D2t", "AES-CBC of nothing but padding", signResponse, CodeDecryption),
	)
}

// badPlaintexts are well encrypted. Everybody can do that.
func badPlaintexts() []attack {
	plain := func(f func([]byte) []byte) encryption { return encryption{plaintext: f} }
	return []attack{
		encryption{}.row("D1", "nothing signed", signNothing, CodeUnsigned),
		encryption{}.row("D1b", "nothing signed, with a signature on the envelope that is not there any more", signResponse, CodeUnsigned).with(func(a *attack) {
			a.after = func(_ testing.TB, m *message) { detach(m.root.FindElement("./Signature")) }
		}),
		encryption{}.row("D1c", "signed by a stranger inside", signNothing, CodeUnknownCertificate).with(edited(signedBy("rsa-attacker"))),
		encryption{}.row("D1d", "signed by a stranger inside of a signed response", signResponse, CodeUnknownCertificate).with(edited(signedBy("rsa-attacker"))),
		encryption{}.row("D1e", "changed after it was signed", signAssertion, CodeSignature).with(func(a *attack) {
			a.encrypt.plaintext = swapped("alice@example.com", "admin@example.com")
		}),
		encryption{}.row("D1f", "changed after it was signed, in a signed response", signBoth, CodeSignature).with(func(a *attack) {
			a.encrypt.plaintext = swapped("alice@example.com", "admin@example.com")
		}),
		plain(func(b []byte) []byte { return bytes.Repeat([]byte("A"), len(b)) }).row("D6", "not XML", signAssertion, CodeDecryption),
		plain(func([]byte) []byte { return nil }).row("D6b", "nothing", signAssertion, CodeDecryption),
		plain(deflated).row("D6c", "deflated", signAssertion, CodeDecryption),
		plain(func(b []byte) []byte { return append(b, b...) }).row("D6d", "two assertions", signAssertion, CodeDecryption),
		plain(func(b []byte) []byte {
			return append([]byte(`<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/passwd">]>`), b...)
		}).row("D6e", "document type", signAssertion, CodeDecryption),
		plain(swapped("alice@", "alice<!-- -->@")).row("D6f", "comment", signAssertion, CodeDecryption),
		plain(swapped("alice@", "alice<![CDATA[]]>@")).row("D6g", "CDATA section", signAssertion, CodeDecryption),
		plain(func(b []byte) []byte { return append(b, "</samlp:Response><x>"...) }).row("D6h", "end of the response around it", signAssertion, CodeDecryption),
		plain(func(b []byte) []byte { return append([]byte("alice"), b...) }).row("D6i", "text before it", signAssertion, CodeDecryption),
		plain(func(b []byte) []byte { return b[:len(b)-5] }).row("D6j", "cut off", signAssertion, CodeDecryption),
		plain(swapped("Alice", "\xff")).row("D6k", "not UTF-8", signAssertion, CodeDecryption),
		plain(func([]byte) []byte { return xmlnsBomb(1000) }).row("D6l", "1,000 namespaces", signAssertion, CodeDecryption),
		plain(func([]byte) []byte { return []byte(strings.Repeat("<x>", 40) + strings.Repeat("</x>", 40)) }).row("D6m", "nesting of 40", signAssertion, CodeDecryption),
		plain(func([]byte) []byte { return []byte("<x>" + strings.Repeat("<x/>", 2000) + "</x>") }).row("D6n", "2,000 elements", signAssertion, CodeDecryption),
		plain(func([]byte) []byte { return []byte(`<samlp:Response xmlns:samlp="` + nsProtocol + `"/>`) }).row("D6o", "a response", signAssertion, CodeElement),
		plain(func([]byte) []byte { return []byte(inAssertion("EncryptedAssertion")) }).row("D6p", "an empty encrypted assertion", signAssertion, CodeEncrypted),
		plain(func(b []byte) []byte { return b }).row("D6q", "encrypted inside of encrypted", signAssertion, CodeEncrypted).with(func(a *attack) {
			a.edit = func(t testing.TB, m *message) { twice(t, m) }
			a.sign = signNothing
		}),
		plain(func([]byte) []byte { return []byte(`<x:Assertion xmlns:x="urn:x"/>`) }).row("D6r", "an assertion of nobody's namespace", signAssertion, CodeElement),
		plain(swapped("_assertion", "_response")).row("D6s", "the ID of the response", signNothing, CodeID),
		plain(swapped(`Version="2.0"`, `Version="1.1"`)).row("D6t", "version 1.1", signNothing, CodeVersion),
		plain(swapped(`xmlns:xs="http://www.w3.org/2001/XMLSchema"`, `xmlns:samlp="urn:x"`)).row("D6u", "a prefix of the response for something else", signNothing, CodeDecryption),
	}
}

// encryptionShapes are forms that XML Encryption has and SAML has no use for.
func encryptionShapes() []attack {
	shape := func(f func(testing.TB, *etree.Element)) encryption { return encryption{edit: f} }
	insert := func(path, xml string) encryption {
		return shape(func(t testing.TB, el *etree.Element) { appendXML(t, el.FindElement(path), xml) })
	}
	xenc := ` xmlns:xenc="` + nsXMLEnc + `"`
	return []attack{
		encryption{}.row("D5", "40 encrypted assertions", signAssertion, CodeAssertions).with(func(a *attack) {
			a.after = func(t testing.TB, m *message) {
				for range 39 {
					m.root.AddChild(encryption{}.element(t, []byte("<x/>")))
				}
				for i, el := range m.root.FindElements(".//*[@Id]") {
					el.CreateAttr("Id", "_i"+strings.Repeat("i", i))
				}
			}
		}),
		encryption{}.row("D5b", "a plain assertion beside it", signAssertion, CodeAssertions).with(func(a *attack) {
			a.after = func(t testing.TB, m *message) { m.root.AddChild(newMessage(t, testResponse).assertion) }
		}),
		encryption{}.row("D5c", "a plain assertion before it", signBoth, CodeAssertions).with(func(a *attack) {
			a.after = func(t testing.TB, m *message) { m.root.InsertChildAt(2, newMessage(t, testResponse).assertion) }
		}),
		insert("./EncryptedData/CipherData", `<xenc:CipherReference`+xenc+` URI="http://192.0.2.1/"/>`).row("D9", "CipherReference beside the value", signAssertion, CodeEncryptionShape),
		shape(func(t testing.TB, el *etree.Element) {
			data := el.FindElement("./EncryptedData/CipherData")
			data.RemoveChildAt(0)
			appendXML(t, data, `<xenc:CipherReference`+xenc+` URI="http://192.0.2.1/"/>`)
		}).row("D9b", "CipherReference instead of the value", signAssertion, CodeEncryptionShape),
		insert("./EncryptedData", `<xenc:EncryptionProperties`+xenc+`/>`).row("D9c", "EncryptionProperties", signAssertion, CodeEncryptionShape),
		insert(".", `<x/>`).row("D9d", "an element of nobody's", signAssertion, CodeEncryptionShape),
		insert("./EncryptedData/CipherData/CipherValue", `<x/>`).row("D9e", "an element in the value", signAssertion, CodeEncryptionShape),
		insert("./EncryptedData/KeyInfo", `<ds:RetrievalMethod xmlns:ds="`+nsDsig+`" URI="http://192.0.2.1/"/>`).row("D9f", "a key to be fetched", signAssertion, CodeEncryptionShape),
		insert("./EncryptedData/KeyInfo", `<ds:RetrievalMethod xmlns:ds="`+nsDsig+`" URI="#_response"/>`).row("D9g", "a key that is something else", signAssertion, CodeEncryptionShape),
		insert("./EncryptedData/KeyInfo/EncryptedKey/EncryptionMethod", `<xenc:OAEPparams`+xenc+`>AAAA</xenc:OAEPparams>`).row("D9h", "a parameter of OAEP", signAssertion, CodeEncryptionShape),
		shape(func(_ testing.TB, el *etree.Element) { detach(el.FindElement(".//EncryptedKey")) }).row("D9i", "no encrypted key", signAssertion, CodeEncryptionShape),
		shape(func(_ testing.TB, el *etree.Element) {
			el.FindElement("./EncryptedData").CreateAttr("Type", nsXMLEnc+"Content")
		}).row("D9j", "content instead of an element", signAssertion, CodeEncryptionShape),
		shape(func(_ testing.TB, el *etree.Element) { el.FindElement("./EncryptedData").RemoveAttr("Type") }).row("D9k", "no type", signAssertion, CodeEncryptionShape),
		shape(func(_ testing.TB, el *etree.Element) {
			el.FindElement("./EncryptedData").CreateAttr("Encoding", "base64")
		}).row("D9l", "an encoding", signAssertion, CodeEncryptionShape),
		shape(func(_ testing.TB, el *etree.Element) { detach(el.FindElement("./EncryptedData")) }).row("D9m", "no data", signAssertion, CodeEncryptionShape),
		shape(func(_ testing.TB, el *etree.Element) { el.AddChild(el.FindElement("./EncryptedData").Copy()) }).row("D9n", "data twice", signAssertion, CodeEncryptionShape),
		shape(func(_ testing.TB, el *etree.Element) { el.CreateText("x") }).row("D9o", "text between the elements", signAssertion, CodeEncryptionShape),
		shape(func(_ testing.TB, el *etree.Element) { el.FindElement("./EncryptedData").CreateAttr("Id", "_response") }).row("D9p", "the ID of the response", signAssertion, CodeID),
		{id: "D9q", name: "encrypted assertion in an extension", want: CodeEncrypted, edit: inside(".", `<samlp:Extensions xmlns:samlp="`+nsProtocol+`">`+inAssertion("EncryptedAssertion")+`</samlp:Extensions>`),
			config: func(t *testing.T, cfg *Config, _ *testIdP) { cfg.Decryption = decryptionKeys(t, "rsa-dec") }},
	}
}

// insideOfSigned are assertions that the profile refuses, whoever encrypted them.
func insideOfSigned() []attack {
	return []attack{
		encryption{}.row("D10", "audience of another service", signBoth, CodeAudience).with(edited(setText(".//Audience", "https://other.example.test/"))),
		encryption{data: aes128CBC}.row("D10b", "recipient of another service", signResponse, CodeRecipient).with(edited(attr("SubjectConfirmationData", "Recipient", "https://other.example.test/acs"))),
		encryption{}.row("D10c", "of another identity provider", signResponse, CodeIssuer).with(edited(setText("./Assertion/Issuer", "https://other.example.test/"))),
		encryption{}.row("D10d", "signed response without a destination", signResponse, CodeDestination).with(edited(func(_ testing.TB, m *message) { m.root.RemoveAttr("Destination") })),
		encryption{}.row("D10e", "two subjects", signBoth, CodeDuplicate).with(edited(inside("./Assertion", `<saml:Subject xmlns:saml="`+nsAssertion+`"/>`))),
		encryption{}.row("D10f", "answers another request", signBoth, CodeInResponseTo).with(edited(attr("SubjectConfirmationData", "InResponseTo", "_other"))),
		encryption{}.row("D10g", "SHA-1 inside", signNothing, CodeAlgorithm).with(edited(func(t testing.TB, m *message) {
			sig := newTestIdP(t, "rsa-idp").sign(t, m.assertion)
			sig.FindElement(".//SignatureMethod").CreateAttr("Algorithm", "http://www.w3.org/2000/09/xmldsig#rsa-sha1")
		})),
		encryption{}.row("D10h", "ended", signBoth, CodeExpired).with(func(a *attack) { a.clock = 20 * 60e9 }),
		encryption{}.row("D10i", "signed inside by another key of the same identity provider", signResponse, CodeSignature).with(func(a *attack) {
			a.edit = signedBy("rsa-idp-next")
			a.config = func(t *testing.T, cfg *Config, idp *testIdP) {
				cfg.Decryption = decryptionKeys(t, "rsa-dec")
				cfg.IdPMetadata = testMetadata(idp.cert, newTestIdP(t, "rsa-idp-next").cert)
			}
		}),
	}
}

// flip changes one bit in the middle.
func flip(b []byte) []byte {
	changed := bytes.Clone(b)
	changed[len(b)/2] ^= 1
	return changed
}

func cut(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }

// keep leaves the first n bytes.
func keep(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }

func swapped(what, by string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(what), []byte(by), 1) }
}

func deflated(b []byte) []byte {
	var buf bytes.Buffer
	w, _ := flate.NewWriter(&buf, 9)
	_, _ = w.Write(b)
	_ = w.Close()
	return buf.Bytes()
}

func method(of, algorithm string) func(testing.TB, *etree.Element) {
	return func(_ testing.TB, el *etree.Element) {
		el.FindElement(".//"+of+"/EncryptionMethod").CreateAttr("Algorithm", algorithm)
	}
}

// text64 puts something behind the base64 of an element.
func text64(path, junk string) func(testing.TB, *etree.Element) {
	return func(_ testing.TB, el *etree.Element) {
		value := el.FindElement(".//" + path)
		value.SetText(value.Text() + junk)
	}
}

func signedBy(key string) func(testing.TB, *message) {
	return func(t testing.TB, m *message) { newTestIdP(t, key).sign(t, m.assertion) }
}

// twice encrypts the assertion, so that it is encrypted once more.
func twice(t testing.TB, m *message) {
	i := m.assertion.Index()
	encryption{}.apply(t, m)
	m.assertion = m.root.Child[i].(*etree.Element)
}
