package saml

import (
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inventions are inputs that no advisory names: what we would try next.
func inventions() []attack {
	return slices.Concat(lookalikes(), foreignAttributes(), strangeSignatures(), strangeInstants(), strangeValues())
}

// text replaces a piece of the XML after it was signed.
func replaced(old, with string) func(string) string {
	return func(s string) string { return strings.Replace(s, old, with, 1) }
}

// lookalikes are names that some reader takes for another: ours are compared octet by
// octet, and what XML makes of them is the only thing that is made of them.
func lookalikes() []attack {
	return []attack{
		{id: "X1", name: "audience that is ours after Unicode compatibility folding", want: CodeAudience, edit: setText(".//Audience", strings.Replace(testEntityID, "door", "ｄoor", 1))},
		{id: "X2", name: "audience with a percent-encoded letter", want: CodeAudience, edit: setText(".//Audience", strings.Replace(testEntityID, "door", "%64oor", 1))},
		{id: "X3", name: "issuer with the final dot of its host", want: CodeIssuer, edit: setText(".//Assertion/Issuer", strings.Replace(testIdPID, "example.test", "example.test.", 1))},
		{id: "X4", name: "recipient with a default port", want: CodeRecipient, edit: attr("SubjectConfirmationData", "Recipient", strings.Replace(testACS, "example.test", "example.test:443", 1))},
		{id: "X5", name: "destination with a query", want: CodeDestination, sign: signResponse, edit: func(_ testing.TB, m *message) { m.root.CreateAttr("Destination", testACS+"?") }},
		{id: "X6", name: "request that is answered, with a no-break space behind", want: CodeInResponseTo, edit: attr("SubjectConfirmationData", "InResponseTo", testRequestID+"\u00a0")},
		{id: "X7", name: "issuer over two lines", want: CodeIssuer, edit: setText(".//Assertion/Issuer", testIdPID+"\n")},
		{id: "X8", name: "name written with references to its letters is the same name", edit: func(testing.TB, *message) {}, sign: signResponse, raw: replaced(">alice@example.com</saml:NameID>", ">&#97;lice@example.com</saml:NameID>")},
		{id: "X9", name: "request that is answered, with a tab that XML turns into a blank", want: CodeSignature, raw: replaced(`Recipient="`+testACS+`" InResponseTo="_request"`, `Recipient="`+testACS+`" InResponseTo="_request&#9;"`)},
	}
}

// foreignAttributes are attributes of XML and XML Schema, which other readers act on.
func foreignAttributes() []attack {
	return []attack{
		{id: "X10", name: "xml:base on the response", want: "", edit: func(_ testing.TB, m *message) { m.root.CreateAttr("xml:base", "https://other.example.test/") }},
		{id: "X11", name: "xml:space on a name", edit: attr("NameID", "xml:space", "preserve")},
		{id: "X12", name: "a NameID that says it is nil", edit: attr("NameID", "xsi:nil", "true"), check: func(t *testing.T, p Principal) {
			if p.Subject.NameID != "alice@example.com" {
				t.Errorf("NameID %q", p.Subject.NameID)
			}
		}},
		{id: "X13", name: "confirmation data of the type for holders of keys", want: CodeSubjectConfirmation, edit: func(t testing.TB, m *message) {
			data := m.find("SubjectConfirmationData")
			data.CreateAttr("xsi:type", "saml:KeyInfoConfirmationDataType")
			appendXML(t, data, `<ds:KeyInfo xmlns:ds="`+nsDsig+`"><ds:KeyName>k</ds:KeyName></ds:KeyInfo>`)
		}},
		{id: "X14", name: "an ID of another spelling that repeats the assertion's", want: CodeID, edit: attr("Conditions", "Id", "_assertion")},
		{id: "X15", name: "a schema location", edit: func(_ testing.TB, m *message) {
			m.assertion.CreateAttr("xsi:schemaLocation", nsAssertion+" https://other.example.test/evil.xsd")
		}},
	}
}

// strangeSignatures are signatures that a less literal verifier might take.
func strangeSignatures() []attack {
	onSignature := func(path, key, value string) func(testing.TB, *message) {
		return func(_ testing.TB, m *message) { m.find("Signature").FindElement(path).CreateAttr(key, value) }
	}
	setValue := func(change func([]byte) []byte) func(testing.TB, *message) {
		return func(t testing.TB, m *message) {
			value, err := base64.StdEncoding.DecodeString(m.find("SignatureValue").Text())
			if err != nil {
				t.Fatal(err)
			}
			m.find("SignatureValue").SetText(encode(change(value)))
		}
	}
	return []attack{
		{id: "X16", name: "reference by XPointer", want: CodeSignatureShape, after: onSignature(".//Reference", "URI", "#xpointer(id('_assertion'))")},
		{id: "X17", name: "reference with a percent-encoded letter", want: CodeSignatureShape, after: onSignature(".//Reference", "URI", "#%5fassertion")},
		{id: "X18", name: "reference to another document", want: CodeSignatureShape, after: onSignature(".//Reference", "URI", "https://other.example.test/a.xml#_assertion")},
		{id: "X19", name: "reference that is a type", want: CodeSignature, after: onSignature(".//Reference", "Type", nsDsig+"Manifest")},
		{id: "X20", name: "signature value with zeros before it", want: CodeSignature, after: setValue(func(v []byte) []byte { return append([]byte{0}, v...) })},
		{id: "X21", name: "signature value that is one", want: CodeSignature, after: setValue(func(v []byte) []byte { return big.NewInt(1).FillBytes(make([]byte, len(v))) })},
		{id: "X22", name: "signature value that is empty", want: CodeSignature, after: setValue(func([]byte) []byte { return nil })},
		{id: "X23", name: "ECDSA signature of zeros", key: "p256-idp", want: CodeSignature, after: setValue(func([]byte) []byte { return []byte{0x30, 6, 2, 1, 0, 2, 1, 0} })},
		{id: "X24", name: "RSA-PSS", want: CodeAlgorithm, after: onSignature(".//SignatureMethod", "Algorithm", "http://www.w3.org/2007/05/xmldsig-more#sha256-rsa-MGF1")},
		{id: "X25", name: "HMACOutputLength of zero beside RSA", want: CodeSignatureShape, after: func(t testing.TB, m *message) {
			appendXML(t, m.find("SignatureMethod"), `<ds:HMACOutputLength xmlns:ds="`+nsDsig+`">0</ds:HMACOutputLength>`)
		}},
		{id: "X26", name: "stranger's certificate before ours", want: CodeUnknownCertificate, after: func(t testing.TB, m *message) {
			stranger := testCertificate(t, testKey(t, "rsa-stranger"), 0)
			m.find("X509Data").InsertChildAt(0, fragment(t, `<ds:X509Certificate xmlns:ds="`+nsDsig+`">`+encode(stranger.Raw)+`</ds:X509Certificate>`))
		}},
		{id: "X27", name: "key to be retrieved", want: CodeSignatureShape, after: func(t testing.TB, m *message) {
			appendXML(t, m.find("KeyInfo"), `<ds:RetrievalMethod xmlns:ds="`+nsDsig+`" URI="https://other.example.test/key"/>`)
		}},
		{id: "X28", name: "the prefix of the signature bound to SAML inside of it", want: CodeXML, raw: func(s string) string {
			return strings.Replace(s, "<ds:SignedInfo>", `<ds:SignedInfo xmlns:ds="`+nsAssertion+`">`, 1)
		}},
		{id: "X29", name: "digest with bytes behind it", want: CodeSignature, after: func(t testing.TB, m *message) {
			el := m.find("DigestValue")
			digest, err := base64.StdEncoding.DecodeString(el.Text())
			if err != nil {
				t.Fatal(err)
			}
			el.SetText(encode(append(digest, 0)))
		}},
	}
}

// strangeInstants are points in time as clocks and calendars never show them.
func strangeInstants() []attack {
	end := func(value string) func(testing.TB, *message) { return attr("Conditions", "NotOnOrAfter", value) }
	return []attack{
		{id: "X30", name: "a leap second", want: CodeInstant, edit: end("2026-11-22T12:04:60Z")},
		{id: "X31", name: "the hour 24", want: CodeInstant, edit: end("2026-11-22T24:00:00Z")},
		{id: "X32", name: "the year 10000", want: CodeInstant, edit: end("10000-01-01T00:00:00Z")},
		{id: "X33", name: "a year before our era", want: CodeInstant, edit: attr("Conditions", "NotBefore", "-0001-01-01T00:00:00Z")},
		{id: "X34", name: "a fraction of twenty digits is a fraction", edit: end("2026-11-22T12:05:00.00000000000000000001Z")},
		{id: "X35", name: "a zone a day away, which makes it yesterday", want: CodeExpired, edit: end("2026-11-22T12:05:00+24:00")},
	}
}

// strangeValues are names and values that real directories hold, or should not.
func strangeValues() []attack {
	return []attack{
		{id: "X36", name: "eduPersonTargetedID, whose value is a NameID, beside what is mapped", edit: inside(".//AttributeStatement", targetedID),
			check: func(t *testing.T, p Principal) {
				if diff := cmp.Diff([]string{"engineers", "admins"}, p.Groups); diff != "" {
					t.Errorf("groups (-want +got):\n%s", diff)
				}
			}},
		{id: "X37", name: "a NameID as the value of a mapped attribute says nothing", edit: func(t testing.TB, m *message) {
			value := m.root.FindElement(".//Attribute[@Name='groups']/AttributeValue")
			value.SetText("")
			appendXML(t, value, `<saml:NameID xmlns:saml="`+nsAssertion+`">root</saml:NameID>`)
		}, check: func(t *testing.T, p Principal) {
			if diff := cmp.Diff([]string{"admins"}, p.Groups); diff != "" {
				t.Errorf("groups (-want +got):\n%s", diff)
			}
		}},
		{id: "X38", name: "text around a NameID in a value", want: CodeText, edit: inside(".//Attribute[@Name='groups']/AttributeValue", `<saml:NameID xmlns:saml="`+nsAssertion+`">root</saml:NameID>`)},
		{id: "X39", name: "a group that is written from right to left by an override", want: CodeValue, edit: setText(".//Attribute[@Name='groups']/AttributeValue", "\u202enimda")},
		{id: "X40", name: "a group with emoji that are joined", want: CodeValue, edit: setText(".//Attribute[@Name='groups']/AttributeValue", "team-👩\u200d🚀")},
		{id: "X41", name: "an attribute without a name", edit: noAttr("Attribute", "Name"), check: func(t *testing.T, p Principal) {
			if p.Name != "" {
				t.Errorf("name %q from an attribute without one", p.Name)
			}
		}},
		{id: "X42", name: "a session index of 10 kB", want: CodeValue, edit: attr("AuthnStatement", "SessionIndex", strings.Repeat("i", 10_000))},
		{id: "X43", name: "600 audiences, ours the last", edit: func(t testing.TB, m *message) {
			restriction := m.find("AudienceRestriction")
			for range 600 {
				restriction.InsertChildAt(0, fragment(t, `<saml:Audience xmlns:saml="`+nsAssertion+`">https://other.example.test/</saml:Audience>`))
			}
		}},
		{id: "X44", name: "OneTimeUse twice", want: CodeConditions, edit: func(t testing.TB, m *message) {
			for range 2 {
				appendXML(t, m.find("Conditions"), inAssertion("OneTimeUse"))
			}
		}},
		{id: "X45", name: "a carriage return in a name", want: CodeValue, edit: setText(".//Attribute[@Name='displayName']/AttributeValue", "Alice\rExample"), raw: replaced("Alice\rExample", "Alice&#13;Example")},
		{id: "X46", name: "a user name in the letters of another alphabet, which is somebody else", edit: setText(".//Attribute[@Name='mail']/AttributeValue", "аlice@example.com"), check: func(t *testing.T, p Principal) {
			if p.User == "alice@example.com" {
				t.Error("a Cyrillic a counts as a Latin one")
			}
		}},
	}
}

// targetedID is what Shibboleth releases beside the rest (eduPerson 202208, 4.2).
const targetedID = `<saml:Attribute xmlns:saml="` + nsAssertion + `" Name="urn:oid:1.3.6.1.4.1.5923.1.1.1.10"><saml:AttributeValue>
  <saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent" NameQualifier="https://idp.example.test/metadata">b3f</saml:NameID>
</saml:AttributeValue></saml:Attribute>`
