package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/proxy/tracing"
	"github.com/sallyport/sallyport/saml"
	"github.com/sallyport/sallyport/vaultpki"
)

// gatewayParts are what a gateway is built from. Each is read, and changes, apart
// from the others; what is built of them fits together or is not used at all.
type gatewayParts struct {
	cfg                      *config.Gateway
	saml, session, assertion vaultpki.KV
	// metadata is that of the identity providers, by their names, from its URL; one is
	// not in it while the SAML secret's is used. It is immutable.
	metadata map[string]*fetched
	// credentials are the secrets that routes show to their tools, by their paths. It is
	// immutable.
	credentials map[string]credentialSecret
	from        time.Time // from when our own metadata is valid; zero if it is for ever
}

// liveGateway is a gateway that takes changes without a restart: of a change in
// one part, a new proxy.Gateway is built from all of them, and put in the place
// of the one before between two requests. If it cannot be built, nothing changes.
//
// What people must not notice outlives every change: revocations and what was
// used once, the replay memory, certificates, metrics, and the connections to
// backends that are reached as before.
type liveGateway struct {
	client  *vaultpki.Client
	log     *slog.Logger
	access  *accesslog.Log
	metrics *proxy.Metrics
	view    *auditView      // nil for none
	tracer  *tracing.Tracer // set before anything is built; nil traces nothing
	fetch   *fetcher
	memory  *session.Memory
	replay  saml.Replay

	traces *proxy.Traces
	// published are the identity providers' metadata, credentials the credentials for tools,
	// secret is the follower of the SAML secret; all are set by follow.
	published   *followers[*fetched]
	credentials *followers[vaultpki.KV]
	secret      *follower[vaultpki.KV]
	asked       asked
	pseudonyms  vaultpki.KV // the key that names are hidden with; zero for none; set before follow, then owned by its follower
	sections    []string    // what the last change of the configuration has changed; owned by its follower

	edge, backend *vaultpki.Certificates
	live          *proxy.Live
	current       atomic.Pointer[gatewayState]

	// certificates are those of the keys that sign assertions; set once backend is.
	certificates *keyCertificates

	mu    sync.Mutex             // one change at a time; guards the rest, and storing current
	shown *vaultpki.Shown        // the client certificate of dial, nil if there is no dial yet
	dial  map[string]*tls.Config // by the sidecar's name, for the authorities that are trusted now
}

// gatewayState is what is in use. It is immutable.
type gatewayState struct {
	gatewayParts
	domain
	since time.Time // when it was put in use
	// known are the identity providers as they were first in use, by name, those included
	// that are gone: who comes back under a name must be who had it.
	known map[string]config.IdP
}

// newLiveGateway returns one that has its memories and nothing to serve yet.
func newLiveGateway(client *vaultpki.Client, access *accesslog.Log, log *slog.Logger) *liveGateway {
	return &liveGateway{
		client: client, log: log, access: access, metrics: proxy.NewMetrics(), fetch: newFetcher(),
		traces: proxy.NewTraces(), memory: session.NewMemory(time.Now), replay: saml.NewReplay(time.Now), dial: map[string]*tls.Config{},
	}
}

// domain is what is built from Vault's secrets alone, before anything is asked
// of the network.
type domain struct {
	idps     []idpInUse
	own      *x509.Certificate // that publishes the key that providers sign with
	sessions *session.Manager
	keys     assertionKeys
}

// domainOf builds it, or says which part is of no use.
func (g *liveGateway) domainOf(p gatewayParts) (d domain, err error) {
	if d.idps, d.own, err = g.providersOf(p, g.current.Load(), nil); err != nil {
		return d, err
	}
	if d.sessions, err = readSessions(p.cfg, p.session, g.memory); err != nil {
		return d, err
	}
	d.keys, err = readAssertionKeys(p.assertion)
	return d, err
}

