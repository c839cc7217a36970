package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
	"github.com/sallyport/sallyport/vaultpki"
)

// idpInUse is an identity provider of the configuration, and the service provider
// towards it. It is immutable.
type idpInUse struct {
	config.IdP
	provider *saml.ServiceProvider // nil while it is out
	fault    error                 // why it is out
	entityID string                // who it is; empty if it is out and nobody has said
}

// providersOf makes the service providers of p, each anew only if something of it
// changed since before, which is nil at the start: metadata that has expired since
// ends sign-on, but must not keep anybody from closing a route.
//
// One that cannot be made fails all of it, with two exceptions, as long as there is
// another one: at the start, and if nobody could sign in there before and nothing of
// its own has changed. It is out then, which must not keep people of others from
// signing in.
// absent says why metadata could not be fetched, by name.
func (g *liveGateway) providersOf(p gatewayParts, before *gatewayState, absent map[string]error) ([]idpInUse, *x509.Certificate, error) {
	own, err := readOwnKeys(p.saml)
	if err != nil {
		return nil, nil, err
	}
	shared := sharedSAML{p.cfg, own, g.replay, p.from}
	var idps []idpInUse
	var first error
	for _, idp := range p.cfg.SAML.Providers() {
		now, same := before.sameIdP(p, idp)
		if !same {
			was := now
			now = idpInUse{IdP: idp}
			if now.fault = absent[idp.Name]; now.fault == nil {
				now.provider, now.fault = readServiceProvider(shared, idp, p.saml, p.metadata[idp.Name])
			}
			if now.fault != nil && before != nil && !stillOut(was, idp, before.metadata[idp.Name], p.metadata[idp.Name]) {
				return nil, nil, ofIdP(p.cfg, idp, now.fault)
			}
			if pinned, err := readEntityID(idp, p.saml); err == nil {
				now.entityID = now.knownAs(pinned, was)
			}
		}
		if first == nil {
			first = now.fault
		}
		idps = append(idps, now)
	}
	if err := distinct(idps); err != nil {
		return nil, nil, err
	}
	if len(proxyIdPs(idps)) == 0 {
		return nil, nil, ofIdP(p.cfg, idps[0].IdP, first)
	}
	return idps, own.certificate, nil
}

// sameIdP returns what s has under idp's name, and whether p makes the same of it.
func (s *gatewayState) sameIdP(p gatewayParts, idp config.IdP) (was idpInUse, same bool) {
	if s == nil {
		return was, false
	}
	for _, was = range s.idps {
		if was.Name == idp.Name {
			a, b := s.cfg.SAML, p.cfg.SAML
			return was, s.saml.Same(p.saml) && s.metadata[idp.Name] == p.metadata[idp.Name] && s.cfg.Door == p.cfg.Door &&
				reflect.DeepEqual(was.IdP, idp) && a.EntityID == b.EntityID && a.ClockSkew == b.ClockSkew &&
				a.OwnMetadata == b.OwnMetadata && s.from.Equal(p.from)
		}
	}
	return idpInUse{}, false
}

// knownAs is which entity i is. While it is out, that is what the configuration and the
// secret say, or what it was before.
func (i idpInUse) knownAs(pinned string, was idpInUse) string {
	switch {
	case i.provider != nil:
		return i.provider.IdP().EntityID
	case pinned == "" && reflect.DeepEqual(was.IdP, i.IdP):
		return was.entityID
	}
	return pinned
}

// stillOut says whether an identity provider that was out, or past the end of its
// metadata, has nothing new of its own.
func stillOut(was idpInUse, idp config.IdP, before, after *fetched) bool {
	return !was.signsIn() && before == after && reflect.DeepEqual(was.IdP, idp)
}

// signsIn says whether people can sign in there.
func (i idpInUse) signsIn() bool {
	if i.provider == nil {
		return false
	}
	end := i.provider.IdP().ValidUntil
	return end.IsZero() || time.Now().Before(end)
}

