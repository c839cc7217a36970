package vaultpki

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// CertificatesConfig says which certificates to hold. It must not be modified
// after NewCertificates.
type CertificatesConfig struct {
	// Client issues; its token's policies must allow update on MOUNT/sign/ROLE.
	Client *Client
	// Mount and Role are the PKI mount and the role on it.
	Mount, Role string
	// Names are DNS names, lower-case; each gets a certificate of its own. With
	// ServerUsage and without ACME, *. before a name of two labels or more is one, too:
	// its certificate is for every host of one more label that is not named itself. Or there is one SPIFFE ID, spiffe://TRUST-DOMAIN/PATH, which the
	// PKI role must have in allowed_uri_sans. With ClientUsage there is exactly
	// one name.
	Names []string
	// TTL is the life that is asked for; Vault may grant less. At least 10
	// seconds.
	TTL time.Duration
	// Usage is ServerUsage or ClientUsage; the PKI role must set just that flag.
	Usage Usage
	// Window is when renewals shall happen, if the life of a certificate allows:
	// one that opens before the last quarter of the life is waited for. The zero
	// value is any time.
	Window Window
	// ACME, if not nil, has the certificates ordered from an ACME server; Mount,
	// Role and RevokeOnStop must then be zero and Usage ServerUsage, TTL has no
	// influence, and no roots are read.
	ACME *ACME
	// RevokeOnStop has the certificates in use revoked when Run ends. The token's
	// policies must allow update on MOUNT/revoke, for every certificate of the
	// mount: Vault knows no finer right.
	RevokeOnStop bool
	// OnChange, if not nil, is called once Run has begun, after something that
	// connections are made with has changed, one call at a time. Those made
	// before go on with the old: this is the place to end them. It must not call
	// Renew, SetNames or Close.
	OnChange func(Change)
	// Log receives one line per issued and renewed certificate; nil discards.
	Log *slog.Logger
}

// Change says what is new.
type Change struct {
	// Name is of the certificate that was renewed; "" if none was.
	Name string
	// Roots says that other roots are trusted than before. Connections to peers
	// of a root that is gone are still open.
	Roots bool
}

const (
	shortestTTL = 10 * time.Second
	atOnce      = 4 // certificates that are issued in parallel
	// never is longer than certmagic's clock will run: it shall not renew
	// anything by itself. It takes what has less than five ticks left for an
	// emergency, and would renew a certificate that Vault gave a shorter life
	// than was asked for at every tick.
	never = 20 * 365 * 24 * time.Hour
)

// Certificates holds certificates of one PKI role, in memory, and keeps them
// fresh, and what the mount trusts. [NewCertificates] makes it;
// [Certificates.Run] watches over it and ends it. All methods are safe for
// concurrent use.
type Certificates struct {
	cfg        CertificatesConfig
	pace       pace // of renewals that fail
	trust      atomic.Pointer[trust]
	admitted   admitted // peers that were found good
	watch      rootWatch
	cache      *certmagic.Cache
	magic      *certmagic.Config
	challenges challenges
	failed     failedOrders

	forcedPause time.Duration // the least time between two renewals of one name that somebody asks for

	places  chan struct{}   // full while so many calls to Vault are under way
	changed chan struct{}   // of capacity one: there may be names without a keeper
	life    context.Context // ends with Close
	end     context.CancelFunc
	closing sync.Once
	begun   atomic.Bool // Run was called
	telling sync.Mutex  // held during OnChange
	naming  sync.Mutex  // held while names are replaced

	mu      sync.Mutex     // guards the rest, and what is in held
	held    []*held        // in the order of the names
	coming  []string       // the names that are being had
	closed  bool           // nothing further may begin
	running sync.WaitGroup // of what Close waits for; grows only before closed
}

