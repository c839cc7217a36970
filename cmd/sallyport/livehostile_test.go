package main

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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
	document := func(host string) []byte { return []byte(strings.ReplaceAll(text, "idp.example.com", host)) }
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
			_, _ = w.Write(document("new.example.net"))
		case answered.CompareAndSwap(false, true):
			_, _ = w.Write(document("old.example.net"))
		default:
			asked <- struct{}{}
			<-release
			_, _ = w.Write(document("late.example.net"))
		}
	})
	g := &liveGatewayTest{stand: s, https: free(t), admin: free(t), saml: maps.Clone(s.saml), place: "cases/moves"}
	g.writeKV(t, g.place+"/saml", g.saml)
	g.writeKV(t, g.place+"/session", s.session)
	move := func(path string) {
		g.configure(t, g.yaml(fmt.Sprintf("saml: {metadata_url: %q, metadata_ca_file: %q, unsafe_metadata_unsigned: true}\n", server.URL+path, cfg.SAML.MetadataCAFile)))
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
	g.inUse(t, "metadata", versionOfText(document("new.example.net")))
	if at := g.signOnAt(t); at != "new.example.net" {
		t.Errorf("a late answer of the old place counts: people sign on at %q", at)
	}
}