// distinct refuses two names for one identity provider: an answer could be meant for
// either.
func distinct(idps []idpInUse) error {
	names := map[string]string{}
	for _, idp := range idps {
		if idp.provider == nil {
			continue
		}
		id := idp.provider.IdP().EntityID
		if other, twice := names[id]; twice {
			return &hinted{
				fmt.Errorf("identity providers %s and %s are both %q, expected another of each", other, idp.Name, id),
				"give each its own metadata, or choose with saml.idps[].idp_entity_id",
			}
		}
		names[id] = idp.Name
	}
	return nil
}

// ofIdP says which identity provider an error is of, if there are several.
func ofIdP(cfg *config.Gateway, idp config.IdP, err error) error {
	if len(cfg.SAML.IdPs) < 2 {
		return err
	}
	return fmt.Errorf("identity provider %s: %w", idp.Name, err)
}

// proxyIdPs are those that can sign people in.
func proxyIdPs(idps []idpInUse) []proxy.IdP {
	var found []proxy.IdP
	for _, idp := range idps {
		if idp.provider != nil {
			found = append(found, proxy.IdP{
				Name: idp.Name, Title: titleOf(idp), SAML: idp.provider, Domains: domainNames(idp.HintDomains), Landing: idp.UnsafeUnsolicitedLanding,
			})
		}
	}
	return found
}

// outIdPs are those that are out and whose people stay signed in: they are known, and
// are not who another one is.
func outIdPs(idps []idpInUse) map[string]string {
	taken := map[string]bool{"": true}
	for _, idp := range idps {
		if idp.provider != nil {
			taken[idp.entityID] = true
		}
	}
	out := map[string]string{}
	for _, idp := range idps {
		if idp.provider == nil && !taken[idp.entityID] {
			out[idp.Name], taken[idp.entityID] = idp.entityID, true
		}
	}
	return out
}

// withIdPs leaves out of each route's identity providers those that are out and not
// known. A route with none left lets nobody in: no list would be those of all.
func withIdPs(routes []proxy.Route, idps []idpInUse) []proxy.Route {
	known, out := outIdPs(idps), map[string]bool{}
	for _, idp := range idps {
		out[idp.Name] = idp.provider == nil && known[idp.Name] == ""
	}
	for i, route := range routes {
		if route.IdPs != nil {
			routes[i].IdPs = slices.DeleteFunc(slices.Clone(route.IdPs), func(name string) bool { return out[name] })
		}
	}
	return routes
}

// titleOf is what people read: as configured, else as its metadata says.
func titleOf(idp idpInUse) string {
	switch name := idp.provider.IdP().DisplayName; {
	case idp.Title != "":
		return idp.Title
	case name != "":
		return name
	case idp.Name == config.DefaultIdP:
		return "Your company" // a title: it may begin a sentence
	}
	return idp.Name
}

// tellOfIdPs logs what a start has found.
func (g *liveGateway) tellOfIdPs(p gatewayParts, d domain) {
	place := p.saml.Mount + "/" + p.saml.Path
	for _, idp := range d.idps {
		if idp.provider == nil {
			continue
		}
		g.log.Info("saml secrets read", "path", place, "version", p.saml.Version, "name", idp.Name, "idp", idp.provider.IdP().EntityID)
	}
	if _, isRSA := d.own.PublicKey.(*rsa.PublicKey); !isRSA && !hasPair(p.saml, fieldSPEncryptionKey, fieldSPEncryptionCert) {
		g.log.Info("encrypted assertions are refused: the key is elliptic and there is none for encryption",
			"path", place, "what_to_do", hintEncryptionPair)
	}
}

