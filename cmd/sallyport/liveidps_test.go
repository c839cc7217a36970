package main

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// testSeveralIdPs: an identity provider that is down keeps nobody from signing in
// with another, nor the configuration and the keys from being changed; it is used
// when it is there, and is not taken for another one.
func testSeveralIdPs(t *testing.T, s *stand) {
	staff, partners := idpMetadata(t), strings.ReplaceAll(idpMetadata(t), "idp.example.com", "idp.partner.test")
	var published atomic.Value // "" for nothing
	published.Store("")
	server, cfg := publisher(t, func(w http.ResponseWriter, _ *http.Request) {
		text, _ := published.Load().(string)
		if text == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(text))
	})
	g := &liveGatewayTest{stand: s, https: free(t), admin: free(t), saml: maps.Clone(s.saml), place: "cases/several"}
	delete(g.saml, fieldIdPMetadata)
	g.saml[fieldIdPMetadata+"_staff"] = staff
	g.writeKV(t, g.place+"/saml", g.saml)
	g.writeKV(t, g.place+"/session", s.session)
	configure := func(partner, more string) {
		g.configure(t, g.yaml(fmt.Sprintf(`saml:
  idps:
    - {name: staff, title: Staff, user_domains: [example.com]}
    - {name: partners, user_domains: [partner.test], metadata_url: %q, metadata_ca_file: %q, unsafe_metadata_unsigned: true%s}
`, server.URL+"/metadata", cfg.SAML.MetadataCAFile, partner)+more))
	}
	route := strings.Replace(notesRoute, "allow:", "idps: [staff, partners], allow:", 1)

	configure("", "")
	g.p = s.startGateway(t, caseRole, s.introduce(t, caseRole).file, "vault:secret/"+g.place+"/gateway")
	g.told(t, "idp_metadata partners: it is out: ", "status 503")
	if out := g.p.err.String(); !strings.Contains(out, `"event":"idp_out","idp":"partners"`) {
		t.Errorf("the start did not say who is out:\n%s", out)
	}
	configure("", route)
	g.inUse(t, g.place+"/gateway", "2")
	g.writeKV(t, g.place+"/saml", with(g.saml, fieldIdPMetadata+"_spare", staff))
	g.inUse(t, g.place+"/saml", "2")

	published.Store(staff)
	g.p.signal(t, syscall.SIGHUP)
	g.told(t, "identity provider's metadata (partners)", "refused", "are both")
	published.Store(partners)
	g.p.signal(t, syscall.SIGHUP)
	g.inUse(t, "metadata (partners)", versionOfText([]byte(partners)))
	g.p.ready(t, g.admin)
	if found := fmt.Sprint(g.idpCertificates(t)); !strings.Contains(found, "staff ") || !strings.Contains(found, "partners ") {
		t.Errorf("certificates %s, want one of each", found)
	}

	published.Store("")
	g.p.signal(t, syscall.SIGHUP)
	g.told(t, "identity provider's metadata (partners)", "status 503")
	configure("", "")
	g.inUse(t, g.place+"/gateway", "3")
	configure(", idp_entity_id: https://idp.partner.test/metadata", "")
	g.refuses(t, g.place+"/gateway", "4", `saml.idps[partners].idp_entity_id changes from "" to`)
	if _, body, err := get(g.admin, tracesPath); err != nil || !strings.Contains(body, `"traces": []`) {
		t.Errorf("traces: %q, %v", body, err)
	}
	s.checkNoSecret(t, g.p)
}

// testEncryptionKeys: a pair for encryption must be whole, and of RSA.
func testEncryptionKeys(t *testing.T, s *stand) {
	g := &liveGatewayTest{stand: s, https: free(t), admin: free(t), saml: maps.Clone(s.saml), place: "cases/encryption"}
	g.writeKV(t, g.place+"/saml", g.saml)
	g.writeKV(t, g.place+"/session", s.session)
	g.configure(t, g.yaml(""))
	g.p = s.startGateway(t, caseRole, s.introduce(t, caseRole).file, "vault:secret/"+g.place+"/gateway")
	g.p.ready(t, g.admin)

	elliptic := ellipticPair(t)
	half := with(g.saml, fieldSPEncryptionKey, g.saml[fieldSPKey])
	g.writeKV(t, g.place+"/saml", half)
	g.refuses(t, g.place+"/saml", "2", `field "sp_encryption_public_cert" of version 2`)
	g.writeKV(t, g.place+"/saml", with(half, fieldSPEncryptionCert, elliptic.certificate))
	g.refuses(t, g.place+"/saml", "3", "the certificate does not belong to the private key")
	g.writeKV(t, g.place+"/saml", with(with(g.saml, fieldSPEncryptionKey, elliptic.key), fieldSPEncryptionCert, elliptic.certificate))
	g.refuses(t, g.place+"/saml", "4", "a key for encryption is not an RSA key")
	g.writeKV(t, g.place+"/saml", with(with(g.saml, fieldSPEncryptionKey+suffixNext, g.saml[fieldSPKey]), fieldSPEncryptionCert+suffixNext, g.saml[fieldSPCert]))
	g.refuses(t, g.place+"/saml", "5", `field "sp_encryption_private_key" of version 5`)
	g.writeKV(t, g.place+"/saml", with(with(g.saml, fieldSPKey, elliptic.key), fieldSPCert, elliptic.certificate))
	g.inUse(t, g.place+"/saml", "6")
	g.writeKV(t, g.place+"/saml", with(half, fieldSPEncryptionCert, g.saml[fieldSPCert]))
	g.inUse(t, g.place+"/saml", "7")
	s.checkNoSecret(t, g.p)
}