// read fetches the first parts from Vault and the identity providers.
func (g *liveGateway) read(ctx context.Context, cfg *config.Gateway) (p gatewayParts, d domain, err error) {
	if err = g.firstPseudonyms(ctx, cfg); err != nil {
		return p, d, err
	}
	p.cfg, p.from = cfg, cfg.SAML.OwnMetadata.ValidFrom(time.Now())
	if p.saml, err = g.client.ReadKV(ctx, cfg.Vault.KVMount, cfg.Vault.SAMLPath); err != nil {
		return p, d, err
	}
	var absent map[string]error
	p.metadata, absent = g.firstMetadata(ctx, cfg, p.saml)
	if d.idps, d.own, err = g.providersOf(p, nil, absent); err != nil {
		return p, d, err
	}
	for _, idp := range d.idps {
		if idp.fault != nil { // so that the same document is tried again
			delete(p.metadata, idp.Name)
		}
	}
	g.tellOfIdPs(p, d)
	if p.session, err = g.client.ReadKV(ctx, cfg.Vault.KVMount, cfg.Vault.SessionPath); err != nil {
		return p, d, err
	}
	if d.sessions, err = readSessions(cfg, p.session, g.memory); err != nil {
		return p, d, err
	}
	if p.credentials, err = g.firstCredentials(ctx, cfg); err != nil {
		return p, d, err
	}
	g.log.Info("session keys read", "path", p.session.Mount+"/"+p.session.Path, "version", p.session.Version)
	if p.assertion, err = g.client.ReadKV(ctx, cfg.Vault.KVMount, cfg.Vault.AssertionPath); err != nil {
		return p, d, err
	}
	if d.keys, err = readAssertionKeys(p.assertion); err != nil {
		return p, d, err
	}
	g.log.Info("assertion keys read", "path", p.assertion.Mount+"/"+p.assertion.Path, "version", p.assertion.Version)
	return p, d, nil
}

// build makes the gateway of p. The caller holds mu, or is the only one yet.
func (g *liveGateway) build(p gatewayParts, d domain) (*proxy.Gateway, error) {
	if g.shown == nil {
		var err error
		if g.shown, err = g.backend.Shown(); err != nil {
			return nil, err
		}
	}
	issuer, err := newIssuer(p.cfg, d.keys, g.certificates, g.shown.Certificate(), d.sessions.LogAssertion)
	if err != nil {
		return nil, err
	}
	cfg := proxy.Config{
		Assertions: issuer,
		DoorHost:   string(p.cfg.Door.Host), PublicPort: p.cfg.Door.PublicPort, EntityID: p.cfg.SAML.EntityID, Routes: withCredentials(withIdPs(routes(p.cfg, g.dialTo), d.idps), p),
		IdPs: proxyIdPs(d.idps), OutIdPs: outIdPs(d.idps), Sessions: d.sessions, Access: g.access, QueryKeys: p.cfg.AccessLog.QueryKeys,
		ClientSerial:   relay.Serial(g.shown.Certificate()),
		TrustedProxies: p.cfg.Clients.Forwarded(), Limits: gatewayLimits(p.cfg.Limits),
		Tracer: g.tracer, TrustTraces: p.cfg.Tracing.TrustParent,
		Refresh: g.refreshIdP, Traces: g.traces, Log: g.log, Metrics: g.metrics,
		Asks: g.asks(p.cfg.ForwardAuth), Audit: g.view.audit(p.cfg.AccessLog.AuditPage),
	}
	if g.live != nil {
		cfg.Replaces = g.live.Gateway()
	}
	return proxy.New(cfg)
}

// dialTo returns how to reach the sidecar of that name: the same value for as
// long as the same authorities are trusted and the same client certificate is
// shown, so that its connections live on.
func (g *liveGateway) dialTo(name string) *tls.Config {
	if g.dial[name] == nil {
		g.dial[name] = g.shown.DialTLS(name)
	}
	return g.dial[name]
}

// open puts the first gateway in use.
func (g *liveGateway) open(p gatewayParts, d domain) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	door, err := g.build(p, d)
	if err != nil {
		return err
	}
	g.live = proxy.NewLive(door)
	g.settle(p, d)
	return nil
}

// settle notes what is in use now.
func (g *liveGateway) settle(p gatewayParts, d domain) {
	before := g.current.Load()
	g.tellOfOut(before, d)
	g.tellOfCredentials(before, p)
	g.current.Store(&gatewayState{gatewayParts: p, domain: d, since: time.Now(), known: before.knownWith(p.cfg.SAML)})
}

// change edits a copy of the parts and puts what is built of them in use, as a
// whole. On an error everything stays as it was.
func (g *liveGateway) change(ctx context.Context, edit func(*gatewayParts) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.current.Load().gatewayParts
	next := now
	if err := edit(&next); err != nil {
		return err
	}
	next.from = next.cfg.SAML.OwnMetadata.ValidFrom(time.Now())
	d, err := g.domainOf(next)
	if err != nil {
		return err
	}
	// New hosts have their certificates before somebody may ask for one; those
	// that go keep theirs until nobody is sent there any more.
	before, after := now.cfg.Hosts(), next.cfg.Hosts()
	if slices.Equal(before, after) {
		return g.replace(next, d)
	}
	if err := g.certify(ctx, union(before, after)); err != nil {
		return err
	}
	if err := g.replace(next, d); err != nil {
		return errors.Join(err, g.certify(ctx, before))
	}
	return g.certify(ctx, after)
}

// replace builds a gateway and puts it in the place of the one in use.
func (g *liveGateway) replace(p gatewayParts, d domain) error {
	door, err := g.build(p, d)
	if err != nil {
		return err
	}
	g.live.Replace(door)
	g.settle(p, d)
	return nil
}

