package saml

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/russellhaering/gosaml2/types"
)

func TestOurMetadata(t *testing.T) {
	cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.EntityID = `https://door.example.test/?a="b"&c=<d>`
	raw := newTestSP(t, cfg).Metadata()
	if again := newTestSP(t, cfg).Metadata(); !bytes.Equal(raw, again) {
		t.Error("the same configuration gives other bytes")
	}
	if err := checkStream(raw, responseLimits()); err != nil {
		t.Errorf("our own metadata does not pass our own gate: %v", err)
	}

	var got types.EntityDescriptor
	if err := xml.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	role := got.SPSSODescriptor
	if got.EntityID != cfg.EntityID || !role.AuthnRequestsSigned || !role.WantAssertionsSigned || role.ProtocolSupportEnumeration != nsProtocol {
		t.Errorf("entity %q, role %+v", got.EntityID, role)
	}
	want := []types.IndexedEndpoint{{Binding: bindingPost, Location: testACS}}
	if diff := cmp.Diff(want, role.AssertionConsumerServices); diff != "" {
		t.Errorf("consumer services (-want +got):\n%s", diff)
	}
	if len(role.KeyDescriptors) != 1 || role.KeyDescriptors[0].Use != "signing" || len(role.SingleLogoutServices) != 0 {
		t.Errorf("keys %+v, logout %+v", role.KeyDescriptors, role.SingleLogoutServices)
	}
	der, err := base64.StdEncoding.DecodeString(role.KeyDescriptors[0].KeyInfo.X509Data.X509Certificates[0].Data)
	if err != nil || !bytes.Equal(der, cfg.Certificate.Raw) {
		t.Errorf("certificate differs (%v)", err)
	}
}

// metadataOf is testMetadata with something replaced.
func metadataOf(t *testing.T, pairs ...string) []byte {
	t.Helper()
	base := string(testMetadata(newTestIdP(t, "rsa-idp").cert))
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(base, pairs[i]) {
			t.Fatalf("fixture has no %q", pairs[i])
		}
	}
	return []byte(strings.NewReplacer(pairs...).Replace(base))
}

