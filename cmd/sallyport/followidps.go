package main

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/config"
)

// metadataFollowers keep the metadata of every identity provider fresh that has a
// URL.
func metadataFollowers(g *liveGateway) *followers[*fetched] {
	return newFollowers(g.metadataURLs, g.metadataFollower)
}

// metadataURLs are the names of those that have a URL.
func (g *liveGateway) metadataURLs() []string {
	var names []string
	for _, idp := range g.current.Load().idps {
		if idp.MetadataURL != "" {
			names = append(names, idp.Name)
		}
	}
	return names
}

// metadataFollower makes the one for an identity provider. After a start that had to make
// do without its document, it begins with a fault.
func (g *liveGateway) metadataFollower(name string) *follower[*fetched] {
	f := &follower[*fetched]{
		what: objectMetadata, name: sourceOf(name), log: g.log, version: (*fetched).version,
		apply: func(ctx context.Context, got *fetched) error { return g.useMetadata(ctx, name, got) },
		inUse: func(got *fetched) bool { return got.same(g.current.Load().metadata[name]) },
		every: func() time.Duration { return g.current.Load().metadataRefresh(name) },
		read:  func(ctx context.Context) (*fetched, error) { return g.fetchAgain(ctx, name) },
	}
	now := g.current.Load()
	f.begin(kindDocument, now.metadata[name].version())
	if now.metadata[name] == nil {
		f.state.Cause = "not fetched yet: the secret's copy is in use"
		if now.providerOf(name) == nil {
			f.state.Cause = "not usable yet: nobody signs in there"
		}
	}
	return f
}

// sourceOf names an identity provider's metadata to logs, metrics and the status.
func sourceOf(name string) string {
	if name == config.DefaultIdP {
		return "identity provider's metadata"
	}
	return "identity provider's metadata (" + name + ")"
}

// shortestRefresh is how often metadata is fetched at most, whatever it says itself.
const shortestRefresh = time.Minute

// metadataRefresh is how often the metadata of an identity provider is fetched: as
// configured, or as it says itself if that is more often.
func (s *gatewayState) metadataRefresh(name string) time.Duration {
	for _, idp := range s.idps {
		if idp.Name != name {
			continue
		}
		every := idp.MetadataRefresh.Duration
		if idp.provider != nil {
			if cached := idp.provider.IdP().CacheDuration; cached > 0 {
				every = min(every, max(cached, shortestRefresh))
			}
		}
		return every
	}
	return time.Hour // it is about to be ended
}

// fetchAgain fetches the metadata of an identity provider, as the configuration says
// now.
func (g *liveGateway) fetchAgain(ctx context.Context, name string) (*fetched, error) {
	now := g.current.Load()
	for _, idp := range now.idps {
		if idp.Name == name && idp.MetadataURL != "" {
			return g.fetch.metadata(ctx, idp.IdP)
		}
	}
	return now.metadata[name], nil // it is about to be ended
}

// followOwnMetadata has ours made anew each time that half of its validity is over.
// What is read is from when it has to be valid.
func (g *liveGateway) followOwnMetadata() followed {
	f := &follower[time.Time]{
		what: objectOwnMetadata, name: "our own metadata", log: g.log, every: g.refresh, version: versionOfTime,
		read: func(context.Context) (time.Time, error) {
			return g.current.Load().cfg.SAML.OwnMetadata.ValidFrom(time.Now()), nil
		},
		inUse: func(from time.Time) bool { return from.Equal(g.current.Load().from) },
		apply: func(ctx context.Context, _ time.Time) error { return g.rebuild(ctx) }, // every change looks at the clock
	}
	f.begin(kindDocument, versionOfTime(g.current.Load().from))
	return f
}

// versionOfTime names a period by its beginning.
func versionOfTime(from time.Time) string {
	if from.IsZero() {
		return versionNone
	}
	return from.UTC().Format(time.RFC3339)
}
