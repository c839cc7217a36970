package saml

import (
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// wellBehaved responses must pass: a gate that lets nobody in is easy.
func wellBehaved() []attack {
	replace := strings.NewReplacer
	return []attack{
		{id: "P1", name: "assertion signed"},
		{id: "P2", name: "response signed", sign: signResponse},
		{id: "P3", name: "both signed", sign: signBoth},
		{id: "P4", name: "XML declaration and line end", raw: func(s string) string {
			return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + s + "\n"
		}},
		{id: "P5", name: "base64 in lines", encode: func(raw []byte) string {
			s := encode(raw)
			return s[:76] + "\r\n" + s[76:152] + "\n" + s[152:] + "\r\n"
		}},
		{id: "P6", name: "default namespaces as Entra writes them", edit: func(t testing.TB, m *message) {
			*m = *newMessage(t, replace("<saml:", "<", "</saml:", "</", "xmlns:saml=", "xmlns=").Replace(testResponse))
		}},
		{id: "P7", name: "no NotBefore", edit: func(_ testing.TB, m *message) { m.find("Conditions").RemoveAttr("NotBefore") }},
		{id: "P8", name: "no Conditions end", edit: func(_ testing.TB, m *message) { m.find("Conditions").RemoveAttr("NotOnOrAfter") }},
		{id: "P9", name: "OneTimeUse", edit: func(_ testing.TB, m *message) { m.find("Conditions").CreateElement("saml:OneTimeUse") }},
		{id: "P10", name: "KeyName and KeyValue beside the certificate, as Keycloak writes them", after: func(t testing.TB, m *message) {
			info := m.find("KeyInfo")
			info.InsertChildAt(0, fragment(t, `<ds:KeyName xmlns:ds="`+nsDsig+`">k1</ds:KeyName>`))
			appendXML(t, info, `<ds:KeyValue xmlns:ds="`+nsDsig+`"><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus></ds:RSAKeyValue></ds:KeyValue>`)
		}},
		{id: "P11", name: "no KeyInfo", idp: func(_ testing.TB, idp *testIdP) { idp.noKeyInfo = true }},
		{id: "P12", name: "no SessionNotOnOrAfter", edit: func(_ testing.TB, m *message) {
			m.find("AuthnStatement").RemoveAttr("SessionNotOnOrAfter")
		}, check: func(t *testing.T, p Principal) {
			if !p.SessionNotOnOrAfter.IsZero() {
				t.Errorf("end of session %s, want none", p.SessionNotOnOrAfter)
			}
		}},
		{id: "P13", name: "fractional seconds, as ADFS writes them", edit: func(_ testing.TB, m *message) {
			m.find("Conditions").CreateAttr("NotBefore", "2026-11-22T11:59:59.123Z")
		}},
		{id: "P14", name: "an extension of another namespace", edit: func(t testing.TB, m *message) {
			m.root.InsertChildAt(1, fragment(t, `<samlp:Extensions xmlns:samlp="`+nsProtocol+`"><x:y xmlns:x="urn:x">z</x:y></samlp:Extensions>`))
		}},
		{id: "P15", name: "rsa-sha512", idp: func(_ testing.TB, idp *testIdP) { idp.method = dsig.RSASHA512SignatureMethod }},
		{id: "P16", name: "ECDSA on P-256, in the form that the library verifies", key: "p256-idp"},
		{id: "P17", name: "issuer with the format of an entity, subject locality, no InResponseTo on the envelope", edit: func(t testing.TB, m *message) {
			m.assertion.FindElement("./Issuer").CreateAttr("Format", formatEntity)
			m.find("AuthnStatement").InsertChildAt(0, fragment(t, `<saml:SubjectLocality xmlns:saml="`+nsAssertion+`" Address="192.0.2.1"/>`))
			m.root.RemoveAttr("InResponseTo")
		}},
		{id: "P18", name: "unsigned envelope without a Destination", edit: func(_ testing.TB, m *message) { m.root.RemoveAttr("Destination") }},
		{id: "P19", name: "InclusiveNamespaces, as Shibboleth and Okta write them", idp: func(_ testing.TB, idp *testIdP) { idp.prefixes = "xs" }},
		{id: "P21", name: "namespaces declared on each of 200 values, as Okta and Keycloak write them", edit: func(_ testing.TB, m *message) {
			m.assertion.RemoveAttr("xmlns:xs")
			m.assertion.RemoveAttr("xmlns:xsi")
			manyGroups(200)(nil, m)
			for _, value := range m.root.FindElements(".//AttributeValue") {
				value.CreateAttr("xmlns:xs", "http://www.w3.org/2001/XMLSchema")
				value.CreateAttr("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
				value.CreateAttr("xsi:type", "xs:string")
			}
		}},
		{id: "P22", name: "signature in the default namespace, as Entra writes it", idp: func(_ testing.TB, idp *testIdP) { idp.noPrefix = true }},
		{id: "P23", name: "both signed, in the default namespace", sign: signBoth, idp: func(_ testing.TB, idp *testIdP) { idp.noPrefix = true }},
		{id: "P20", name: "InclusiveNamespaces in a signed response", sign: signResponse, idp: func(_ testing.TB, idp *testIdP) { idp.prefixes = "saml xs" }},
	}
}

// forged returns a copy of the assertion for root@example.com, unsigned, with
// another ID.
func forged(m *message) *etree.Element {
	evil := m.assertion.Copy()
	if sig := evil.FindElement("./Signature"); sig != nil {
		evil.RemoveChild(sig)
	}
	evil.CreateAttr("ID", "_evil")
	evil.FindElement(".//NameID").SetText("root@example.com")
	return evil
}

// detach takes el out of its parent.
func detach(el *etree.Element) *etree.Element {
	el.Parent().RemoveChild(el)
	return el
}

// wrappings are XSW 1 to 8 of "On Breaking SAML" and their kin.
func wrappings() []attack {
	return []attack{
		{id: "A1", name: "XSW1 forged response around the original in its signature", sign: signResponse, want: CodeSignatureShape, after: xsw1("_evil-response")},
		{id: "A9", name: "XSW1 with the same ID", sign: signResponse, want: CodeSignatureShape, after: xsw1("_response")},
		{id: "A2", name: "XSW2 original response beside a detached signature", sign: signResponse, want: CodeElement, after: func(_ testing.TB, m *message) {
			original := m.root.Copy()
			detach(original.FindElement("./Signature"))
			m.root.CreateAttr("ID", "_evil-response")
			m.root.FindElement("./Assertion/Subject/NameID").SetText("root@example.com")
			m.root.InsertChildAt(1, original)
		}},
		{id: "A3", name: "XSW3 forged assertion before the signed one", want: CodeAssertions, after: func(_ testing.TB, m *message) {
			m.root.InsertChildAt(m.assertion.Index(), forged(m))
		}},
		{id: "A4", name: "XSW4 signed assertion inside the forged one", want: CodeAssertions, after: func(_ testing.TB, m *message) {
			evil := forged(m)
			evil.AddChild(detach(m.assertion))
			m.root.AddChild(evil)
		}},
		{id: "A5", name: "XSW5 signature moved into the forged assertion", want: CodeAssertions, after: func(_ testing.TB, m *message) {
			evil := forged(m)
			evil.InsertChildAt(1, detach(m.assertion.FindElement("./Signature")))
			m.root.InsertChildAt(m.assertion.Index(), evil)
		}},
		{id: "A6", name: "XSW6 original inside the signature of the forged assertion", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			wrap(m, func(sig *etree.Element) *etree.Element { return sig })
		}},
		{id: "A7", name: "XSW7 forged assertion in Extensions", want: CodeAssertions, after: func(_ testing.TB, m *message) {
			ext := etree.NewElement("samlp:Extensions")
			ext.AddChild(forged(m))
			m.root.InsertChildAt(1, ext)
		}},
		{id: "A8", name: "XSW8 original in an Object of the signature", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			wrap(m, func(sig *etree.Element) *etree.Element { return sig.CreateElement("ds:Object") })
		}},
		{id: "A9b", name: "original inside the forged assertion's signature, same ID", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			wrap(m, func(sig *etree.Element) *etree.Element { return sig })
			m.root.FindElement("./Assertion").CreateAttr("ID", "_assertion")
		}},
		{id: "A7b", name: "forged assertion deep in StatusDetail", want: CodeAssertions, after: func(t testing.TB, m *message) {
			detail := appendXML(t, m.find("Status"), `<samlp:StatusDetail xmlns:samlp="`+nsProtocol+`"><x:a xmlns:x="urn:x"><x:b/></x:a></samlp:StatusDetail>`)
			detail.FindElement(".//b").AddChild(forged(m))
		}},
		{id: "A7c", name: "forged assertion in Advice", want: CodeAssertions, edit: func(_ testing.TB, m *message) {
			evil := forged(m)
			m.assertion.CreateElement("saml:Advice").AddChild(evil)
		}},
	}
}

