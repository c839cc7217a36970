package vaultpki

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"sync"
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
	// Names are the DNS names, lower-case, without wildcards; each gets a
	// certificate of its own. With ClientUsage there is exactly one.
	Names []string
	// TTL is the life that is asked for; Vault may grant less. At least 10
	// seconds.
	TTL time.Duration
	// Usage is ServerUsage or ClientUsage; the PKI role must set just that flag.
	Usage Usage
	// OnRenew, if not nil, is called by Run after a renewed certificate is in
	// use, one call at a time. Connections made before go on with the old one:
	// this is the place to close idle ones.
	OnRenew func(name string)
	// Log receives one line per issued and renewed certificate; nil discards.
	Log *slog.Logger
}

const (
	shortestTTL  = 10 * time.Second
	longestTick  = 10 * time.Second // how often certificates are looked at, at most
	atOnce       = 4                // names that are issued in parallel
	renewalRatio = 0.5              // remaining part of the life at which renewal begins
)

// dnsName is a lower-case DNS name of one label or more, without a wildcard.
var dnsName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Certificates holds certificates of one PKI role, in memory, and keeps them
// fresh. [NewCertificates] makes it; [Certificates.Run] watches over it and
// ends it. All methods are safe for concurrent use.
type Certificates struct {
	cfg    CertificatesConfig
	issuer *issuer
	roots  *x509.CertPool // of the mount; pinned when this value was made
	cache  *certmagic.Cache
	magic  *certmagic.Config
	tick   time.Duration

	closing sync.Once
	serials map[string]string // of the certificates told of, by name; owned by New, then Run
}

// CertificateStatus describes the certificate in use for one name.
type CertificateStatus struct {
	Name      string
	Serial    string // hex octets with colons, as Vault writes it
	NotBefore time.Time
	NotAfter  time.Time
}

// NewCertificates reads the mount's roots, makes a key per name, has Vault sign
// the requests and returns once every name has its certificate, checked. It
// waits for an unreachable Vault as long as the Client's Config.Wait.
//
// Renewal begins at once; the caller must run [Certificates.Run] or call
// [Certificates.Close]. The error is an [*Error] with ReasonConfig,
// ReasonDenied, ReasonUnreachable or ReasonBadCertificate, and nothing is left
// running.
func NewCertificates(ctx context.Context, cfg CertificatesConfig) (*Certificates, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.check(); err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "configuring certificates", Err: err}
	}
	cfg.Names = slices.Clone(cfg.Names)
	cfg.Log = cfg.Log.With("mount", cfg.Mount, "pki_role", cfg.Role, "usage", cfg.Usage.String())
	roots, err := readMountRoots(ctx, cfg.Client, cfg.Mount)
	if err != nil {
		return nil, err
	}
	c := newCertificates(ctx, cfg, roots)
	if err := c.issueAll(ctx); err != nil {
		c.Close()
		return nil, err
	}
	c.issuer.persistent.Store(true)
	for _, status := range c.Status() {
		c.serials[status.Name] = status.Serial
		cfg.Log.Info("certificate issued", status.attrs()...)
	}
	return c, nil
}

// check returns every fault of the configuration.
func (cfg *CertificatesConfig) check() error {
	var faults []error
	if cfg.Client == nil {
		faults = append(faults, errors.New("client: none given"))
	}
	faults = append(faults, wire.CheckPath(cfg.Mount), wire.CheckPath(cfg.Role))
	if cfg.Usage != ServerUsage && cfg.Usage != ClientUsage {
		faults = append(faults, fmt.Errorf("usage %d: expected server or client", cfg.Usage))
	}
	if len(cfg.Names) == 0 || (cfg.Usage == ClientUsage && len(cfg.Names) > 1) {
		faults = append(faults, fmt.Errorf("names %q: expected at least one, and for a client just one", cfg.Names))
	}
	for _, name := range cfg.Names {
		if len(name) > 253 || !dnsName.MatchString(name) {
			faults = append(faults, fmt.Errorf("name %q: expected a lower-case DNS name without a wildcard", name))
		}
	}
	if cfg.TTL < shortestTTL {
		faults = append(faults, fmt.Errorf("ttl %s: expected at least %s", cfg.TTL, shortestTTL))
	}
	return errors.Join(faults...)
}

// readMountRoots returns the mount's own roots. They are all that certificates
// of this mount are checked against, here and in every handshake.
func readMountRoots(ctx context.Context, client *Client, mount string) (*x509.CertPool, error) {
	path := mount + "/cert/ca_chain"
	secret, err := client.read(ctx, "reading the roots of "+mount, path)
	if err != nil {
		return nil, Classify("reading the roots from", path, err)
	}
	bad := func(err error) error {
		return &Error{
			Reason: ReasonBadCertificate, Op: "reading the roots from", Where: path, Err: err,
			Hint: "check that the mount has a root, and an intermediate its whole chain",
		}
	}
	if secret == nil {
		return nil, bad(errors.New("vault's answer is empty"))
	}
	text, _ := secret.Data["certificate"].(string)
	chain, err := parseChain(text)
	if err != nil {
		return nil, bad(err)
	}
	roots, found := x509.NewCertPool(), false
	for _, cert := range chain {
		if isRoot(cert) && time.Now().Before(cert.NotAfter) {
			roots.AddCert(cert)
			found = true
		}
	}
	if !found {
		return nil, bad(fmt.Errorf("none of %d certificates is a root that is still valid", len(chain)))
	}
	return roots, nil
}

