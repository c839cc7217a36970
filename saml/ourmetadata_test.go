package saml

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
)

const testSLO = "https://door.example.test/saml/slo"

// fullConfig says all that our metadata can say, unsigned.
func fullConfig(t *testing.T) Config {
	t.Helper()
	cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.SLOURL = testSLO
	cfg.NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	cfg.Published = []*x509.Certificate{testCertificate(t, testKey(t, "p256-next"), 0)}
	for _, name := range []string{"rsa-other", "rsa-previous"} {
		key := testKey(t, name)
		cfg.Decryption = append(cfg.Decryption, DecryptionKey{Key: key.(crypto.Decrypter), Certificate: testCertificate(t, key, 0)})
	}
	cfg.Description = Description{
		DisplayName: "Tools <of> Example", Text: "Internal tools & pages", InformationURL: "https://example.test/tools?a=b&c=d",
		PrivacyStatementURL: "https://example.test/privacy",
		LogoURL:             "https://example.test/logo.png", LogoWidth: 80, LogoHeight: 60,
		Organization: "Example plc", OrganizationURL: "https://example.test/",
		TechnicalContact: "saml@example.test", SupportContact: "help@example.test", SecurityContact: "cert@example.test",
		ValidFor: 7 * 24 * time.Hour, ValidFrom: testNow,
	}
	return cfg
}

func parsed(t *testing.T, raw []byte) *etree.Element {
	t.Helper()
	return fragment(t, string(raw))
}

// outline is an element's tree: names, attributes and text, without certificates.
func outline(el *etree.Element, indent string) string {
	var line strings.Builder
	line.WriteString(indent + el.FullTag())
	for _, a := range el.Attr {
		if !isDeclaration(a) {
			line.WriteString(" " + a.FullKey() + "=" + a.Value)
		}
	}
	if text := strings.TrimSpace(el.Text()); text != "" {
		line.WriteString(": " + strings.TrimPrefix(text[:min(len(text), 60)], "MII"))
	}
	line.WriteString("\n")
	for _, child := range el.ChildElements() {
		if child.Tag == "KeyInfo" {
			continue
		}
		line.WriteString(outline(child, indent+"  "))
	}
	return line.String()
}