// xsw1 forges the response around a copy of the original.
func xsw1(id string) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) {
		original := m.root.Copy()
		detach(original.FindElement("./Signature"))
		m.root.CreateAttr("ID", id)
		m.root.FindElement("./Assertion/Subject/NameID").SetText("root@example.com")
		m.root.FindElement("./Signature").CreateElement("ds:Object").AddChild(original)
	}
}

// wrap makes a forged assertion that carries the signature, and the original
// somewhere in that.
func wrap(m *message, where func(sig *etree.Element) *etree.Element) {
	evil := forged(m)
	sig := detach(m.assertion.FindElement("./Signature"))
	where(sig).AddChild(detach(m.assertion))
	evil.InsertChildAt(1, sig)
	m.root.AddChild(evil)
}

// coverage is what is signed, and how much of it.
func coverage() []attack {
	secondSigned := func(t testing.TB, m *message) *etree.Element {
		second := forged(m)
		newTestIdP(t, "rsa-idp").sign(t, second)
		return second
	}
	return []attack{
		{id: "A10", name: "response and assertion with one ID", want: CodeID, edit: func(_ testing.TB, m *message) { m.root.CreateAttr("ID", "_assertion") }},
		{id: "A10b", name: "xml:id that repeats an ID", want: CodeID, edit: func(_ testing.TB, m *message) { m.find("Status").CreateAttr("xml:id", "_assertion") }},
		{id: "A11", name: "one signed and one unsigned assertion", want: CodeAssertions, after: func(_ testing.TB, m *message) { m.root.AddChild(forged(m)) }},
		{id: "A12", name: "signed response, alice signed, bob not", sign: signBoth, want: CodeAssertions, edit: func(_ testing.TB, m *message) { m.root.AddChild(forged(m)) }},
		{id: "A13", name: "two signed assertions", want: CodeAssertions, after: func(t testing.TB, m *message) { m.root.AddChild(secondSigned(t, m)) }},
		{id: "A14", name: "nothing signed", sign: signNothing, want: CodeUnsigned},
		{id: "A14b", name: "signature taken out", want: CodeUnsigned, after: func(_ testing.TB, m *message) { detach(m.find("Signature")) }},
		{id: "A15", name: "signature in another namespace", want: CodeElement, raw: func(s string) string {
			return strings.Replace(s, `xmlns:ds="`+nsDsig, `xmlns:ds="urn:x:`+nsDsig, 1)
		}},
		{id: "A15b", name: "empty signature before the real one", want: CodeSignatureShape, after: func(t testing.TB, m *message) {
			m.assertion.InsertChildAt(1, fragment(t, `<ds:Signature xmlns:ds="`+nsDsig+`"/>`))
		}},
		{id: "A16", name: "signature of the response refers to the assertion", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			m.root.InsertChildAt(1, detach(m.find("Signature")))
		}},
		{id: "A17", name: "signature deeper in its own assertion", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			m.find("Subject").AddChild(detach(m.find("Signature")))
		}},
		{id: "A17b", name: "signature last in its assertion", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			m.assertion.AddChild(detach(m.find("Signature")))
		}},
		{id: "A18", name: "an unsigned Object in the signature", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			m.find("Signature").CreateElement("ds:Object").SetText("x")
		}},
		{id: "A18b", name: "an unknown attribute in the signature", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			m.find("SignedInfo").CreateAttr("ID", "_x")
		}},
		{id: "A19", name: "signed metadata as the response", want: CodeRoot, raw: func(string) string {
			return `<md:EntityDescriptor xmlns:md="` + nsMetadata + `" entityID="x"/>`
		}},
		{id: "A20", name: "assertion as the root", want: CodeRoot, after: func(_ testing.TB, m *message) { m.doc.SetRoot(detach(m.assertion)) }},
		{id: "A20b", name: "logout response", want: CodeRoot, edit: func(_ testing.TB, m *message) { m.root.Tag = "LogoutResponse" }},
		{id: "A20c", name: "authentication request", want: CodeRoot, edit: func(_ testing.TB, m *message) { m.root.Tag = "AuthnRequest" }},
		{id: "A20d", name: "response of SAML 1", want: CodeRoot, raw: func(s string) string {
			return strings.Replace(s, nsProtocol, "urn:oasis:names:tc:SAML:1.0:protocol", 1)
		}},
		{id: "A21", name: "reference to nothing in particular", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			m.find("Reference").CreateAttr("URI", "")
		}},
		{id: "A21b", name: "assertion without an ID", want: CodeID, edit: func(_ testing.TB, m *message) { m.assertion.RemoveAttr("ID") }},
		{id: "A21c", name: "reference without '#'", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			m.find("Reference").CreateAttr("URI", "x_assertion")
		}},
		{id: "A21d", name: "response without an ID", want: CodeID, edit: func(_ testing.TB, m *message) { m.root.RemoveAttr("ID") }},
		{id: "A31", name: "one letter changed in what is signed", want: CodeSignature, raw: func(s string) string {
			return strings.Replace(s, ">alice@example.com</saml:AttributeValue>", ">blice@example.com</saml:AttributeValue>", 1)
		}},
		{id: "A31b", name: "one letter changed in a signed response", sign: signResponse, want: CodeSignature, raw: func(s string) string {
			return strings.Replace(s, ">engineers<", ">engineerz<", 1)
		}},
	}
}

