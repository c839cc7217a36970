package vaultpki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"weak"
)

// admittedLimit bounds what is remembered of peers: a handful of gateways have some
// hundreds of connections each, with a certificate as crypto/tls has parsed it.
const admittedLimit = 4096

// admitted remembers which leaves lead to a root that is trusted now, and the name of
// each, so that a connection need not be verified again for each of its requests. It
// forgets everything when the trust changes, and keeps no certificate in memory whose
// connection has ended. It is safe for concurrent use.
type admitted struct {
	mu    sync.Mutex // guards the rest
	by    *trust
	names map[weak.Pointer[x509.Certificate]]goodName
}

// goodName is the name of a leaf that is known to be good, for as long as it may be.
type goodName struct {
	name  string
	until time.Time
}

// nameOf returns the name of a verified peer whose leaf was found good under that trust, and
// is so still.
func (a *admitted) nameOf(by *trust, cs tls.ConnectionState, now time.Time) (name string, known bool) {
	if len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return "", false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by != by {
		return "", false
	}
	good := a.names[weak.Make(cs.VerifiedChains[0][0])] // the zero value has ended
	return good.name, !now.After(good.until)
}

// add remembers the leaf of a chain that was, and its name, until the first certificate ends
// that may be on its way to a root.
func (a *admitted) add(by *trust, chain []*x509.Certificate, name string) {
	leaf, until := chain[0], chain[0].NotAfter
	for _, cert := range slices.Concat(chain, by.roots) {
		if cert.NotAfter.Before(until) {
			until = cert.NotAfter
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by != by || len(a.names) >= admittedLimit {
		a.by, a.names = by, map[weak.Pointer[x509.Certificate]]goodName{}
	}
	a.names[weak.Make(leaf)] = goodName{name, until}
}

// Admit returns the name of a client that connected to [Certificates.GuardTLS],
// and judges it anew: by the roots that are trusted at this moment, for the names
// that are allowed, and by the clock. A connection may be older than the removal
// of a root or of a name, and lives longer than a certificate. It is cheap enough
// to be asked for each request.
func (c *Certificates) Admit(cs tls.ConnectionState, allowed []string) (string, error) {
	by, now := c.trust.Load(), time.Now()
	name, known := c.admitted.nameOf(by, cs, now)
	if !known {
		var err error
		if name, err = PeerName(cs); err != nil {
			return "", err
		}
	}
	if err := checkAllowed(name, allowed); err != nil {
		return "", err
	}
	if now.After(cs.VerifiedChains[0][0].NotAfter) {
		return "", errors.New("admitting the peer: its certificate has expired since the handshake")
	}
	if known {
		return name, nil
	}
	if err := checkChain(cs.PeerCertificates, ClientUsage, by, now); err != nil {
		return "", fmt.Errorf("admitting the peer: %w", err)
	}
	c.admitted.add(by, cs.PeerCertificates, name)
	return name, nil
}

// Keep is Admit for what a client was let in for and has under way: a certificate that has
// ended since, as each does, ends nothing, nor what becomes of its authority afterwards. Its
// name must be allowed still; and as long as it would be good, its root be trusted.
func (c *Certificates) Keep(cs tls.ConnectionState, allowed []string) error {
	name, err := PeerName(cs)
	if err != nil {
		return err
	}
	if err := checkAllowed(name, allowed); err != nil {
		return err
	}
	if time.Now().After(cs.PeerCertificates[0].NotAfter) {
		return nil
	}
	_, err = c.Admit(cs, allowed)
	return err
}

// checkAllowed says whether a client's name is one of those.
func checkAllowed(name string, allowed []string) error {
	if !slices.ContainsFunc(allowed, func(a string) bool { return sameName(a, name) }) {
		return fmt.Errorf("admitting the peer: its name is %q, expected one of %q", name, allowed)
	}
	return nil
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
