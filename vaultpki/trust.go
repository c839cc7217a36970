package vaultpki

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// mostIssuers bounds the authorities of one mount.
const mostIssuers = 100

// trust is the set of roots that a mount has at one time. It is immutable.
type trust struct {
	pool  *x509.CertPool
	roots []*x509.Certificate // sorted by their octets; never empty
	// seal differs from one trust to the next: TLS sessions carry it, and none
	// outlives the trust that it began under.
	seal [16]byte
}

// newTrust takes the roots that are still valid out of certificates, each once.
func newTrust(certificates []*x509.Certificate, now time.Time) (*trust, error) {
	t := &trust{pool: x509.NewCertPool()}
	for _, cert := range certificates {
		if isRoot(cert) && now.Before(cert.NotAfter) {
			t.roots = append(t.roots, cert)
		}
	}
	if len(t.roots) == 0 {
		return nil, fmt.Errorf("none of %d certificates is a root that is still valid", len(certificates))
	}
	slices.SortFunc(t.roots, func(a, b *x509.Certificate) int { return bytes.Compare(a.Raw, b.Raw) })
	t.roots = slices.CompactFunc(t.roots, (*x509.Certificate).Equal)
	for _, root := range t.roots {
		t.pool.AddCert(root)
	}
	if _, err := rand.Read(t.seal[:]); err != nil {
		return nil, fmt.Errorf("making the seal of a trust: %w", err)
	}
	return t, nil
}

// without returns the roots of t that other does not have.
func (t *trust) without(other *trust) []*x509.Certificate {
	var gone []*x509.Certificate
	for _, root := range t.roots {
		if !slices.ContainsFunc(other.roots, root.Equal) {
			gone = append(gone, root)
		}
	}
	return gone
}

// anchors returns the roots that a chain, leaf first, leads to now.
func (t *trust) anchors(chain []*x509.Certificate, usage Usage, now time.Time) ([]*x509.Certificate, error) {
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	own, _ := usage.extKeyUsage()
	if usage == AssertionUsage {
		own = x509.ExtKeyUsageAny // package x509 does not know it; checkUsage does
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots: t.pool, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{own},
	})
	if err != nil {
		return nil, err
	}
	var anchors []*x509.Certificate
	for _, path := range paths {
		anchors = append(anchors, path[len(path)-1])
	}
	return anchors, nil
}

// rootReader reads the authorities of a PKI mount. Its methods must not be
// called concurrently.
type rootReader struct {
	mount string
	// get does one call of Vault's API.
	get func(ctx context.Context, method, path string) (*api.Secret, error)
	// known holds certificates by the identifier of their issuer. Vault gives an
	// identifier to one certificate, once: it need not be read again.
	known map[string]*x509.Certificate
}

// read returns the roots among the issuers of the mount, or those of its CA
// chain where Vault has, or shows, no list of issuers. The path is the one that
// the error is about.
func (r *rootReader) read(ctx context.Context) (t *trust, path string, err error) {
	path = r.mount + "/issuers"
	certificates, err := r.issuers(ctx, path)
	switch wire.Status(err) {
	case http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		path = r.mount + "/cert/ca_chain"
		certificates, err = r.certificates(ctx, path)
	}
	if err != nil {
		return nil, path, err
	}
	t, err = newTrust(certificates, time.Now())
	return t, path, err
}

// issuers returns the certificates of all issuers that the mount lists.
func (r *rootReader) issuers(ctx context.Context, path string) ([]*x509.Certificate, error) {
	secret, err := r.get(ctx, "LIST", path)
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, errors.New("vault's answer is empty")
	}
	ids, _ := secret.Data["keys"].([]any)
	if len(ids) > mostIssuers {
		return nil, fmt.Errorf("the mount has %d issuers, expected at most %d", len(ids), mostIssuers)
	}
	var all []*x509.Certificate
	seen := map[string]*x509.Certificate{}
	for _, item := range ids {
		id, _ := item.(string)
		cert, err := r.issuer(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("reading issuer %q: %w", id, err)
		}
		seen[id] = cert
		all = append(all, cert)
	}
	r.known = seen
	return all, nil
}

