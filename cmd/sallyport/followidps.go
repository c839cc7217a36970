package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/config"
)

// metadataFollowers keep the metadata of every identity provider fresh that has a
// URL, each on its own, so that one that does not answer delays no other. Which
// there are follows from the configuration that is in use.
type metadataFollowers struct {
	g       *liveGateway
	changed chan struct{} // asks run to look which there are

	mu      sync.Mutex // guards running
	running map[string]runningFollower
}

// runningFollower is one of them, and what ends it.
type runningFollower struct {
	*follower[*fetched]
	end context.CancelFunc // nil until run has begun
}

// newMetadataFollowers returns those that are needed now; they follow nothing before
// run.
func newMetadataFollowers(g *liveGateway) *metadataFollowers {
	m := &metadataFollowers{g: g, changed: make(chan struct{}, 1), running: map[string]runningFollower{}}
	for _, name := range m.wanted() {
		m.running[name] = runningFollower{follower: m.follower(name)}
	}
	return m
}

// wanted are the names of those that have a URL.
func (m *metadataFollowers) wanted() []string {
	var names []string
	for _, idp := range m.g.current.Load().idps {
		if idp.MetadataURL != "" {
			names = append(names, idp.Name)
		}
	}
	return names
}

// follower makes the one for an identity provider. After a start that had to make
// do without its document, it begins with a fault.
func (m *metadataFollowers) follower(name string) *follower[*fetched] {
	g := m.g
	f := &follower[*fetched]{
		name: sourceOf(name), log: g.log, version: (*fetched).version,
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

// run implements [followed].
func (m *metadataFollowers) run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		m.reconcile(ctx, &all)
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
		}
	}
}

// reconcile begins to follow what is new, and ends what is gone.
func (m *metadataFollowers) reconcile(ctx context.Context, all *sync.WaitGroup) {
	wanted := m.wanted()
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range m.running {
		if !slices.Contains(wanted, name) {
			f.stop()
			delete(m.running, name)
		}
	}
	for _, name := range wanted {
		f, ok := m.running[name]
		if !ok {
			f.follower = m.follower(name)
		}
		if f.end != nil {
			continue
		}
		var own context.Context
		own, f.end = context.WithCancel(ctx)
		m.running[name] = f
		all.Go(func() { _ = f.run(own) }) // it returns nil
	}
}

func (f runningFollower) stop() {
	if f.end != nil {
		f.end()
	}
}

// wake implements [followed].
func (m *metadataFollowers) wake() {
	select {
	case m.changed <- struct{}{}:
	default: // it will look, already
	}
	for _, f := range m.all() {
		f.wake()
	}
}

// states implements [followed].
func (m *metadataFollowers) states() []followState {
	var states []followState
	for _, f := range m.all() {
		states = append(states, f.status())
	}
	return states
}

// all are the followers that there are, in the order of their names.
func (m *metadataFollowers) all() []runningFollower {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []runningFollower
	for _, name := range slices.Sorted(maps.Keys(m.running)) {
		all = append(all, m.running[name])
	}
	return all
}

// now has the metadata of one identity provider fetched and waits for what becomes
// of it. It reports whether there is anything to be fetched.
func (m *metadataFollowers) now(ctx context.Context, name string) bool {
	m.mu.Lock()
	f, ok := m.running[name]
	m.mu.Unlock()
	if ok {
		f.now(ctx)
	}
	return ok
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
		name: "our own metadata", log: g.log, every: g.refresh, version: versionOfTime,
		read: func(context.Context) (time.Time, error) {
			return g.current.Load().cfg.SAML.OwnMetadata.ValidFrom(time.Now()), nil
		},
		inUse: func(from time.Time) bool { return from.Equal(g.current.Load().from) },
		apply: func(ctx context.Context, _ time.Time) error {
			return g.change(ctx, func(*gatewayParts) error { return nil }) // every change looks at the clock
		},
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