// tellOfOut logs who is out now, unless that was so before, for the same cause.
func (g *liveGateway) tellOfOut(before *gatewayState, d domain) {
	known := map[string]string{}
	if before != nil {
		for _, idp := range before.idps {
			if idp.fault != nil {
				known[idp.Name] = idp.fault.Error()
			}
		}
	}
	for _, idp := range d.idps {
		if idp.fault != nil && known[idp.Name] != idp.fault.Error() {
			g.log.Error("identity provider is out, nobody signs in there", "event", "idp_out", "idp", idp.Name,
				"cause", idp.fault.Error(), "what_to_do", hintOf(idp.fault))
		}
	}
}

// trustSettings are what must not be changed by who may only write the configuration:
// he could become an identity provider. They are held against those of the first time
// that a name was in use, so that nobody gets around that by taking one out and putting
// it back.
func trustSettings(before, after config.SAML, known map[string]config.IdP) []setting {
	settings := []setting{{"saml.unsafe_metadata_unsigned", fmt.Sprint(before.UnsafeMetadataUnsigned), fmt.Sprint(after.UnsafeMetadataUnsigned)}}
	for _, idp := range after.Providers() {
		key := "saml.idps[" + idp.Name + "]."
		old := known[idp.Name]
		if before.UnsafeMetadataUnsigned == after.UnsafeMetadataUnsigned {
			settings = append(settings, setting{key + "unsafe_metadata_unsigned", fmt.Sprint(old.UnsafeMetadataUnsigned), fmt.Sprint(idp.UnsafeMetadataUnsigned)})
		}
		settings = append(settings, setting{key + "idp_entity_id", old.EntityID, idp.EntityID})
		settings = append(settings, placeSettings(key, old, idp)...)
	}
	return settings
}

// placeSettings are where unsigned metadata comes from, and who vouches for that place:
// nothing else says whose it is. To give the place up is no harm.
func placeSettings(key string, before, after config.IdP) []setting {
	if !after.UnsafeMetadataUnsigned || after.MetadataURL == "" {
		return nil
	}
	return []setting{
		{key + "metadata_url", before.MetadataURL, after.MetadataURL},
		{key + "metadata_ca_file", before.MetadataCAFile, after.MetadataCAFile},
	}
}

// knownWith is s.known with what cfg adds; s may be nil.
func (s *gatewayState) knownWith(cfg config.SAML) map[string]config.IdP {
	known := map[string]config.IdP{}
	for _, idp := range cfg.Providers() {
		known[idp.Name] = idp
	}
	if s != nil {
		maps.Copy(known, s.known)
	}
	return known
}

// asked bounds how often an unknown key has us look for new metadata. The zero value
// is ready.
type asked struct {
	mu   sync.Mutex                      // guards last
	last map[string][refreshes]time.Time // the latest first
}

// refreshEvery is how often that is, for each identity provider: anybody can send a
// signature that nobody knows.
const refreshEvery = time.Minute

// refreshes is how many times it is done in that time: once for strangers, who the
// proxy lets have no more of it, and once for the people of the identity provider, who
// then do not wait for what strangers have used up.
const refreshes = 2

// now says whether it may be done now, and notes that it was.
func (a *asked) now(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.last[name]
	if oldest := last[refreshes-1]; !oldest.IsZero() && time.Since(oldest) < refreshEvery {
		return false
	}
	if a.last == nil {
		a.last = map[string][refreshes]time.Time{}
	}
	copy(last[1:], last[:refreshes-1])
	last[0] = time.Now()
	a.last[name] = last
	return true
}

// refreshIdP looks for new metadata of an identity provider, for an answer that was
// signed with an unknown key, and returns what was made of it; nil if there is
// nothing new. It is what [proxy.Config] wants.
func (g *liveGateway) refreshIdP(ctx context.Context, name string) proxy.ServiceProvider {
	before := g.current.Load().providerOf(name)
	if before == nil || !g.asked.now(name) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	if !g.published.now(ctx, name) {
		g.secret.now(ctx)
	}
	if after := g.current.Load().providerOf(name); after != nil && after != before {
		return after
	}
	return nil
}