func TestOurMetadataInFull(t *testing.T) {
	cfg := fullConfig(t)
	raw := newTestSP(t, cfg).Metadata()
	want := `md:EntityDescriptor entityID=https://door.example.test/saml/metadata validUntil=2026-11-29T12:00:00Z
  md:Extensions
    mdattr:EntityAttributes
      saml:Attribute Name=urn:oasis:names:tc:SAML:profiles:subject-id:req NameFormat=urn:oasis:names:tc:SAML:2.0:attrname-format:uri
        saml:AttributeValue: none
  md:SPSSODescriptor AuthnRequestsSigned=true WantAssertionsSigned=true protocolSupportEnumeration=urn:oasis:names:tc:SAML:2.0:protocol
    md:Extensions
      mdui:UIInfo
        mdui:DisplayName xml:lang=en: Tools <of> Example
        mdui:Description xml:lang=en: Internal tools & pages
        mdui:InformationURL xml:lang=en: https://example.test/tools?a=b&c=d
        mdui:PrivacyStatementURL xml:lang=en: https://example.test/privacy
        mdui:Logo height=60 width=80: https://example.test/logo.png
    md:KeyDescriptor use=signing
    md:KeyDescriptor use=signing
    md:KeyDescriptor use=encryption
      md:EncryptionMethod Algorithm=http://www.w3.org/2009/xmlenc11#aes256-gcm
      md:EncryptionMethod Algorithm=http://www.w3.org/2009/xmlenc11#aes128-gcm
      md:EncryptionMethod Algorithm=http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p
      md:EncryptionMethod Algorithm=http://www.w3.org/2009/xmlenc11#rsa-oaep
    md:SingleLogoutService Binding=urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect Location=https://door.example.test/saml/slo
    md:SingleLogoutService Binding=urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST Location=https://door.example.test/saml/slo
    md:NameIDFormat: urn:oasis:names:tc:SAML:2.0:nameid-format:persistent
    md:AssertionConsumerService Binding=urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST Location=https://door.example.test/saml/acs index=0 isDefault=true
  md:Organization
    md:OrganizationName xml:lang=en: Example plc
    md:OrganizationDisplayName xml:lang=en: Example plc
    md:OrganizationURL xml:lang=en: https://example.test/
  md:ContactPerson contactType=technical
    md:EmailAddress: mailto:saml@example.test
  md:ContactPerson contactType=support
    md:EmailAddress: mailto:help@example.test
  md:ContactPerson contactType=other remd:contactType=http://refeds.org/metadata/contactType/security
    md:GivenName: Security
    md:EmailAddress: mailto:cert@example.test
`
	root := parsed(t, raw)
	if diff := cmp.Diff(want, outline(root, "")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var certs []string
	for _, el := range root.FindElements(".//X509Certificate") {
		certs = append(certs, el.Text())
	}
	if diff := cmp.Diff([]string{encode(cfg.Certificate.Raw), encode(cfg.Published[0].Raw), encode(cfg.Decryption[0].Certificate.Raw)}, certs); diff != "" {
		t.Errorf("certificates (-want +got):\n%s", diff)
	}
	if problems := schemaProblems(t, raw); problems != "" {
		t.Errorf("against the schema: %s\n%s", problems, raw)
	}
	if again := newTestSP(t, cfg).Metadata(); !bytes.Equal(raw, again) {
		t.Error("the same configuration gives other bytes")
	}
}

// TestMetadataSaysWhichIdentifierIsWanted: only one that may become a user name.
func TestMetadataSaysWhichIdentifierIsWanted(t *testing.T) {
	for want, attributes := range map[string]Attributes{
		"none":        {User: []string{"mail", NameIDAttribute}, Email: []string{subjectID}},
		"subject-id":  {User: []string{"mail", subjectID}},
		"pairwise-id": {User: []string{pairwiseID}},
		"any":         {User: []string{pairwiseID, "mail", subjectID}},
	} {
		cfg := fullConfig(t)
		cfg.Attributes = attributes
		root := parsed(t, newTestSP(t, cfg).Metadata())
		el := root.FindElement("./Extensions/EntityAttributes/Attribute[@Name='urn:oasis:names:tc:SAML:profiles:subject-id:req']/AttributeValue")
		if el == nil || el.Text() != want {
			t.Errorf("%v: the metadata has %v, want %q", attributes.User, el, want)
		}
	}
}

func TestOurMetadataIsOfTheSchema(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"the least":     func(c *Config) { *c = testConfig(t, newTestIdP(t, "rsa-idp")) },
		"signed":        func(c *Config) { c.Description.Signed = true },
		"a name":        func(c *Config) { c.Description = Description{DisplayName: "Tools"} },
		"an identifier": func(c *Config) { c.Attributes.User, c.Description.Signed = []string{subjectID}, true },
		"privacy":       func(c *Config) { c.Description = Description{PrivacyStatementURL: "https://example.test/privacy"} },
		"a contact":     func(c *Config) { c.Description = Description{SecurityContact: "cert@example.test"} },
	} {
		cfg := fullConfig(t)
		edit(&cfg)
		raw := newTestSP(t, cfg).Metadata()
		if problems := schemaProblems(t, raw); problems != "" {
			t.Errorf("%s: %s\n%s", name, problems, raw)
		}
	}
}

