package vaultpki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// admittedLimit bounds what is remembered of peers: a handful of gateways have a
// few certificates each.
const admittedLimit = 1024

// admitted remembers which leaves lead to a root that is trusted now, so that a
// connection need not be verified again for each of its requests. It forgets
// everything when the trust changes. It is safe for concurrent use.
type admitted struct {
	mu     sync.Mutex // guards the rest
	by     *trust
	leaves map[*x509.Certificate]bool
}

// knows says whether leaf was found good under that trust.
func (a *admitted) knows(by *trust, leaf *x509.Certificate) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.by == by && a.leaves[leaf]
}

// add remembers a leaf that was.
func (a *admitted) add(by *trust, leaf *x509.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by != by || len(a.leaves) >= admittedLimit {
		a.by, a.leaves = by, map[*x509.Certificate]bool{}
	}
	a.leaves[leaf] = true
}

// Admit returns the name of a client that connected to [Certificates.GuardTLS],
// and judges it anew: by the roots that are trusted at this moment, for the names
// that are allowed, and by the clock. A connection may be older than the removal
// of a root or of a name, and lives longer than a certificate. It is cheap enough
// to be asked for each request.
func (c *Certificates) Admit(cs tls.ConnectionState, allowed []string) (string, error) {
	name, err := allowedName(cs, allowed)
	if err != nil {
		return "", err
	}
	leaf, by := cs.PeerCertificates[0], c.trust.Load()
	if now := time.Now(); now.After(leaf.NotAfter) {
		return "", errors.New("admitting the peer: its certificate has expired since the handshake")
	}
	if c.admitted.knows(by, leaf) {
		return name, nil
	}
	if err := checkChain(cs.PeerCertificates, ClientUsage, by, time.Now()); err != nil {
		return "", fmt.Errorf("admitting the peer: %w", err)
	}
	c.admitted.add(by, leaf)
	return name, nil
}

// Keep is Admit for what a client was let in for and has under way: a certificate that has
// ended since, as each does, ends nothing, nor what becomes of its authority afterwards. Its
// name must be allowed still; and as long as it would be good, its root be trusted.
func (c *Certificates) Keep(cs tls.ConnectionState, allowed []string) error {
	if _, err := allowedName(cs, allowed); err != nil {
		return err
	}
	if time.Now().After(cs.PeerCertificates[0].NotAfter) {
		return nil
	}
	_, err := c.Admit(cs, allowed)
	return err
}

// allowedName returns a client's name, which must be one of those.
func allowedName(cs tls.ConnectionState, allowed []string) (string, error) {
	name, err := PeerName(cs)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(allowed, func(a string) bool { return sameName(a, name) }) {
		return "", fmt.Errorf("admitting the peer: its name is %q, expected one of %q", name, allowed)
	}
	return name, nil
}

// CheckAssertionKey says whether a chain, leaf first, certifies at this moment a key that
// signs assertions: it leads to a root of this mount, and the leaf has that one name and
// that one use, which no certificate for handshakes has (see [AssertionUsage]).
func (c *Certificates) CheckAssertionKey(chain []*x509.Certificate, name string) error {
	err := CheckAssertionKey(chain, c.trust.Load().pool, name, time.Now())
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		c.askForRoots() // the gateway may have been the first to learn of a new one
	}
	return err
}

// CheckAssertionKey is that of [Certificates], for whoever has the roots that are trusted,
// and says it for a time.
func CheckAssertionKey(chain []*x509.Certificate, roots *x509.CertPool, name string, at time.Time) error {
	if len(chain) == 0 {
		return errors.New("checking the key of an assertion: there is no certificate")
	}
	if err := checkUsage(chain[0], AssertionUsage); err != nil {
		return fmt.Errorf("checking the key of an assertion: %w", err)
	}
	if err := checkChain(chain, AssertionUsage, &trust{pool: roots}, at); err != nil {
		return fmt.Errorf("checking the key of an assertion: %w", err)
	}
	if own, err := soleName(chain[0]); err != nil || !sameName(own, name) {
		return fmt.Errorf("checking the key of an assertion: its certificate is not for the one name %q", name)
	}
	return nil
}