// issuer returns the certificate of one issuer.
func (r *rootReader) issuer(ctx context.Context, id string) (*x509.Certificate, error) {
	if cert := r.known[id]; cert != nil {
		return cert, nil
	}
	if err := wire.CheckName(id); err != nil {
		return nil, err
	}
	certificates, err := r.certificates(ctx, r.mount+"/issuer/"+id+"/json")
	if err != nil {
		return nil, err
	}
	if len(certificates) != 1 {
		return nil, fmt.Errorf("vault's answer has %d certificates in place of one", len(certificates))
	}
	return certificates[0], nil
}

// certificates returns those in the field "certificate" of an answer.
func (r *rootReader) certificates(ctx context.Context, path string) ([]*x509.Certificate, error) {
	secret, err := r.get(ctx, http.MethodGet, path)
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, errors.New("vault's answer is empty")
	}
	text, _ := secret.Data["certificate"].(string)
	return parseChain(text)
}

// newRootReader reads with the client's token, though Vault asks for none.
func newRootReader(client *Client, mount string) *rootReader {
	return &rootReader{mount: mount, get: func(ctx context.Context, method, path string) (*api.Secret, error) {
		secret, err := client.do(ctx, wire.Call{Method: method, Path: path, Limit: wire.DataBytes})
		if err != nil {
			return nil, &callError{err}
		}
		return secret, nil
	}}
}

// callError is a call that failed, as opposed to an answer that is of no use.
type callError struct{ err error }

func (e *callError) Error() string { return e.err.Error() }
func (e *callError) Unwrap() error { return e.err }

// readFirst is read for the start: it waits for an unreachable Vault as long as
// the client's Config.Wait.
func (r *rootReader) readFirst(ctx context.Context, client *Client) (t *trust, err error) {
	var path string
	err = client.patience.do(ctx, "reading the roots of "+r.mount, func(ctx context.Context) (err error) {
		t, path, err = r.read(ctx)
		return err
	})
	return t, rootsError(path, err)
}

// rootsError makes an [*Error] of what read returned.
func rootsError(path string, err error) error {
	const op = "reading the roots from"
	var call *callError
	if err == nil {
		return nil
	}
	if errors.As(err, &call) {
		return Classify(op, path, err)
	}
	return &Error{
		Reason: ReasonBadCertificate, Op: op, Where: path, Err: err,
		Hint: "check that the mount has a root, and an intermediate its whole chain",
	}
}

// RootStatus describes a root that is trusted now.
type RootStatus struct {
	Subject     string
	Fingerprint string // SHA-256 of the certificate, in hex
	NotBefore   time.Time
	NotAfter    time.Time
	// InUse says whether a certificate in use leads to this root.
	InUse bool
}

// Roots returns the roots that are trusted now, in a stable order; there is at
// least one.
func (c *Certificates) Roots() []RootStatus {
	t, now := c.trust.Load(), time.Now()
	used := map[string]bool{}
	for _, h := range c.all() {
		chain := c.chain(h.name)
		if chain == nil {
			continue
		}
		anchors, _ := t.anchors(chain, c.cfg.Usage, now) // one that leads nowhere uses none
		for _, anchor := range anchors {
			used[fingerprintOf(anchor)] = true
		}
	}
	var statuses []RootStatus
	for _, root := range t.roots {
		fingerprint := fingerprintOf(root)
		statuses = append(statuses, RootStatus{
			Subject: root.Subject.String(), Fingerprint: fingerprint,
			NotBefore: root.NotBefore, NotAfter: root.NotAfter, InUse: used[fingerprint],
		})
	}
	return statuses
}