// newCertificates wires certmagic. Every field that certmagic would otherwise
// fill from its package-wide defaults is set: those keep keys on disk, use
// Let's Encrypt, and fetch OCSP answers from addresses inside certificates.
func newCertificates(ctx context.Context, cfg CertificatesConfig, roots *x509.CertPool) *Certificates {
	c := &Certificates{
		cfg: cfg, roots: roots, serials: map[string]string{},
		tick: min(max(cfg.TTL/60, time.Second), longestTick),
	}
	c.issuer = &issuer{
		client: cfg.Client, mount: cfg.Mount, role: cfg.Role, ttl: cfg.TTL, usage: cfg.Usage,
		roots: roots, log: cfg.Log, timeLeft: c.timeLeft,
	}
	logger := newZap(ctx, cfg.Log)
	c.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return c.magic, nil },
		RenewCheckInterval: c.tick,
		OCSPCheckInterval:  24 * time.Hour, // stapling is off; the ticker cannot be
		Logger:             logger,
	})
	c.magic = certmagic.New(c.cache, certmagic.Config{
		RenewalWindowRatio:  renewalRatio,
		Issuers:             []certmagic.Issuer{c.issuer},
		KeySource:           certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		OCSP:                certmagic.OCSPConfig{DisableStapling: true},
		Storage:             newMemory(),
		DisableStorageCheck: true,
		DisableARI:          true,
		Logger:              logger,
	})
	return c
}

// issueAll gets the first certificate of every name. certmagic may return nil
// without having one, so the cache is asked.
func (c *Certificates) issueAll(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, name := range c.cfg.Names {
		group.Go(func() error {
			if err := c.magic.ManageSync(ctx, []string{name}); err != nil {
				return c.issueError(name, err)
			}
			if c.certificate(name) == nil {
				return c.issueError(name, errors.New("certmagic returned without a certificate"))
			}
			return nil
		})
	}
	return group.Wait()
}

// issueError unpacks the issuer's error from certmagic's.
func (c *Certificates) issueError(name string, err error) error {
	var ours *Error
	if errors.As(err, &ours) {
		return ours
	}
	return Classify("issuing a certificate for "+name+" by", c.cfg.Mount+"/sign/"+c.cfg.Role, err)
}

// Run watches over the certificates until ctx ends, then closes them and
// returns nil. It tells of each renewal once the new certificate is in use, by
// a log line and OnRenew, and of each certificate that expired.
func (c *Certificates) Run(ctx context.Context) error {
	defer c.Close()
	ticker := time.NewTicker(c.tick)
	defer ticker.Stop()
	expired := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		for _, status := range c.Status() {
			c.observe(status, expired)
		}
	}
}

// observe compares one certificate in use with what was last told of it.
func (c *Certificates) observe(status CertificateStatus, expired map[string]bool) {
	if c.serials[status.Name] != status.Serial {
		c.serials[status.Name] = status.Serial
		delete(expired, status.Name)
		c.cfg.Log.Info("certificate renewed", status.attrs()...)
		if c.cfg.OnRenew != nil {
			c.cfg.OnRenew(status.Name)
		}
	}
	if time.Now().After(status.NotAfter) && !expired[status.Name] {
		expired[status.Name] = true
		c.cfg.Log.Error("certificate has expired", status.attrs()...)
	}
}

// Close ends the renewals and waits for those under way. The certificates stay
// in use until they expire. It may be called more than once; Run calls it.
func (c *Certificates) Close() {
	c.closing.Do(func() {
		c.cache.Stop()
		c.issuer.close()
	})
}

// Status returns the certificate in use for each name, in the order of
// CertificatesConfig.Names. Each is there from NewCertificates on, though it
// may have expired.
func (c *Certificates) Status() []CertificateStatus {
	statuses := make([]CertificateStatus, 0, len(c.cfg.Names))
	for _, name := range c.cfg.Names {
		if cert := c.certificate(name); cert != nil {
			statuses = append(statuses, CertificateStatus{
				Name: name, Serial: serialOf(cert.Leaf), NotBefore: cert.Leaf.NotBefore, NotAfter: cert.Leaf.NotAfter,
			})
		}
	}
	return statuses
}

// certificate returns the certificate for name that lives longest, or nil.
func (c *Certificates) certificate(name string) *certmagic.Certificate {
	var best *certmagic.Certificate
	for _, cert := range c.cache.AllMatchingCertificates(name) {
		if cert.Leaf != nil && (best == nil || cert.Leaf.NotAfter.After(best.Leaf.NotAfter)) {
			best = &cert
		}
	}
	return best
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
	return []any{"name", s.Name, "serial", s.Serial, "not_before", s.NotBefore, "not_after", s.NotAfter}
}
