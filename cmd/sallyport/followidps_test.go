package main

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

func TestAnUnknownKeyIsAskedAboutTwiceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asked
		for _, step := range []struct {
			idp  string
			wait time.Duration
			want bool
		}{
			{"a", 0, true}, {"a", 20 * time.Second, true}, {"a", 39 * time.Second, false}, {"b", 0, true},
			{"a", time.Second, true}, {"a", 19 * time.Second, false}, {"a", time.Second, true}, {"b", 0, true}, {"b", 0, false},
		} {
			pass(step.wait)
			if got := a.now(step.idp); got != step.want {
				t.Errorf("%s after %s more: %t, want %t", step.idp, step.wait, got, step.want)
			}
		}
	})
}

// TestFollowersAreThoseOfTheConfiguration: which metadata is fetched changes with
// the configuration, and nobody who is gone is asked again.
func TestFollowersAreThoseOfTheConfiguration(t *testing.T) {
	var asked atomic.Int32
	_, cfg := publisher(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	fetches := cfg.SAML.Providers()[0]
	fetches.MetadataRefresh = config.Duration{Duration: time.Hour}
	named := func(names ...string) *gatewayState {
		state := &gatewayState{gatewayParts: gatewayParts{cfg: cfg}}
		for _, name := range names {
			idp := fetches
			idp.Name = name
			state.idps = append(state.idps, idpInUse{IdP: idp})
		}
		state.idps = append(state.idps, idpInUse{IdP: config.IdP{Name: "stored"}})
		return state
	}
	g := newLiveGateway(nil, nil, slog.New(slog.DiscardHandler))
	g.current.Store(named("a", "b"))
	m := metadataFollowers(g)
	sources := func() []string {
		var names []string
		for _, state := range m.states() {
			names = append(names, state.Name)
		}
		return names
	}
	if got, want := sources(), []string{sourceOf("a"), sourceOf("b")}; !slices.Equal(got, want) {
		t.Errorf("before the run: %q, want %q", got, want)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = m.run(ctx) })
	if !m.now(ctx, "a") || asked.Load() != 1 || m.now(ctx, "stored") {
		t.Errorf("asked %d times, want once, and nothing of what is stored", asked.Load())
	}
	g.current.Store(named("b", config.DefaultIdP))
	m.wake()
	for !m.now(ctx, config.DefaultIdP) { // until run has looked
		if t.Context().Err() != nil {
			t.Fatal("a new identity provider is not followed")
		}
	}
	if got, want := sources(), []string{sourceOf("b"), "identity provider's metadata"}; !slices.Equal(got, want) {
		t.Errorf("after a change: %q, want %q", got, want)
	}
	for _, state := range m.states() {
		if state.Name == "identity provider's metadata" && state.Cause == "" {
			t.Error("one that does not answer has no fault")
		}
	}
	stop()
	running.Wait()
}

// TestOurMetadataIsDueAtHalfOfItsValidity looks at what its follower reads.
func TestOurMetadataIsDueAtHalfOfItsValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := &config.Gateway{}
		cfg.SAML.OwnMetadata.ValidFor = config.Duration{Duration: 2 * time.Hour}
		start := cfg.SAML.OwnMetadata.ValidFrom(time.Now())
		pass(time.Until(start.Add(time.Hour))) // to the begin of the next period
		g := newLiveGateway(nil, nil, slog.New(slog.DiscardHandler))
		g.current.Store(&gatewayState{gatewayParts: gatewayParts{cfg: cfg, from: start.Add(time.Hour)}})
		f, ok := g.followOwnMetadata().(*follower[time.Time])
		if !ok {
			t.Fatal("it is not a follower")
		}
		for _, step := range []struct {
			wait time.Duration
			due  bool
		}{{0, false}, {time.Hour - 1, false}, {1, true}} {
			pass(step.wait)
			if from, err := f.read(t.Context()); err != nil || f.inUse(from) == step.due {
				t.Errorf("%s later: from %s, in use %t (%v)", step.wait, from, f.inUse(from), err)
			}
		}
	})
}

func TestMetadataIsFetchedAsOftenAsItIsGoodFor(t *testing.T) {
	idp := config.IdP{Name: "a", MetadataRefresh: config.Duration{Duration: time.Hour}}
	state := &gatewayState{domain: domain{idps: []idpInUse{{IdP: idp}}}}
	if got := state.metadataRefresh("a"); got != time.Hour {
		t.Errorf("while it is out: every %s", got)
	}
	for _, tt := range []struct {
		said string
		want time.Duration
	}{{"", time.Hour}, {` cacheDuration="PT10M"`, 10 * time.Minute}, {` cacheDuration="PT1S"`, time.Minute}, {` cacheDuration="P1D"`, time.Hour}} {
		state.idps[0].provider = serviceProvider(t, idpMetadataSaying(t, tt.said))
		if got := state.metadataRefresh("a"); got != tt.want {
			t.Errorf("metadata that says%s: every %s, want %s", tt.said, got, tt.want)
		}
	}
}