// fingerprintOf is how operators compare certificates.
func fingerprintOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Pace of re-reading roots.
const (
	longestRootsPause = time.Minute
	shortestAsk       = 5 * time.Second // between two readings, whoever asks
	removalPause      = 2 * time.Second // before a root that is missing is looked for again
)

// rootWatch re-reads the roots of a mount and keeps what is trusted.
type rootWatch struct {
	reader *rootReader
	pause  time.Duration // between two readings, before jitter
	ask    chan struct{} // of capacity one: somebody met a root that is not known

	mu sync.Mutex // held while roots are read
}

// askForRoots has the roots read soon, though not more often than every
// shortestAsk: strangers can cause it.
func (c *Certificates) askForRoots() {
	select {
	case c.watch.ask <- struct{}{}:
	default: // it is asked for already
	}
}

// watchRoots re-reads the roots until ctx ends. The first answer after a
// failure also has renewals tried that wait for Vault: this call costs nobody
// anything, theirs makes a key and a certificate.
func (c *Certificates) watchRoots(ctx context.Context) {
	delays := newDelays(time.Second, longestAbsencePause)
	var cause string
	for {
		pause := jittered(c.watch.pause)
		if cause != "" {
			pause = delays.NextBackOff()
		}
		if !c.awaitRoots(ctx, pause) {
			return
		}
		err := c.refreshRoots(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && cause != "":
			c.cfg.Log.Info("the roots can be read again")
			cause = ""
			delays.Reset()
			c.retryNow()
		case err != nil && causeOf(err) != cause:
			cause = causeOf(err)
			c.cfg.Log.Warn("re-reading the roots did not succeed: those known stay trusted", "cause", cause)
		}
	}
}

// longestAbsencePause is how late Vault's return is noticed, before jitter.
const longestAbsencePause = 10 * time.Second

// awaitRoots waits for pause, or until somebody asks after shortestAsk.
func (c *Certificates) awaitRoots(ctx context.Context, pause time.Duration) bool {
	first := min(pause, shortestAsk)
	if !sleep(ctx, first) {
		return false
	}
	timer := time.NewTimer(pause - first)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-c.watch.ask:
	case <-timer.C:
	}
	return true
}

// refreshRoots reads the roots once and trusts them from now on. On any error
// the old ones stay trusted.
func (c *Certificates) refreshRoots(ctx context.Context) error {
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	old := c.trust.Load()
	fresh, path, err := c.watch.reader.read(ctx)
	if err == nil && len(old.without(fresh)) > 0 {
		fresh, path, err = c.confirmRemoval(ctx, fresh)
	}
	if err != nil {
		return rootsError(path, err)
	}
	added, removed := fresh.without(old), old.without(fresh)
	if len(added)+len(removed) == 0 {
		return nil
	}
	c.trust.Store(fresh)
	c.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "trusted roots changed",
		slog.Any("added", describe(added)), slog.Any("removed", describe(removed)), slog.Int("trusted", len(fresh.roots)))
	c.replan()
	c.tell(Change{Roots: true})
	return nil
}

// confirmRemoval reads once more. A root goes only if two answers lack it: the
// nodes of a cluster do not learn of a new one in the same moment.
func (c *Certificates) confirmRemoval(ctx context.Context, first *trust) (*trust, string, error) {
	if !sleep(ctx, removalPause) {
		return nil, "", ctx.Err()
	}
	second, path, err := c.watch.reader.read(ctx)
	if err != nil {
		return nil, path, err
	}
	both, err := newTrust(slices.Concat(first.roots, second.roots), time.Now())
	return both, path, err
}

// describe names roots in a log line.
func describe(roots []*x509.Certificate) []string {
	names := []string{}
	for _, root := range roots {
		names = append(names, fmt.Sprintf("%s (sha256 %s, until %s)",
			root.Subject, fingerprintOf(root)[:16], root.NotAfter.UTC().Format(time.RFC3339)))
	}
	return names
}