// CertificateStatus describes the certificate in use for one name.
type CertificateStatus struct {
	Name      string
	Serial    string // hex octets with colons, as Vault writes it
	Issuer    string // the subject of the authority that signed it
	NotBefore time.Time
	NotAfter  time.Time
	Since     time.Time // when it was put in use
	Next      time.Time // when it will be renewed, or that tried again
	Failure   Failure   // why it was not renewed yet, if that was tried
	Renewals  int       // of this name that succeeded, since the start
	Failures  int       // of this name that did not, since the start
}

// NewCertificates reads the mount's roots, makes a key per name, has Vault sign
// the requests and returns once every name has its certificate, checked. It
// waits for an unreachable Vault as long as the Client's Config.Wait.
//
// The caller must run [Certificates.Run] or call [Certificates.Close]. The error
// is an [*Error] with ReasonConfig, ReasonDenied, ReasonUnreachable or
// ReasonBadCertificate, and nothing is left running.
func NewCertificates(ctx context.Context, cfg CertificatesConfig) (*Certificates, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.check(); err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "configuring certificates", Err: err}
	}
	c, err := newIssuing(ctx, cfg)
	if err != nil {
		return nil, err
	}
	var first []*held
	for _, name := range cfg.Names {
		first = append(first, newHeld(c.life, name))
	}
	c.held = first
	if err := c.issueAll(ctx, first); err != nil {
		c.Close()
		return nil, err
	}
	if cfg.RevokeOnStop {
		c.checkRevocation(ctx)
	}
	return c, nil
}

// newIssuing makes Certificates that have none yet.
func newIssuing(ctx context.Context, cfg CertificatesConfig) (*Certificates, error) {
	if cfg.ACME != nil {
		cfg.Log = cfg.Log.With("acme_directory", cfg.ACME.Directory, "usage", cfg.Usage.String())
		return newOrdering(ctx, cfg)
	}
	cfg.Log = cfg.Log.With("mount", cfg.Mount, "pki_role", cfg.Role, "usage", cfg.Usage.String())
	reader := newRootReader(cfg.Client, cfg.Mount)
	roots, err := reader.readFirst(ctx, cfg.Client)
	if err != nil {
		return nil, err
	}
	return newCertificates(ctx, cfg, reader, roots), nil
}

// check returns every fault of the configuration.
func (cfg *CertificatesConfig) check() error {
	var faults []error
	if cfg.Client == nil {
		faults = append(faults, errors.New("client: none given"))
	}
	if cfg.ACME != nil {
		faults = append(faults, cfg.ACME.check(cfg))
	} else {
		faults = append(faults, wire.CheckPath(cfg.Mount), wire.CheckPath(cfg.Role))
	}
	if cfg.Usage != ServerUsage && cfg.Usage != ClientUsage {
		faults = append(faults, fmt.Errorf("usage %d: expected server or client", cfg.Usage))
	}
	faults = append(faults, cfg.checkNames(cfg.Names), cfg.Window.check())
	if cfg.TTL < shortestTTL && cfg.ACME == nil {
		faults = append(faults, fmt.Errorf("ttl %s: expected at least %s", cfg.TTL, shortestTTL))
	}
	return errors.Join(faults...)
}

// newCertificates wires certmagic: it makes keys and requests, keeps both with
// the certificates in memory, and answers handshakes. When to renew what is
// decided here. Every field that certmagic would otherwise fill from its
// package-wide defaults is set: those keep keys on disk, use Let's Encrypt, and
// fetch OCSP answers from addresses inside certificates.
func newCertificates(ctx context.Context, cfg CertificatesConfig, reader *rootReader, roots *trust) *Certificates {
	c := &Certificates{
		cfg: cfg, pace: pace{firstSignDelay, longestSignDelay, shortestSignBound}, forcedPause: forcedSigning, places: make(chan struct{}, atOnce), changed: make(chan struct{}, 1),
		watch: rootWatch{reader: reader, pause: min(longestRootsPause, cfg.TTL/10), ask: make(chan struct{}, 1)},
	}
	c.life, c.end = context.WithCancel(context.WithoutCancel(ctx))
	c.trust.Store(roots)
	logger := newZap(ctx, cfg.Log)
	c.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return c.magic, nil },
		RenewCheckInterval: never,
		OCSPCheckInterval:  never, // stapling is off; the ticker cannot be
		Logger:             logger,
	})
	c.magic = certmagic.New(c.cache, certmagic.Config{
		Issuers: []certmagic.Issuer{&issuer{
			client: cfg.Client, mount: cfg.Mount, role: cfg.Role, ttl: cfg.TTL, usage: cfg.Usage,
			log: cfg.Log, trust: c.trust.Load, refresh: c.refreshRoots,
		}},
		KeySource:           certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		OCSP:                certmagic.OCSPConfig{DisableStapling: true},
		Storage:             newMemory(),
		DisableStorageCheck: true,
		DisableARI:          true,
		Logger:              logger,
	})
	return c
}