func TestOurMetadataSigned(t *testing.T) {
	for _, keyName := range []string{"rsa-sp", "p256-sp"} {
		t.Run(keyName, func(t *testing.T) {
			cfg := fullConfig(t)
			cfg.Description.Signed = true
			cfg.useKey(t, keyName)
			sp := newTestSP(t, cfg)
			raw := sp.Metadata()
			if out, ok := xmlsecVerify(t, raw, cfg.Certificate, "EntityDescriptor"); !ok {
				t.Errorf("xmlsec1 does not verify it: %s\n%s", out, raw)
			}
			if out, ok := xmlsecVerify(t, bytes.Replace(raw, []byte(testSLO), []byte("https://evil.example.test/slo"), 1), cfg.Certificate, "EntityDescriptor"); ok {
				t.Errorf("xmlsec1 verifies it with another address: %s", out)
			}
			if first := parsed(t, raw).ChildElements()[0]; first.Tag != "Signature" {
				t.Errorf("the first element is %s", first.Tag)
			}
			if !bytes.Equal(raw, sp.Metadata()) {
				t.Error("the second time it is another one")
			}
			if again := newTestSP(t, cfg).Metadata(); keyName == "rsa-sp" && !bytes.Equal(raw, again) {
				t.Error("the same configuration gives other bytes")
			}
			if _, err := signedMetadata(raw, cfg.Certificate, cfg.Now); err != nil {
				t.Errorf("our own verifier: %v", err)
			}
		})
	}
}

func TestDescriptionRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		break_ func(*Description)
		want   string
	}{
		"name with a line break":       {func(d *Description) { d.DisplayName = "a\nb" }, `DisplayName "a\nb": value "a\nb" has the character U+000A`},
		"text that is too long":        {func(d *Description) { d.Text = strings.Repeat("x", 257) }, "at most 256 are allowed"},
		"http information":             {func(d *Description) { d.InformationURL = "http://example.test/" }, `InformationURL "http://example.test/": expected an https address`},
		"privacy as a script":          {func(d *Description) { d.PrivacyStatementURL = "javascript:alert(1)" }, `PrivacyStatementURL "javascript:alert(1)": expected an https address`},
		"information without a host":   {func(d *Description) { d.InformationURL = "https:///x" }, `InformationURL "https:///x": expected an https address`},
		"logo in the address":          {func(d *Description) { d.LogoURL = "data:image/png;base64,AAAA" }, `LogoURL "data:image/png;base64,AAAA": expected an https address`},
		"organization with a password": {func(d *Description) { d.OrganizationURL = "https://a:b@example.test/" }, "without user information"},
		"two technical contacts":       {func(d *Description) { d.TechnicalContact = "a@example.test,b@example.test" }, `TechnicalContact "a@example.test,b@example.test": expected one plain e-mail address`},
		"contact as mailto":            {func(d *Description) { d.SupportContact = "mailto:a@example.test" }, `SupportContact "mailto:a@example.test": expected one plain e-mail address`},
		"contact with a name":          {func(d *Description) { d.SecurityContact = "CERT <cert@example.test>" }, "SecurityContact"},
		"contact with a subject":       {func(d *Description) { d.SecurityContact = "cert@example.test?subject=x" }, "SecurityContact"},
		"organization without address": {func(d *Description) { d.OrganizationURL = "" }, `Organization "Example plc" with OrganizationURL "": expected both or neither`},
		"address without organization": {func(d *Description) { d.Organization = "" }, "expected both or neither"},
		"logo without a size":          {func(d *Description) { d.LogoWidth = 0 }, "LogoWidth 0 and LogoHeight 60: expected a width and a height of 1 to 4096"},
		"logo of a negative size":      {func(d *Description) { d.LogoHeight = -1 }, "LogoHeight -1"},
		"size without a logo":          {func(d *Description) { d.LogoURL = "" }, `LogoURL "" with LogoWidth 80`},
		"valid for a minute":           {func(d *Description) { d.ValidFor = time.Minute }, "ValidFor 1m0s: expected 1h0m0s or more"},
		"valid for less than nothing":  {func(d *Description) { d.ValidFor = -time.Hour }, "ValidFor -1h0m0s"},
		"valid from no instant":        {func(d *Description) { d.ValidFrom = time.Time{} }, "expected both or neither"},
		"valid from an instant alone":  {func(d *Description) { d.ValidFor = 0 }, "expected both or neither"},
	} {
		cfg := fullConfig(t)
		tt.break_(&cfg.Description)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "description of ourselves: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want it to say %q", name, err, tt.want)
		}
	}
}
