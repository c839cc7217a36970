package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// idpMetadataSaying is metadata with more attributes in its root.
func idpMetadataSaying(t *testing.T, attributes string) string {
	t.Helper()
	return strings.Replace(idpMetadata(t), " entityID=", attributes+" entityID=", 1)
}

// serviceProvider makes one towards the identity provider of that metadata.
func serviceProvider(t *testing.T, metadata string) *saml.ServiceProvider {
	t.Helper()
	pair := ellipticPair(t)
	key, certificate, err := saml.ParseKeyPair([]byte(pair.key), []byte(pair.certificate))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := saml.New(saml.Config{
		EntityID: "https://door/saml/metadata", ACSURL: "https://door/saml/acs", Key: key, Certificate: certificate,
		IdPMetadata: []byte(metadata), Attributes: saml.Attributes{User: []string{saml.NameIDAttribute}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// TestAPinnedKeyHasNoEnd: a certificate whose key is pinned stops nothing, and nor
// do the others beside it.
func TestAPinnedKeyHasNoEnd(t *testing.T) {
	soon, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	first, last := saml.IdPCertificate{Fingerprint: "aa", NotAfter: soon}, saml.IdPCertificate{Fingerprint: "bb", NotAfter: later}
	pinned := first
	pinned.Pinned = true
	type seen struct {
		Name, Stops string
		Hard, Ends  bool
	}
	for name, tt := range map[string]struct {
		certificates []saml.IdPCertificate
		want         []seen
	}{
		"the last one stops sign-ons":   {[]saml.IdPCertificate{first, last}, []seen{{"p aa", "", false, true}, {"p bb", "signing in", true, true}}},
		"beside a pinned one none does": {[]saml.IdPCertificate{pinned, last}, []seen{{"p aa", "", false, false}, {"p bb", "", false, true}}},
		"a pinned one alone":            {[]saml.IdPCertificate{pinned}, []seen{{"p aa", "", false, false}}},
	} {
		var got []seen
		for _, a := range certificateArtefacts(tt.certificates, "p ", signOnStops) {
			got = append(got, seen{a.Name, a.Stops, a.Hard, !a.Until.IsZero()})
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAPinThatFitsNothingIsTold(t *testing.T) {
	info := saml.IdPInfo{EntityID: "https://idp"}
	if got := metadataArtefact(info, "", signOnStops, time.Now(), false); got != nil {
		t.Errorf("metadata without an end or a fault: %v", got)
	}
	info.UnusedPins = []string{"0a0b"}
	if got := metadataArtefact(info, "", signOnStops, time.Now(), false); len(got) != 1 || !strings.Contains(got[0].Note, "0a0b") || got[0].Hard {
		t.Errorf("metadata without a pinned key: %v", got)
	}
}

// TestTwoNamesForOneIdPAreRefused shows it of the same metadata under two names.
func TestTwoNamesForOneIdPAreRefused(t *testing.T) {
	provider := serviceProvider(t, idpMetadata(t))
	a, b := idpInUse{provider: provider}, idpInUse{provider: provider}
	a.Name, b.Name = "a", "b"
	if err := distinct([]idpInUse{a, b}); err == nil || hintOf(err) == "" {
		t.Errorf("error %v, want one with a hint", err)
	}
	b.provider = nil // it is out
	if err := distinct([]idpInUse{a, b}); err != nil {
		t.Errorf("one that is out: %v", err)
	}
}

// TestWhoIsOutIsKnownByAPin: the sessions of its people go on for as long as it is
// known whose they are.
func TestWhoIsOutIsKnownByAPin(t *testing.T) {
	named := func(name, entityID string) idpInUse { return idpInUse{IdP: config.IdP{Name: name}, entityID: entityID} }
	in := named("b", "")
	in.provider = serviceProvider(t, idpMetadata(t))
	seen := named("b", "https://seen.example")
	for name, tt := range map[string]struct {
		now, was idpInUse
		pinned   string
		want     string
	}{
		"in use":                {in, seen, "", in.provider.IdP().EntityID},
		"never seen":            {named("b", ""), idpInUse{}, "", ""},
		"never seen and pinned": {named("b", ""), idpInUse{}, "https://b.example", "https://b.example"},
		"seen":                  {named("b", ""), seen, "", "https://seen.example"},
		"seen and pinned since": {named("b", ""), seen, "https://b.example", "https://b.example"},
		"another was seen":      {named("c", ""), seen, "", ""},
	} {
		if got := tt.now.knownAs(tt.pinned, tt.was); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// TestRoutesKeepWhoIsOutAndKnown: a route goes on to take the sessions of one that is
// out and known; of the others it forgets, and then is for nobody.
func TestRoutesKeepWhoIsOutAndKnown(t *testing.T) {
	provider := serviceProvider(t, idpMetadata(t))
	idps := []idpInUse{
		{IdP: config.IdP{Name: "in"}, provider: provider, entityID: provider.IdP().EntityID},
		{IdP: config.IdP{Name: "known"}, entityID: "https://known.example"},
		{IdP: config.IdP{Name: "unknown"}},
		{IdP: config.IdP{Name: "same"}, entityID: provider.IdP().EntityID},
		{IdP: config.IdP{Name: "again"}, entityID: "https://known.example"},
	}
	if diff := cmp.Diff(map[string]string{"known": "https://known.example"}, outIdPs(idps)); diff != "" {
		t.Errorf("who is out and known (-want +got):\n%s", diff)
	}
	got := withIdPs([]proxy.Route{{IdPs: []string{"in", "known", "unknown", "same", "again"}}, {IdPs: []string{"unknown"}}, {}}, idps)
	if diff := cmp.Diff([][]string{{"in", "known"}, {}, nil}, [][]string{got[0].IdPs, got[1].IdPs, got[2].IdPs}); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}