// issueAll gets the first certificate of every name. It tries again while Vault
// cannot be reached. One that fails ends the others, but for orders: they count
// at the server, and what comes of them is kept in the storage.
func (c *Certificates) issueAll(ctx context.Context, names []*held) error {
	group, joint := errgroup.WithContext(ctx)
	if c.cfg.ACME == nil {
		ctx = joint
	}
	group.SetLimit(atOnce)
	for _, h := range names {
		group.Go(func() error {
			if err := c.obtain(ctx, h); err != nil {
				return c.issueError(h.name, err)
			}
			status, _ := c.statusOf(h)
			c.cfg.Log.Info("certificate issued", status.attrs()...)
			return nil
		})
	}
	return group.Wait()
}

// obtain has the first certificate of a name issued and puts it in use.
func (c *Certificates) obtain(ctx context.Context, h *held) error {
	if c.cfg.ACME != nil {
		return c.obtainShared(ctx, h)
	}
	err := c.cfg.Client.patience.do(ctx, "issuing a certificate for "+h.name, func(ctx context.Context) error {
		return c.place(ctx, func() error { return c.magic.ObtainCertSync(ctx, h.name) })
	})
	if err != nil {
		return err
	}
	return c.putInUse(ctx, h)
}

// issueError unpacks the issuer's error from certmagic's.
func (c *Certificates) issueError(name string, err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	where := c.cfg.Mount + "/sign/" + c.cfg.Role
	if c.cfg.ACME != nil {
		where = c.cfg.ACME.Directory
	}
	return Classify("issuing a certificate for "+name+" by", where, err)
}

// sitePath is where certmagic stores the certificate and the key of a name.
func sitePath(by certmagic.Issuer, name string) string {
	return certmagic.StorageKeys.CertsSitePrefix(by.IssuerKey(), name)
}

// Run renews certificates when they are due and re-reads the roots of the mount,
// until ctx ends; then it revokes the certificates if so configured, closes and
// returns nil. Renewals, other roots and certificates that expired are told of
// by a log line each, and the first two by OnChange.
func (c *Certificates) Run(ctx context.Context) error {
	defer c.Close()
	c.begun.Store(true)
	work, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(c.life, end)()
	var keepers sync.WaitGroup
	if c.watch.reader != nil {
		keepers.Go(func() { c.watchRoots(work) })
	}
	for work.Err() == nil {
		for _, h := range c.unkept() {
			keepers.Go(func() { c.keep(work, h) })
		}
		select {
		case <-work.Done():
		case <-c.changed:
		}
	}
	keepers.Wait()
	if c.cfg.RevokeOnStop {
		c.revokeAll(ctx)
	}
	return nil
}

// unkept returns the names whose keeper is to be started.
func (c *Certificates) unkept() []*held {
	c.mu.Lock()
	defer c.mu.Unlock()
	var fresh []*held
	for _, h := range c.held {
		if !h.kept {
			h.kept = true
			fresh = append(fresh, h)
		}
	}
	return fresh
}

// Close ends what is under way and waits for it. The certificates stay in use
// until they expire. It may be called more than once; Run calls it.
func (c *Certificates) Close() {
	c.closing.Do(func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		c.end()
		c.running.Wait()
		c.cache.Stop()
	})
}