// union returns a and what only b has.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, name := range b {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// certify makes hosts the names that the edge has certificates for.
func (g *liveGateway) certify(ctx context.Context, hosts []string) error {
	if err := g.edge.SetNames(ctx, hosts); err != nil {
		return fmt.Errorf("getting certificates for browsers: %w", err)
	}
	return nil
}

// useSAML, useSession and useConfig put a new version of one part in use.
func (g *liveGateway) useSAML(ctx context.Context, kv vaultpki.KV) error {
	return g.change(ctx, func(p *gatewayParts) error { p.saml = kv; return nil })
}

func (g *liveGateway) useSession(ctx context.Context, kv vaultpki.KV) error {
	return g.change(ctx, func(p *gatewayParts) error { p.session = kv; return nil })
}

// useAssertion does so with the keys that sign assertions, each of which has a
// certificate by then. Vault is asked before the lock.
func (g *liveGateway) useAssertion(ctx context.Context, kv vaultpki.KV) error {
	keys, err := readAssertionKeys(kv)
	if err != nil {
		return err
	}
	if err := g.certificates.certify(ctx, keys, false); err != nil {
		return err
	}
	return g.change(ctx, func(p *gatewayParts) error { p.assertion = kv; return nil })
}

// rebuild puts in use what has changed beside the parts.
func (g *liveGateway) rebuild(ctx context.Context) error {
	return g.change(ctx, func(*gatewayParts) error { return nil })
}

func (g *liveGateway) useConfig(ctx context.Context, name string, text []byte) error {
	cfg, err := loadGateway(name, text)
	if err != nil {
		return err
	}
	now := g.current.Load()
	if err := needsRestart(now.cfg, cfg, now.known); err != nil {
		return err
	}
	// Before the lock: whoever is asked may take his time.
	arrived, err := g.fetchMoved(ctx, cfg)
	if err != nil {
		return err
	}
	secrets, err := g.newCredentials(ctx, cfg)
	if err != nil {
		return err
	}
	err = g.change(ctx, func(p *gatewayParts) error {
		before := *p
		p.metadata = stillFrom(cfg, p.metadata, arrived)
		p.credentials = stillShown(cfg, p.credentials, secrets)
		p.cfg = cfg
		return refuseWorse(before, *p)
	})
	if err == nil {
		g.sections = changedSections(now.cfg, cfg)
		g.published.wake() // it may come from elsewhere now
		g.credentials.wake()
		logConfig(g.log, name, cfg.Warnings())
	}
	return err
}

// needsRestart names what a running process cannot change: where it listens and
// logs, and where in Vault it lives. known are the identity providers that were in use.
func needsRestart(before, after *config.Gateway, known map[string]config.IdP) error {
	trust := append(trustSettings(before.SAML, after.SAML, known), auditSettings(before.AccessLog.AuditPage, after.AccessLog.AuditPage)...)
	return fixed(append(trust, []setting{
		{"listen.https", before.Listen.HTTPS, after.Listen.HTTPS},
		{"listen.http3", fmt.Sprint(before.Listen.HTTP3), fmt.Sprint(after.Listen.HTTP3)},
		{"clients.proxy_protocol", fmt.Sprint(before.Clients.ProxyProtocol), fmt.Sprint(after.Clients.ProxyProtocol)},
		{"clients.trusted_proxies beside proxy_protocol", fmt.Sprint(receptionOf(before).balancers), fmt.Sprint(receptionOf(after).balancers)},
		{"listen.admin", before.Listen.Admin, after.Listen.Admin},
		{"listen.acme_http", before.Listen.ACMEHTTP, after.Listen.ACMEHTTP},
		{"listen.forward_auth", before.Listen.ForwardAuth, after.Listen.ForwardAuth},
		{"listen.reuse_port", strconv.FormatBool(before.Listen.ReusePort), strconv.FormatBool(after.Listen.ReusePort)},
		{"access_log.file", before.AccessLog.File, after.AccessLog.File},
		{"access_log.durability", before.AccessLog.Durability, after.AccessLog.Durability},
		{"access_log.on_failure", before.AccessLog.OnFailure, after.AccessLog.OnFailure},
		{"access_log.buffer_mib", strconv.Itoa(before.AccessLog.BufferMiB), strconv.Itoa(after.AccessLog.BufferMiB)},
		several("access_log.rotate", before.AccessLog.Rotate, after.AccessLog.Rotate),
		several("access_log.checkpoints", before.AccessLog.Checkpoints, after.AccessLog.Checkpoints),
		several("access_log.sinks", before.AccessLog.Sinks, after.AccessLog.Sinks),
		several("tracing", before.Tracing, after.Tracing),
		{"stop.announce", before.Stop.Announce.String(), after.Stop.Announce.String()},
		{"stop.drain", before.Stop.Drain.String(), after.Stop.Drain.String()},
		{"limits.connections", strconv.Itoa(before.Limits.Connections), strconv.Itoa(after.Limits.Connections)},
		{"limits.connections_per_address", strconv.Itoa(before.Limits.ConnectionsPerAddress), strconv.Itoa(after.Limits.ConnectionsPerAddress)},
		{"vault.kv_mount", before.Vault.KVMount, after.Vault.KVMount},
		{"vault.saml_path", before.Vault.SAMLPath, after.Vault.SAMLPath},
		{"vault.session_path", before.Vault.SessionPath, after.Vault.SessionPath},
		{"vault.assertion_path", before.Vault.AssertionPath, after.Vault.AssertionPath},
		{"vault.assertion_role", before.Vault.AssertionRole, after.Vault.AssertionRole},
		{"vault.assertion_name", string(before.Vault.AssertionName), string(after.Vault.AssertionName)},
		{"access_log.pseudonymise", strconv.FormatBool(before.AccessLog.Pseudonymise), strconv.FormatBool(after.AccessLog.Pseudonymise)},
		{"vault.audit_path", before.Vault.AuditPath, after.Vault.AuditPath},
		{"vault.audit_device", before.Vault.AuditDevice, after.Vault.AuditDevice},
		several("vault.edge_pki", before.Vault.EdgePKI, after.Vault.EdgePKI),
		several("vault.edge_acme", before.Vault.EdgeACME, after.Vault.EdgeACME),
		several("vault.backend_pki", before.Vault.BackendPKI, after.Vault.BackendPKI),
		{"vault.client_name", string(before.Vault.ClientName), string(after.Vault.ClientName)},
	}...))
}

