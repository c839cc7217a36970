package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// testChangesPastExpiredMetadata: an identity provider whose metadata has expired
// keeps nobody from closing a route; nor does a secret that was removed, written
// anew, and has the same number again.
func testChangesPastExpiredMetadata(t *testing.T, s *stand) {
	g := &liveGatewayTest{stand: s, https: free(t), admin: free(t), saml: maps.Clone(s.saml), place: "cases/expired"}
	end := time.Now().Add(15 * time.Second).UTC()
	g.saml[fieldIdPMetadata] = strings.Replace(s.metadata, `entityID="`, `validUntil="`+end.Format(time.RFC3339)+`" entityID="`, 1)
	g.writeKV(t, g.place+"/saml", g.saml)
	g.writeKV(t, g.place+"/session", s.session)
	g.configure(t, g.yaml(notesRoute))
	g.p = s.startGateway(t, caseRole, s.introduce(t, caseRole).file, "vault:secret/"+g.place+"/gateway")
	g.p.ready(t, g.admin)

	g.call(t, "DELETE", "secret/metadata/"+g.place+"/gateway", nil, nil)
	g.configure(t, g.yaml(""))
	g.p.eventually(t, "the secret that was written anew is in use", func() (string, bool) {
		status, _, err := g.ask(t, notesHost, "/")
		return fmt.Sprint(status, err), err != nil
	})
	g.p.eventually(t, "the metadata has expired", func() (string, bool) {
		_, body, err := get(g.admin, "/readyz")
		return body + fmt.Sprint(err), time.Now().After(end) && strings.Contains(body, kindIdPMetadata)
	})
	g.configure(t, g.yaml(notesRoute))
	g.inUse(t, g.place+"/gateway", "2")
	g.writeKV(t, g.place+"/session", with(g.session, fieldNextKey, "bmV4dC1uZXh0LW5leHQtbmV4dC1uZXh0LW5leHQtMzI="))
	g.inUse(t, g.place+"/session", "2")
	if status, _, err := g.ask(t, notesHost, "/"); err != nil || status != http.StatusUnauthorized {
		t.Errorf("the new tool answers %d, %v", status, err)
	}
}

// testMetadataMoves: a new place that does not answer is refused, and what the old
// one says after the move counts for nothing.
func testMetadataMoves(t *testing.T, s *stand) {
	text := idpMetadata(t)
	signer, certificate := metadataSigner(t)
	documents := map[string][]byte{}
	for _, host := range []string{"old.example.net", "new.example.net", "late.example.net"} {
		documents[host] = signer(strings.ReplaceAll(text, "idp.example.com", host))
	}
	var answered, up atomic.Bool
	asked, release := make(chan struct{}, 100), make(chan struct{})
	t.Cleanup(func() { // also if the test has failed
		select {
		case <-release:
		default:
			close(release)
		}
	})
	server, cfg := publisher(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/new" && !up.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/new":
			_, _ = w.Write(documents["new.example.net"])
		case answered.CompareAndSwap(false, true):
			_, _ = w.Write(documents["old.example.net"])
		default:
			asked <- struct{}{}
			<-release
			_, _ = w.Write(documents["late.example.net"])
		}
	})
	g := &liveGatewayTest{stand: s, https: free(t), admin: free(t), saml: with(s.saml, fieldIdPSigner, certificate), place: "cases/moves"}
	g.writeKV(t, g.place+"/saml", g.saml)
	g.writeKV(t, g.place+"/session", s.session)
	move := func(path string) {
		g.configure(t, g.yaml(fmt.Sprintf("saml: {metadata_url: %q, metadata_ca_file: %q}\n", server.URL+path, cfg.SAML.MetadataCAFile)))
	}
	move("/old")
	g.p = s.startGateway(t, caseRole, s.introduce(t, caseRole).file, "vault:secret/"+g.place+"/gateway")
	g.p.ready(t, g.admin)

	move("/new")
	g.refuses(t, g.place+"/gateway", "2", "status 503")
	if at := g.signOnAt(t); at != "old.example.net" {
		t.Errorf("people sign on at %q", at)
	}
	g.p.signal(t, syscall.SIGHUP)
	<-asked // the old place, which lets us wait
	up.Store(true)
	g.p.signal(t, syscall.SIGHUP)
	g.inUse(t, g.place+"/gateway", "2")
	if at := g.signOnAt(t); at != "new.example.net" {
		t.Errorf("people sign on at %q", at)
	}
	close(release)
	g.inUse(t, "metadata", versionOfText(documents["new.example.net"]))
	if at := g.signOnAt(t); at != "new.example.net" {
		t.Errorf("a late answer of the old place counts: people sign on at %q", at)
	}
}

// metadataSigner signs metadata, and is known by that certificate in PEM.
func metadataSigner(t *testing.T) (sign func(text string) []byte, certificate string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der := selfSigned(t, key)
	ctx, err := dsig.NewSigningContext(key, [][]byte{der})
	if err != nil {
		t.Fatal(err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	sign = func(text string) []byte {
		document := etree.NewDocument()
		if err := document.ReadFromString(text); err != nil {
			t.Fatal(err)
		}
		root := document.Root()
		root.CreateAttr("ID", "_metadata")
		signature, err := ctx.ConstructSignature(root, true)
		if err != nil {
			t.Fatal(err)
		}
		root.InsertChildAt(0, signature)
		raw, err := document.WriteToBytes()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	return sign, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