// Who may write the configuration alone must not take an identity provider's name over:
// not by changing it, nor by taking it out and putting another one back.
func TestANameStaysWithItsIdP(t *testing.T) {
	load := func(idps string) *config.Gateway {
		t.Helper()
		cfg, err := config.LoadGateway("test", []byte("door: {host: door}\nsaml: {metadata_url: 'https://federation/m', idps: ["+idps+"]}"))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	const staff, pinned, loose = "{name: staff, user_domains: [a.test]}", "{name: partners, user_domains: [b.test], idp_entity_id: 'https://b'}", "{name: partners, user_domains: [b.test]}"
	both, without := load(staff+", "+pinned), load(staff)
	state := &gatewayState{gatewayParts: gatewayParts{cfg: both}}
	state.known = (*gatewayState)(nil).knownWith(both.SAML)
	state = &gatewayState{gatewayParts: gatewayParts{cfg: without}, known: state.knownWith(without.SAML)}
	for name, tt := range map[string]struct {
		before, after *config.Gateway
		refused       bool
	}{
		"changed":                {both, load(staff + ", " + loose), true},
		"taken out":              {both, without, false},
		"put back as another":    {without, load(staff + ", " + loose), true},
		"put back, unsigned":     {without, load(staff + ", " + strings.Replace(pinned, "{", "{unsafe_metadata_unsigned: true, ", 1)), true},
		"put back as it was":     {without, both, false},
		"moved, signed":          {both, load(staff + ", " + strings.Replace(pinned, "{", "{metadata_url: 'https://b/m', metadata_ca_file: /ca.pem, ", 1)), false},
		"another beside, pinned": {without, load(staff + ", {name: new, user_domains: [c.test], idp_entity_id: 'https://c'}"), true},
	} {
		if err := needsRestart(tt.before, tt.after, state.known); (err != nil) != tt.refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where nobody signs the metadata, its place is all that says whose it is: who may write
// the configuration alone must not name another, nor who vouches for it.
func TestUnsignedMetadataStaysWhereItIs(t *testing.T) {
	load := func(keys string) *config.Gateway {
		t.Helper()
		cfg, err := config.LoadGateway("test", []byte("door: {host: door}\nsaml: {unsafe_metadata_unsigned: true"+keys+"}"))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	const url, ca = ", metadata_url: 'https://a/m'", ", metadata_ca_file: /ca.pem"
	for name, tt := range map[string]struct{ before, after, refused string }{
		"as it was":           {url + ca, url + ca, ""},
		"fetched more often":  {url, url + ", metadata_refresh: 5m", ""},
		"moved":               {url, ", metadata_url: 'https://evil/m'", `metadata_url changes from "https://a/m" to "https://evil/m"`},
		"other CAs":           {url + ca, url + ", metadata_ca_file: /evil.pem", `metadata_ca_file changes from "/ca.pem" to "/evil.pem"`},
		"the public CAs":      {url + ca, url, `metadata_ca_file changes from "/ca.pem" to ""`},
		"a first place":       {"", url, `metadata_url changes from "" to "https://a/m"`},
		"given up":            {url, "", ""},
		"moved, by its entry": {url, url + ", idps: [{name: idp, metadata_url: 'https://evil/m'}]", `saml.idps[idp].metadata_url changes from "https://a/m"`},
	} {
		before, after := load(tt.before), load(tt.after)
		err := needsRestart(before, after, (*gatewayState)(nil).knownWith(before.SAML))
		if (err != nil) != (tt.refused != "") || err != nil && !strings.Contains(err.Error(), tt.refused) {
			t.Errorf("%s: %v, want %q", name, err, tt.refused)
		}
	}
	first, given := load(url), load("")
	known := (&gatewayState{known: (*gatewayState)(nil).knownWith(first.SAML)}).knownWith(given.SAML)
	if err := needsRestart(given, load(", metadata_url: 'https://evil/m'"), known); err == nil {
		t.Error("given up, and put back elsewhere: not refused")
	}
	if err := needsRestart(given, first, known); err != nil {
		t.Errorf("given up, and put back: %v", err)
	}
}

// TestAnUnknownKeyBringsNewMetadata: the answer that showed the key is judged by what
// the follower has put in use, and nobody can have it asked again at once.
func TestAnUnknownKeyBringsNewMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newLiveGateway(nil, nil, slog.New(slog.DiscardHandler))
		state := func(provider *saml.ServiceProvider) *gatewayState {
			return &gatewayState{domain: domain{idps: []idpInUse{{IdP: config.IdP{Name: "a"}, provider: provider}, {IdP: config.IdP{Name: "out"}}}}}
		}
		before, after := serviceProvider(t, idpMetadata(t)), serviceProvider(t, idpMetadata(t))
		g.current.Store(state(before))
		published := before
		f := &follower[*fetched]{
			name: sourceOf("a"), log: g.log, every: func() time.Duration { return time.Hour }, version: (*fetched).version,
			read:  func(context.Context) (*fetched, error) { return nil, nil },
			inUse: func(*fetched) bool { return g.current.Load().providerOf("a") == published },
			apply: func(context.Context, *fetched) error { g.current.Store(state(published)); return nil },
		}
		f.begin(kindDocument, versionNone)
		g.published = &followers[*fetched]{running: map[string]runningFollower[*fetched]{"a": {follower: f}}}
		ctx, stop := context.WithCancel(t.Context())
		go func() { _ = f.run(ctx) }()

		for range refreshes {
			if got := g.refreshIdP(ctx, "a"); got != nil {
				t.Error("something is new where nothing is")
			}
		}
		published = after
		if got := g.refreshIdP(ctx, "a"); got != nil {
			t.Error("it was asked again at once")
		}
		pass(refreshEvery)
		if got := g.refreshIdP(ctx, "a"); got != proxy.ServiceProvider(after) {
			t.Errorf("the new metadata is not used: %v", got)
		}
		if g.refreshIdP(ctx, "out") != nil || g.refreshIdP(ctx, "nobody") != nil {
			t.Error("something is new of one that is out, or is not there")
		}
		stop()
		synctest.Wait()
	})
}