// setting is a key and its value before and after a change.
type setting struct{ key, before, after string }

// several is a setting that has keys of its own.
func several(key string, before, after any) setting {
	return setting{key + ".*", fmt.Sprint(before), fmt.Sprint(after)}
}

// fixed refuses a change of any of these settings.
func fixed(settings []setting) error {
	var faults []error
	for _, s := range settings {
		switch key, isSeveral := strings.CutSuffix(s.key, ".*"); {
		case s.before == s.after:
		case isSeveral:
			faults = append(faults, fmt.Errorf("%s: something of it changes, which needs a restart", key))
		default:
			faults = append(faults, fmt.Errorf("%s changes from %q to %q, which needs a restart", key, s.before, s.after))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &hinted{errors.Join(faults...), "restart the process to use it, or take these keys back: nothing of this version is in use until then"}
}

// identityChanged has backends reached on new connections: those that were made
// while other authorities were trusted are not to be relied on, and each is bound to
// the client certificate that it was made with, which the assertions on it name. A
// gateway and its connections have one certificate; with another, another takes its
// place, and what is under way comes to its end on the old ones.
func (g *liveGateway) identityChanged(ctx context.Context, change vaultpki.Change) {
	if change.Roots {
		g.certificates.renewAll()
	}
	// Nothing of the parts changes, so nothing of them can be refused.
	if err := g.change(ctx, func(*gatewayParts) error { g.shown = nil; clear(g.dial); return nil }); err != nil {
		g.log.Error("making new connections to backends did not succeed", "cause", err.Error())
	}
}

// follow keeps an eye on everything that a gateway was made from.
func (g *liveGateway) follow(from source, start loaded[config.Gateway]) []followed {
	w := watcher{g.client, g.refresh, g.log}
	g.published = metadataFollowers(g)
	g.credentials = newFollowers(func() []string { return g.current.Load().cfg.CredentialPaths() }, g.credentialFollower)
	g.secret = w.secret(objectSAMLKeys, func() vaultpki.KV { return g.current.Load().saml }, g.useSAML)
	return append(g.followPseudonyms(w), []followed{
		watchConfig(w, from, start, func(ctx context.Context, text []byte) error { return g.useConfig(ctx, string(from), text) }, func() []string { return g.sections }),
		g.secret,
		w.secret(objectSessionKeys, func() vaultpki.KV { return g.current.Load().session }, g.useSession),
		w.secret(objectAssertionKeys, func() vaultpki.KV { return g.current.Load().assertion }, g.useAssertion),
		g.certificates,
		g.published,
		g.credentials,
		g.followOwnMetadata(),
	}...)
}

// refresh is how often to look for new versions.
func (g *liveGateway) refresh() time.Duration { return g.current.Load().cfg.Vault.Refresh.Duration }

// versionOf names a version of a secret.
func versionOf(kv vaultpki.KV) string { return strconv.Itoa(kv.Version) }

// versionOfText names a text by its content.
func versionOfText(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:6])
}