func TestParseIdPMetadata(t *testing.T) {
	idp, second := newTestIdP(t, "rsa-idp"), newTestIdP(t, "p256-idp")
	fingerprints := func(certs ...*x509.Certificate) []string {
		var all []string
		for _, cert := range certs {
			all = append(all, fingerprint(cert.Raw))
		}
		return all
	}
	entities := func(inner ...string) []byte {
		return []byte(`<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `">` + strings.Join(inner, "") + `</md:EntitiesDescriptor>`)
	}
	service := `<md:EntityDescriptor entityID="https://sp.example.test/"><md:SPSSODescriptor protocolSupportEnumeration="` + nsProtocol + `"/></md:EntityDescriptor>`
	one := string(metadataOf(t))
	for name, tt := range map[string]struct {
		raw   []byte
		certs []string
		sso   string
	}{
		"one certificate":           {raw: testMetadata(idp.cert), certs: fingerprints(idp.cert)},
		"two certificates":          {raw: testMetadata(idp.cert, second.cert), certs: fingerprints(idp.cert, second.cert)},
		"one certificate twice":     {raw: testMetadata(idp.cert, idp.cert), certs: fingerprints(idp.cert)},
		"B9 use absent":             {raw: metadataOf(t, ` use="signing"`, ""), certs: fingerprints(idp.cert)},
		"aggregate":                 {raw: entities(service, one), certs: fingerprints(idp.cert)},
		"aggregate in an aggregate": {raw: entities(service, string(entities(one))), certs: fingerprints(idp.cert)},
		"comments and declaration": {raw: append([]byte("<?xml version='1.0' encoding='utf-8'?>\n<!-- ours -->\n"), one...),
			certs: fingerprints(idp.cert)},
		"certificate in lines": {raw: metadataOf(t, "<ds:X509Certificate>", "<ds:X509Certificate>\n      "), certs: fingerprints(idp.cert)},
		"query in the address": {raw: metadataOf(t, testSSO, testSSO+"?tenant=1"), certs: fingerprints(idp.cert), sso: testSSO + "?tenant=1"},
		"redirect after another binding": {raw: metadataOf(t, "<md:SingleSignOnService",
			`<md:SingleSignOnService Binding="`+bindingPost+`" Location="https://idp.example.test/post"/><md:SingleSignOnService`), certs: fingerprints(idp.cert)},
		"F9 http for a binding that we do not use": {raw: metadataOf(t, "<md:SingleSignOnService",
			`<md:SingleSignOnService Binding="`+bindingPost+`" Location="http://idp.example.test/post"/><md:SingleSignOnService`), certs: fingerprints(idp.cert)},
		"chain behind the certificate": {raw: metadataOf(t, "</ds:X509Certificate>",
			"</ds:X509Certificate><ds:X509Certificate>"+base64.StdEncoding.EncodeToString(second.cert.Raw)+"</ds:X509Certificate>"), certs: fingerprints(idp.cert)},
		"valid until later": {raw: metadataOf(t, "<md:IDPSSODescriptor", `<md:IDPSSODescriptor validUntil="2026-11-23T00:00:00Z"`), certs: fingerprints(idp.cert)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseIdPMetadata(tt.raw, metadataChoice{now: testNow})
			if err != nil {
				t.Fatal(err)
			}
			if tt.sso == "" {
				tt.sso = testSSO
			}
			if got.entityID != testIdPID || got.ssoURL != tt.sso {
				t.Errorf("entity %q at %q", got.entityID, got.ssoURL)
			}
			if diff := cmp.Diff(tt.certs, fingerprints(got.certificates...)); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseIdPMetadataRefuses(t *testing.T) {
	weak := newTestIdP(t, "rsa1024-idp")
	one := string(metadataOf(t))
	var nine []*x509.Certificate
	for i := range 9 {
		nine = append(nine, testCertificate(t, testKey(t, "p256-idp"), time.Duration(i)*time.Hour))
	}
	for name, tt := range map[string]struct {
		raw  []byte
		want string // part of the error
	}{
		"empty":                           {nil, "without an element"},
		"not XML":                         {[]byte("hello"), "text outside the root"},
		"E1 document type":                {[]byte("<!DOCTYPE x>" + one), "directive"},
		"too deep":                        {[]byte(strings.Repeat("<a>", 100)), "nested deeper than 32"},
		"of another kind":                 {[]byte(`<html/>`), "expected an EntityDescriptor"},
		"of another namespace":            {metadataOf(t, nsMetadata, "urn:x:y"), "expected an EntityDescriptor"},
		"service provider":                {metadataOf(t, "IDPSSODescriptor", "SPSSODescriptor"), "0 IDPSSODescriptor elements"},
		"SAML 1 alone":                    {metadataOf(t, nsProtocol, "urn:oasis:names:tc:SAML:1.1:protocol"), "0 IDPSSODescriptor elements"},
		"F10 two identity providers":      {[]byte(`<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `">` + one + one + `</md:EntitiesDescriptor>`), "2 IDPSSODescriptor elements"},
		"F10 two roles":                   {metadataOf(t, "</md:EntityDescriptor>", `<md:IDPSSODescriptor protocolSupportEnumeration="`+nsProtocol+`"/></md:EntityDescriptor>`), "2 IDPSSODescriptor elements"},
		"no entity ID":                    {metadataOf(t, testIdPID, ""), "entityID of 0 characters"},
		"entity ID with a line break":     {metadataOf(t, testIdPID, testIdPID+"&#xa;ready"), "cannot be seen"},
		"entity ID that steers terminals": {metadataOf(t, testIdPID, testIdPID+"&#x9b;2J"), "cannot be seen"},
		"entity ID with a blank":          {metadataOf(t, testIdPID, testIdPID+" "), "white space"},
		"F10 expired":                     {metadataOf(t, "<md:IDPSSODescriptor", `<md:IDPSSODescriptor validUntil="2026-11-22T12:00:00Z"`), "the metadata expired"},
		"F10 expired around it":           {metadataOf(t, `entityID=`, `validUntil="2020-01-01T00:00:00Z" entityID=`), "the metadata expired: validUntil of EntityDescriptor"},
		"validity that cannot be read":    {metadataOf(t, `entityID=`, `validUntil="soon" entityID=`), `validUntil "soon"`},
		"F9 http":                         {metadataOf(t, testSSO, "http://idp.example.test/sso"), `scheme "http", expected https`},
		"F9 javascript":                   {metadataOf(t, testSSO, "javascript:alert(1)"), `scheme "javascript"`},
		"F9 user information":             {metadataOf(t, testSSO, "https://door.example.test@evil.test/"), "user information"},
		"F9 no host":                      {metadataOf(t, testSSO, "https:///sso"), "no host"},
		"F9 fragment":                     {metadataOf(t, testSSO, testSSO+"#x"), "fragment"},
		"F9 a request of its own":         {metadataOf(t, testSSO, testSSO+"?SAMLRequest=x"), "SAMLRequest of its own"},
		"F9 not a URL":                    {metadataOf(t, testSSO, "https://idp.example.test/%zz"), "not a URL"},
		"F9 query that cannot be read":    {metadataOf(t, testSSO, testSSO+"?a;b"), "query cannot be read"},
		"neither redirect nor POST":       {metadataOf(t, bindingRedirect, "urn:oasis:names:tc:SAML:2.0:bindings:SOAP"), "no SingleSignOnService"},
		"B9 for encryption alone":         {metadataOf(t, `use="signing"`, `use="encryption"`), "0 signing certificates"},
		"B6 RSA of 1024 bits":             {testMetadata(weak.cert), "signing certificate 1: RSA key of 1024 bits"},
		"B6 P-224":                        {testMetadata(newTestIdP(t, "p224-idp").cert), "elliptic curve of 224 bits"},
		"one weak among strong":           {testMetadata(newTestIdP(t, "rsa-idp").cert, weak.cert), "signing certificate 2"},
		"too many certificates":           {testMetadata(nine...), "9 signing certificates"},
		"certificate that is not base64":  {metadataOf(t, "<ds:X509Certificate>", "<ds:X509Certificate>%"), "decoding base64"},
		"certificate that is not one":     {metadataOf(t, "<ds:X509Certificate>MII", "<ds:X509Certificate>AAA"), "parsing X.509"},
		"KeyInfo without any certificate": {metadataOf(t, "X509Certificate", "X509SKI"), "0 signing certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseIdPMetadata(tt.raw, metadataChoice{now: testNow})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want it to say %q", err, tt.want)
			}
		})
	}
}

// TestADFSMetadata: hundreds of elements that each declare their namespace.
func TestADFSMetadata(t *testing.T) {
	claims := strings.Repeat(`<auth:ClaimType xmlns:auth="http://docs.oasis-open.org/wsfed/authorization/200706" Uri="urn:x"><auth:DisplayName>x</auth:DisplayName></auth:ClaimType>`, 150)
	raw := metadataOf(t, "<md:IDPSSODescriptor", `<md:RoleDescriptor xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="fed:X">`+claims+`</md:RoleDescriptor><md:IDPSSODescriptor`)
	if _, err := parseIdPMetadata(raw, metadataChoice{now: testNow}); err != nil {
		t.Error(err)
	}
}

func TestIdPInfo(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	old := testCertificate(t, idp.key, -365*24*time.Hour)
	cfg := testConfig(t, idp)
	cfg.IdPMetadata = []byte(strings.Replace(string(testMetadata(idp.cert, old)), "entityID=", `validUntil="2026-12-01T00:00:00Z" entityID=`, 1))
	want := IdPInfo{
		EntityID: testIdPID, SSOURL: testSSO, ValidUntil: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
		Certificates: []IdPCertificate{
			{Fingerprint: fingerprint(idp.cert.Raw), KeyHash: keyHash(idp.cert), NotBefore: idp.cert.NotBefore, NotAfter: idp.cert.NotAfter},
			{Fingerprint: fingerprint(old.Raw), KeyHash: keyHash(old), NotBefore: old.NotBefore, NotAfter: old.NotAfter},
		},
	}
	if diff := cmp.Diff(want, newTestSP(t, cfg).IdP()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMetadataEndsByTheSkew: a clock that is ahead by it takes no metadata away.
func TestMetadataEndsByTheSkew(t *testing.T) {
	cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.IdPMetadata = []byte(strings.Replace(string(cfg.IdPMetadata), "entityID=", `validUntil="2026-11-22T12:00:00Z" entityID=`, 1))
	for ahead, good := range map[time.Duration]bool{testSkew - 1: true, testSkew: false} {
		cfg.Now = func() time.Time { return testNow.Add(ahead) }
		if _, err := New(cfg); (err == nil) != good {
			t.Errorf("%s after its end: %v", ahead, err)
		}
	}
}

// TestMetadataExpiresWhileInUse: what was fresh at the start is not for ever, give or
// take the skew.
func TestMetadataExpiresWhileInUse(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	now := testNow
	cfg := testConfig(t, idp)
	cfg.Now = func() time.Time { return now }
	cfg.IdPMetadata = []byte(strings.Replace(string(cfg.IdPMetadata), "entityID=", `validUntil="2026-11-22T12:01:00Z" entityID=`, 1))
	sp := newTestSP(t, cfg)
	post := Post{Response: attack{}.build(t, idp)}

	end := testNow.Add(time.Minute)
	now = end.Add(testSkew)
	if _, err := sp.Verify(t.Context(), post, Expectation{RequestID: testRequestID}); codeOf(t, err) != CodeIdPMetadataExpired {
		t.Errorf("verifying: %v, want %s", err, CodeIdPMetadataExpired)
	}
	if _, err := sp.Begin(SignOn{RelayState: ""}); err == nil {
		t.Error("a sign-on was begun with expired metadata")
	}
	now = end.Add(testSkew - time.Nanosecond)
	if _, err := sp.Verify(t.Context(), post, Expectation{RequestID: testRequestID}); err != nil {
		t.Errorf("verifying while it is valid: %v", err)
	}
}
