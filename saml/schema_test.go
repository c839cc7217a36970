package saml

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// schemas are where Debian has the schemas of SAML and of what it is made of.
const (
	openSAML   = "/usr/share/xml/opensaml/"
	xmlTooling = "/usr/share/xml/xmltooling/"
)

// schemaProblems holds a document against OASIS's schemas, by xmllint. Empty: none.
func schemaProblems(t *testing.T, raw []byte) string {
	t.Helper()
	dir := t.TempDir()
	var catalog, imports strings.Builder
	for address, file := range map[string]string{
		"http://www.w3.org/TR/2002/REC-xmldsig-core-20020212/xmldsig-core-schema.xsd": xmlTooling + "xmldsig-core-schema.xsd",
		"http://www.w3.org/TR/2002/REC-xmlenc-core-20021210/xenc-schema.xsd":          xmlTooling + "xenc-schema.xsd",
		"http://www.w3.org/2001/xml.xsd":                                              xmlTooling + "xml.xsd",
	} {
		fmt.Fprintf(&catalog, `<system systemId="%s" uri="file://%s"/><uri name="%s" uri="file://%s"/>`, address, file, address, file)
	}
	for namespace, file := range map[string]string{
		nsMetadata:         openSAML + "saml-schema-metadata-2.0.xsd",
		nsProtocol:         openSAML + "saml-schema-protocol-2.0.xsd",
		nsMDUI:             openSAML + "sstc-saml-metadata-ui-v1.0.xsd",
		nsEntityAttributes: openSAML + "sstc-metadata-attr.xsd",
	} {
		fmt.Fprintf(&imports, `<xs:import namespace="%s" schemaLocation="%s"/>`, namespace, file)
	}
	write(t, filepath.Join(dir, "catalog.xml"), []byte(`<catalog xmlns="urn:oasis:names:tc:entity:xmlns:xml:catalog">`+catalog.String()+`</catalog>`))
	write(t, filepath.Join(dir, "all.xsd"), []byte(`<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">`+imports.String()+`</xs:schema>`))
	write(t, filepath.Join(dir, "document.xml"), raw)
	cmd := exec.CommandContext(t.Context(), "xmllint", "--nonet", "--noout", "--schema", filepath.Join(dir, "all.xsd"), filepath.Join(dir, "document.xml"))
	cmd.Env = []string{"PATH=/usr/bin:/bin", "XML_CATALOG_FILES=" + filepath.Join(dir, "catalog.xml")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out)
	}
	return ""
}

// TestSchemasFindFaults: the schemas are really read.
func TestSchemasFindFaults(t *testing.T) {
	raw := string(newTestSP(t, fullConfig(t)).Metadata())
	for _, fault := range []string{`index="0"`, `entityID="`, `mdui:Logo`, `mdattr:EntityAttributes`, `<ds:X509Data>`} {
		broken := strings.ReplaceAll(raw, fault, strings.Replace(fault, fault[:1], fault[:1]+"x", 1))
		if broken == raw || schemaProblems(t, []byte(broken)) == "" {
			t.Errorf("no fault is found when %s is spoilt", fault)
		}
	}
}

// TestRequestsAreOfTheSchema: each kind of request that we make.
func TestRequestsAreOfTheSchema(t *testing.T) {
	cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.NameIDFormat = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	cfg.IdPMetadata = postMetadata(t, false)
	ask := SignOn{ForceAuthn: true, AuthnContext: AuthnContext{Classes: []string{classPassword, classMFA}}}
	for _, binding := range []Binding{BindingRedirect, BindingPost} {
		cfg.RequestBinding = binding
		m, err := newTestSP(t, cfg).Begin(ask)
		if err != nil {
			t.Fatal(err)
		}
		root := requestOf(t, cfg, m)
		raw, err := writeElement(root)
		if err != nil {
			t.Fatal(err)
		}
		if problems := schemaProblems(t, raw); problems != "" {
			t.Errorf("binding %d: %s\n%s", binding, problems, raw)
		}
	}
}