// providerOf is the service provider towards the identity provider of that name, nil
// if there is none.
func (s *gatewayState) providerOf(name string) *saml.ServiceProvider {
	for _, idp := range s.idps {
		if idp.Name == name {
			return idp.provider
		}
	}
	return nil
}

// firstMetadata fetches what the configuration says, from all at once. A start that
// cannot makes do with what the SAML secret has; absent says of which there is
// neither.
func (g *liveGateway) firstMetadata(ctx context.Context, cfg *config.Gateway, kv vaultpki.KV) (metadata map[string]*fetched, absent map[string]error) {
	metadata, failed := g.fetchAll(ctx, cfg.SAML.Providers())
	absent = map[string]error{}
	for name, err := range failed {
		field := fieldOf(fieldIdPMetadata, name)
		if _, kept := kv.Optional(field); kept && ctx.Err() == nil {
			g.log.Warn("fetching the identity provider's metadata did not succeed, the secret's is used for now",
				"event", "version_unreadable", "idp", name, "cause", err.Error())
			continue
		}
		absent[name] = &hinted{err, "check saml.metadata_url, or keep a copy of the metadata in the field " + field + " of the SAML secret for such a start"}
	}
	return metadata, absent
}

// fetchAll fetches the metadata of those that have a URL, at the same time, so that
// one that does not answer costs its time once.
func (g *liveGateway) fetchAll(ctx context.Context, idps []config.IdP) (metadata map[string]*fetched, failed map[string]error) {
	metadata, failed = map[string]*fetched{}, map[string]error{}
	var mu sync.Mutex // guards both
	var all sync.WaitGroup
	for _, idp := range idps {
		if idp.MetadataURL == "" {
			continue
		}
		all.Go(func() {
			got, err := g.fetch.metadata(ctx, idp)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[idp.Name] = err
			} else {
				metadata[idp.Name] = got
			}
		})
	}
	all.Wait()
	return metadata, failed
}

// fetchMoved fetches the metadata of those that cfg has somewhere else than the
// configuration in use. There is no copy to fall back on, as at a start: it may be
// of another identity provider. Those that are where they were are not asked: what
// is held of them goes on to be used, whether they answer now or not.
func (g *liveGateway) fetchMoved(ctx context.Context, cfg *config.Gateway) (map[string]*fetched, error) {
	places := map[string]origin{}
	for _, idp := range g.current.Load().idps {
		places[idp.Name] = originOf(idp.IdP)
	}
	var moved []config.IdP
	for _, idp := range cfg.SAML.Providers() {
		if places[idp.Name] != originOf(idp) {
			moved = append(moved, idp)
		}
	}
	metadata, failed := g.fetchAll(ctx, moved)
	for _, idp := range moved {
		if err := failed[idp.Name]; err != nil {
			return nil, ofIdP(cfg, idp, err)
		}
	}
	return metadata, nil
}

// stillFrom returns what of the metadata that is held, and of what has arrived, is
// from where cfg says. What is held may be newer.
func stillFrom(cfg *config.Gateway, held, arrived map[string]*fetched) map[string]*fetched {
	metadata := map[string]*fetched{}
	for _, idp := range cfg.SAML.Providers() {
		switch {
		case held[idp.Name].isFrom(idp):
			metadata[idp.Name] = held[idp.Name]
		case arrived[idp.Name].isFrom(idp):
			metadata[idp.Name] = arrived[idp.Name]
		}
	}
	return metadata
}

// useMetadata does nothing with an answer that comes late: the configuration may
// have another URL by now, or none.
func (g *liveGateway) useMetadata(ctx context.Context, name string, metadata *fetched) error {
	return g.change(ctx, func(p *gatewayParts) error {
		for _, idp := range p.cfg.SAML.Providers() {
			if idp.Name == name && metadata.isFrom(idp) {
				p.metadata = maps.Clone(p.metadata)
				p.metadata[name] = metadata
				return nil
			}
		}
		return errOvertaken
	})
}