// signatureForms are signatures of unusual build.
func signatureForms() []attack {
	onSignature := func(tag string, do func(testing.TB, *etree.Element)) func(testing.TB, *message) {
		return func(t testing.TB, m *message) { do(t, m.find(tag)) }
	}
	twice := onSignature
	double := func(_ testing.TB, el *etree.Element) { el.Parent().InsertChildAt(el.Index(), el.Copy()) }
	algorithm := func(tag, value string) func(testing.TB, *message) {
		return onSignature(tag, func(_ testing.TB, el *etree.Element) { el.CreateAttr("Algorithm", value) })
	}
	transform := func(i int, value string) func(testing.TB, *message) {
		return func(_ testing.TB, m *message) {
			m.root.FindElements(".//Transform")[i].CreateAttr("Algorithm", value)
		}
	}
	return []attack{
		{id: "A22", name: "two references", want: CodeSignatureShape, after: twice("Reference", double)},
		{id: "A23", name: "two SignedInfo", want: CodeSignatureShape, after: twice("SignedInfo", double)},
		{id: "A23b", name: "two SignatureValue", want: CodeSignatureShape, after: twice("SignatureValue", double)},
		{id: "A23c", name: "two KeyInfo", want: CodeSignatureShape, after: twice("KeyInfo", double)},
		{id: "A24", name: "comment in the digest", want: CodeComment, after: onSignature("DigestValue", func(_ testing.TB, el *etree.Element) { el.CreateComment("x") })},
		{id: "A24b", name: "element in the digest", want: CodeSignatureShape, after: onSignature("DigestValue", func(_ testing.TB, el *etree.Element) { el.CreateElement("x") })},
		{id: "A29", name: "XSLT", want: CodeAlgorithm, after: transform(1, "http://www.w3.org/TR/1999/REC-xslt-19991116")},
		{id: "A29b", name: "XPath with an expression", want: CodeSignatureShape, after: func(t testing.TB, m *message) {
			tr := m.root.FindElements(".//Transform")[1]
			tr.CreateAttr("Algorithm", "http://www.w3.org/TR/1999/REC-xpath-19991116")
			tr.CreateElement("ds:XPath").SetText("self::text()")
		}},
		{id: "A29c", name: "base64 transform", want: CodeAlgorithm, after: transform(1, "http://www.w3.org/2000/09/xmldsig#base64")},
		{id: "A29d", name: "transforms in the other order", want: CodeAlgorithm, after: func(_ testing.TB, m *message) {
			tr := m.root.FindElements(".//Transform")
			tr[0].CreateAttr("Algorithm", algExcC14N)
			tr[1].CreateAttr("Algorithm", algEnveloped)
		}},
		{id: "A29e", name: "a third transform", want: CodeSignatureShape, after: onSignature("Transform", double)},
		{id: "A29f", name: "parameter of the enveloped transform", want: CodeSignatureShape, after: onSignature("Transform", func(t testing.TB, el *etree.Element) {
			appendXML(t, el, `<ec:InclusiveNamespaces xmlns:ec="`+nsExcC14N+`"/>`)
		})},
		{id: "A30", name: "inclusive canonicalisation", want: CodeAlgorithm, idp: func(_ testing.TB, idp *testIdP) { idp.c14n = dsig.MakeC14N10RecCanonicalizer() }},
		{id: "A30b", name: "canonicalisation with comments", want: CodeAlgorithm, idp: func(_ testing.TB, idp *testIdP) {
			idp.c14n = dsig.MakeC14N10ExclusiveWithCommentsCanonicalizerWithPrefixList("")
		}},
		{id: "A30c", name: "inclusive canonicalisation of SignedInfo", want: CodeAlgorithm, after: algorithm("CanonicalizationMethod", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315")},
		{id: "B3", name: "HMAC with the public key", want: CodeAlgorithm, after: algorithm("SignatureMethod", "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")},
		{id: "B3b", name: "HMAC cut to nothing", want: CodeSignatureShape, after: onSignature("SignatureMethod", func(_ testing.TB, el *etree.Element) {
			el.CreateElement("ds:HMACOutputLength").SetText("0")
		})},
		{id: "B4", name: "signature method none", want: CodeAlgorithm, after: algorithm("SignatureMethod", "none")},
		{id: "B4b", name: "no signature method", want: CodeAlgorithm, after: onSignature("SignatureMethod", func(_ testing.TB, el *etree.Element) { el.RemoveAttr("Algorithm") })},
		{id: "B5", name: "RSA with SHA-1", want: CodeAlgorithm, idp: func(_ testing.TB, idp *testIdP) { idp.method = dsig.RSASHA1SignatureMethod }},
		{id: "B5b", name: "SHA-1 digest", want: CodeAlgorithm, after: algorithm("DigestMethod", "http://www.w3.org/2000/09/xmldsig#sha1")},
		{id: "B5c", name: "MD5 digest", want: CodeAlgorithm, after: algorithm("DigestMethod", "http://www.w3.org/2001/04/xmldsig-more#md5")},
	}
}

// keys are about who signed.
func keys() []attack {
	trustTwo := func(t *testing.T, cfg *Config, idp *testIdP) {
		cfg.IdPMetadata = testMetadata(newTestIdP(t, "rsa-other").cert, idp.cert)
	}
	stranger := func(t *testing.T, cfg *Config, _ *testIdP) {
		cfg.IdPMetadata = testMetadata(newTestIdP(t, "rsa-other").cert)
	}
	shifted := func(by time.Duration) func(testing.TB, *testIdP) {
		return func(t testing.TB, idp *testIdP) { idp.cert = testCertificate(t, idp.key, by) }
	}
	noInfo := func(_ testing.TB, idp *testIdP) { idp.noKeyInfo = true }
	year := 365 * 24 * time.Hour
	return []attack{
		{id: "B1", name: "stranger's key and certificate", config: stranger, want: CodeUnknownCertificate},
		{id: "B2", name: "stranger's key, no certificate", config: stranger, idp: noInfo, want: CodeSignature},
		{id: "B2b", name: "stranger's key under our certificate", want: CodeSignature, idp: func(t testing.TB, idp *testIdP) { idp.key = testKey(t, "rsa-other") },
			config: func(t *testing.T, cfg *Config, idp *testIdP) { cfg.IdPMetadata = testMetadata(idp.cert) }},
		{id: "B7", name: "certificate expired", idp: shifted(-year), want: CodeIdPCertificate},
		{id: "B7b", name: "certificate of the future", idp: shifted(year), want: CodeIdPCertificate},
		{id: "B7c", name: "certificate made this minute", idp: shifted(180*24*time.Hour - time.Second)},
		{id: "B8", name: "two certificates, signature without one", idp: noInfo, config: trustTwo},
		{id: "B8b", name: "two certificates, signature with one", config: trustTwo},
		{id: "B8c", name: "KeyInfo without a certificate", want: CodeSignatureShape, after: func(_ testing.TB, m *message) {
			detach(m.find("X509Data"))
			m.find("KeyInfo").CreateElement("ds:KeyName").SetText("k1")
		}},
		{id: "B8d", name: "certificate that is not base64", want: CodeSignatureShape, after: func(_ testing.TB, m *message) { m.find("X509Certificate").SetText("%%") }},
		{id: "B8e", name: "two certificates, wrong audience: the reason is not lost", idp: noInfo, config: trustTwo, want: CodeAudience,
			edit: func(_ testing.TB, m *message) { m.find("Audience").SetText("https://other.example.test/") }},
	}
}
