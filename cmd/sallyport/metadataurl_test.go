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

// testMetadataFromURL has the identity provider publish its metadata, well and
// badly, while a gateway runs, and before one starts.
func testMetadataFromURL(t *testing.T, s *stand) {
	var document atomic.Value // what is published; "" for nothing
	document.Store(idpMetadata(t))
	server, cfg := publisher(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := document.Load().(string)
		if text == "" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	})
	saml := func(more string) string {
		return fmt.Sprintf("saml: {metadata_url: %q, metadata_ca_file: %q%s}\n", server.URL+"/metadata", cfg.SAML.MetadataCAFile, more)
	}
	g := &liveGatewayTest{stand: s, https: free(t), admin: free(t), saml: with(s.saml, fieldIdPMetadata, ""), place: "cases/metadata"}
	g.writeKV(t, g.place+"/saml", g.saml)
	g.writeKV(t, g.place+"/session", s.session)

	file := func(more string) string {
		return writeFile(t, t.TempDir(), "gateway.yaml", g.yaml(saml(more)))
	}
	for name, tt := range map[string]struct {
		fields map[string]string
		file   string
		code   int
		says   string
	}{
		"no signer is known":      {g.saml, file(""), exitBadSecret, `field "idp_metadata_signer" of version`},
		"it is not signed":        {with(g.saml, fieldIdPSigner, otherCertificate(t)), file(""), exitBadSecret, "the document is not signed"},
		"the signer is no PEM":    {with(g.saml, fieldIdPSigner, "x"), file(""), exitBadSecret, "it is not one certificate in PEM"},
		"a key in place of it":    {with(g.saml, fieldIdPSigner, g.saml[fieldSPKey]), file(""), exitBadSecret, "it is not one certificate in PEM"},
		"nothing is there to get": {g.saml, file(", unsafe_metadata_unsigned: true"), exitFailure, "hint: check saml.metadata_url"},
	} {
		if tt.code == exitFailure {
			document.Store("")
		}
		place := g.place + "/" + strings.ReplaceAll(name, " ", "-")
		g.writeKV(t, place+"/saml", tt.fields)
		config := writeFile(t, t.TempDir(), "gateway.yaml", strings.ReplaceAll(read(t, tt.file), g.place+"/saml", place+"/saml"))
		p := s.startGateway(t, caseRole, s.introduce(t, caseRole).file, config)
		if code := p.wait(t); code != tt.code || !strings.Contains(p.err.String(), tt.says) {
			t.Errorf("%s: exit code %d, expected %d and %q\n%s", name, code, tt.code, tt.says, p.err.String())
		}
		s.checkNoSecret(t, p)
		document.Store(idpMetadata(t))
	}

	first := document.Load().(string)
	g.p = s.startGateway(t, caseRole, s.introduce(t, caseRole).file, file(", unsafe_metadata_unsigned: true"))
	g.p.ready(t, g.admin)
	publish := func(text string) { document.Store(text); g.p.signal(t, syscall.SIGHUP) }
	before := g.idpCertificates(t)
	publish("<EntityDescriptor/>")
	g.told(t, "identity provider's metadata: version sha256:", "refused")
	publish("")
	g.told(t, "identity provider's metadata: ", "status 404")
	if now := g.idpCertificates(t); !maps.Equal(now, before) {
		t.Errorf("what could not be used changed what is trusted: %v in place of %v", now, before)
	}
	publish(idpMetadata(t))
	g.p.eventually(t, "the new metadata is in use", func() (string, bool) {
		now := g.idpCertificates(t)
		return fmt.Sprint(now), len(now) == 1 && !maps.Equal(now, before)
	})
	publish(first)
	g.p.eventually(t, "the first metadata is in use again", func() (string, bool) {
		now := g.idpCertificates(t)
		return fmt.Sprint(now), maps.Equal(now, before)
	})
	s.checkNoSecret(t, g.p)
}

// idpCertificates are those of the identity provider that the gateway trusts.
func (g *liveGatewayTest) idpCertificates(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, a := range g.status(t).Artefacts {
		if a.Kind == kindIdPCert {
			found[a.Name] = true
		}
	}
	return found
}

// told waits until /readyz has a remark with all of this in it.
func (g *liveGatewayTest) told(t *testing.T, parts ...string) {
	t.Helper()
	g.p.eventually(t, fmt.Sprintf("/readyz tells of %q", parts), func() (string, bool) {
		_, body, err := get(g.admin, "/readyz")
		for line := range strings.Lines(body) {
			all := true
			for _, part := range parts {
				all = all && strings.Contains(line, part)
			}
			if all {
				return line, true
			}
		}
		return body + fmt.Sprint(err), false
	})
}