// begin enters an operation that Close ends and waits for. Its context ends with
// the caller's or then.
func (c *Certificates) begin(ctx context.Context) (inner context.Context, leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, &Error{Reason: ReasonConfig, Op: "using certificates", Err: errors.New("they were closed")}
	}
	c.running.Add(1)
	inner, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.life, cancel)
	return inner, func() {
		stop()
		cancel()
		c.running.Done()
	}, nil
}

// tell calls OnChange. Before Run, whoever made this value is not ready for it.
func (c *Certificates) tell(change Change) {
	if c.cfg.OnChange == nil || !c.begun.Load() {
		return
	}
	c.telling.Lock()
	defer c.telling.Unlock()
	c.cfg.OnChange(change)
}

// all returns what is held, in the order of the names.
func (c *Certificates) all() []*held {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.held)
}

// names returns the names, in order.
func (c *Certificates) names() []string {
	var names []string
	for _, h := range c.all() {
		names = append(names, h.name)
	}
	return names
}

// Status returns the certificate in use for each name, in the order of
// CertificatesConfig.Names or of SetNames. Each is there from NewCertificates
// on, though it may have expired.
func (c *Certificates) Status() []CertificateStatus {
	held := c.all()
	statuses := make([]CertificateStatus, 0, len(held))
	for _, h := range held {
		if status, ok := c.statusOf(h); ok {
			statuses = append(statuses, status)
		}
	}
	return statuses
}

// statusOf describes one certificate, unless there is none.
func (c *Certificates) statusOf(h *held) (CertificateStatus, bool) {
	cert := c.certificate(h.name)
	if cert == nil {
		return CertificateStatus{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return CertificateStatus{
		Name: h.name, Serial: serialOf(cert.Leaf), Issuer: cert.Leaf.Issuer.String(),
		NotBefore: cert.Leaf.NotBefore, NotAfter: cert.Leaf.NotAfter,
		Since: h.since, Next: h.next, Failure: h.failure, Renewals: h.renewals, Failures: h.failures,
	}, true
}

// certificate returns the certificate for name that lives longest, or nil.
func (c *Certificates) certificate(name string) *certmagic.Certificate {
	var best *certmagic.Certificate
	for _, cert := range c.cached(name) {
		if cert.Leaf != nil && (best == nil || cert.Leaf.NotAfter.After(best.Leaf.NotAfter)) {
			best = &cert
		}
	}
	return best
}

// cached returns the certificates for name itself. certmagic's cache also finds those
// of the wildcards that stand for it.
func (c *Certificates) cached(name string) []certmagic.Certificate {
	return slices.DeleteFunc(c.cache.AllMatchingCertificates(name), func(cert certmagic.Certificate) bool {
		return !slices.Contains(cert.Names, name)
	})
}

// chain returns the certificate for name and what is sent along with it, or nil.
func (c *Certificates) chain(name string) []*x509.Certificate {
	cert := c.certificate(name)
	if cert == nil {
		return nil
	}
	chain, err := chainOf(cert)
	if err != nil {
		return nil // it was checked when it came
	}
	return chain
}

// chainOf returns a certificate and what is sent along with it.
func chainOf(cert *certmagic.Certificate) ([]*x509.Certificate, error) {
	chain := []*x509.Certificate{cert.Leaf}
	for _, der := range cert.Certificate.Certificate[1:] {
		authority, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parsing a certificate: %w", err)
		}
		chain = append(chain, authority)
	}
	return chain, nil
}

// timeLeft returns how long the certificate in use is still valid, negative if
// it expired.
func (c *Certificates) timeLeft(name string) time.Duration {
	cert := c.certificate(name)
	if cert == nil {
		return 0
	}
	return time.Until(cert.Leaf.NotAfter)
}

// attrs describes the certificate in a log line.
func (s CertificateStatus) attrs() []any {
	return []any{"name", s.Name, "serial", s.Serial, "not_before", s.NotBefore, "not_after", s.NotAfter, "next_renewal", s.Next}
}
