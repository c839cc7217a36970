package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/vaultpki"
)

// keyCertificates are the certificates of the keys that sign assertions: Vault signs
// one for each, and another when half of its life is over. While Vault is away, what
// is held goes on to be used; an assertion that would outlive its certificate is sent
// without it.
//
// The fields are set once, before run. All methods are safe for concurrent use.
type keyCertificates struct {
	// sign has Vault sign a certificate of the key; if patient, it waits for a Vault
	// that is away.
	sign func(ctx context.Context, key assertionKey, patient bool) ([]*x509.Certificate, error)
	// inUse are the keys that there are now, and renewed puts new certificates of
	// theirs in use.
	inUse   func() assertionKeys
	renewed func(context.Context) error
	name    string // in the certificates
	log     *slog.Logger
	wakeup  chan struct{}

	mu   sync.Mutex // guards held, and what is in it
	held map[string]*keyCertificate
}

// keyCertificate is that of one key.
type keyCertificate struct {
	chain   []*x509.Certificate
	since   time.Time
	next    time.Time // when it is renewed, or that tried again
	failure vaultpki.Failure
}

// Pace of attempts that fail.
const (
	firstCertify   = time.Second
	longestCertify = time.Minute
)

// newKeyCertificates returns one that holds nothing yet.
func newKeyCertificates(g *liveGateway, v config.Vault) *keyCertificates {
	return &keyCertificates{
		sign: func(ctx context.Context, key assertionKey, patient bool) ([]*x509.Certificate, error) {
			return g.backend.CertifyKey(ctx, vaultpki.KeyRequest{
				Key: key.signer, Role: v.AssertionRole, Name: string(v.AssertionName), TTL: v.BackendPKI.TTL.Duration, Patient: patient,
			})
		},
		inUse:   func() assertionKeys { return g.current.Load().keys },
		renewed: g.rebuild, name: string(v.AssertionName), log: g.log,
		wakeup: make(chan struct{}, 1), held: map[string]*keyCertificate{},
	}
}

// certify gets a certificate for each of keys that has none.
func (c *keyCertificates) certify(ctx context.Context, keys assertionKeys, patient bool) error {
	for _, key := range keys {
		if c.chain(key.id) != nil {
			continue
		}
		if err := c.obtain(ctx, key, patient); err != nil {
			return fmt.Errorf("getting a certificate of the assertion key %s: %w", key.id, err)
		}
	}
	return nil
}

// obtain has one signed and holds it.
func (c *keyCertificates) obtain(ctx context.Context, key assertionKey, patient bool) error {
	chain, err := c.sign(ctx, key, patient)
	if err != nil {
		return err
	}
	now, leaf := time.Now(), chain[0]
	life := leaf.NotAfter.Sub(now)
	//nolint:gosec // jitter spreads the renewals of replicas; it keeps no secret
	next := now.Add(life/2 + rand.N(life/20+1)).Round(0)
	c.mu.Lock()
	c.held[key.id] = &keyCertificate{chain: chain, since: now, next: next}
	c.mu.Unlock()
	c.log.Info("assertion key certified", "name", c.name, "key_id", key.id, "serial", relay.Serial(leaf), "not_after", leaf.NotAfter, "next_renewal", next)
	return nil
}

// chain returns the certificate of a key and what leads up from it, or nil.
func (c *keyCertificates) chain(id string) []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held := c.held[id]; held != nil {
		return held.chain
	}
	return nil
}

// renewAll has every certificate renewed now: the authority above them has changed.
func (c *keyCertificates) renewAll() {
	c.mu.Lock()
	for _, held := range c.held {
		held.next = time.Now().Round(0)
	}
	c.mu.Unlock()
	c.nudge()
}

func (c *keyCertificates) nudge() {
	select {
	case c.wakeup <- struct{}{}:
	default: // it will look, already
	}
}

// wake implements [followed]: what has failed is tried again now.
func (c *keyCertificates) wake() {
	c.mu.Lock()
	for _, held := range c.held {
		if held.failure.Attempts > 0 {
			held.next = time.Now().Round(0)
		}
	}
	c.mu.Unlock()
	c.nudge()
}

// states implements [followed]: nothing is read here.
func (*keyCertificates) states() []followState { return nil }

// run renews until ctx ends, then returns nil.
func (c *keyCertificates) run(ctx context.Context) error {
	for {
		timer := time.NewTimer(c.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.wakeup:
			timer.Stop()
		case <-timer.C:
		}
		c.look(ctx)
	}
}

// pause is how long nothing is due. The clock may be set, or stand still: it is
// looked at once a minute.
func (c *keyCertificates) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	pause := time.Minute
	for _, held := range c.held {
		pause = min(pause, max(0, time.Until(held.next)))
	}
	return pause
}

// look renews what is due, and lets go of what is of no key any more.
func (c *keyCertificates) look(ctx context.Context) {
	keys, fresh := c.inUse(), false
	c.keepOnly(keys)
	for _, key := range keys {
		c.mu.Lock()
		held := c.held[key.id]
		due := held != nil && !time.Now().Before(held.next)
		c.mu.Unlock()
		if !due {
			continue
		}
		err := c.obtain(ctx, key, false)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.putOff(ctx, held, key, err)
		}
		fresh = fresh || err == nil
	}
	if !fresh {
		return
	}
	if err := c.renewed(ctx); err != nil && ctx.Err() == nil {
		c.log.Error("putting new certificates of the assertion keys in use did not succeed", "cause", err.Error(), "what_to_do", hintOf(err))
	}
}

// keepOnly drops what is not of these keys. A version that is being put in use
// now loses nothing that way but what it will ask for again.
func (c *keyCertificates) keepOnly(keys assertionKeys) {
	known := map[string]bool{}
	for _, key := range keys {
		known[key.id] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, held := range c.held {
		if !known[id] && time.Since(held.since) > time.Hour {
			delete(c.held, id)
		}
	}
}

// putOff plans the next attempt after a failed one.
func (c *keyCertificates) putOff(ctx context.Context, held *keyCertificate, key assertionKey, err error) {
	now := time.Now()
	c.mu.Lock()
	if held.failure.Attempts == 0 {
		held.failure.Since = now
	}
	held.failure.Attempts++
	held.failure.Cause = err.Error()
	delay := jittered(min(firstCertify<<min(held.failure.Attempts-1, 10), longestCertify))
	held.next = now.Add(delay).Round(0)
	leaf, failure, since := held.chain[0], held.failure, held.since
	c.mu.Unlock()
	left, level := leaf.NotAfter.Sub(now), slog.LevelWarn
	if left < leaf.NotAfter.Sub(since)/4 {
		level = slog.LevelError
	}
	c.log.Log(ctx, level, "renewing the certificate of an assertion key did not succeed", "name", c.name, "key_id", key.id,
		"cause", failure.Cause, "attempt", failure.Attempts, "next_try", delay.Round(time.Millisecond).String(),
		"time_left", left.Round(time.Second).String(), "what_to_do", hintOf(err))
}

// artefacts are the certificates, for the status.
func (c *keyCertificates) artefacts() []artefact {
	var all []artefact
	keys := c.inUse()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, key := range keys {
		held := c.held[key.id]
		if held == nil {
			continue
		}
		a := artefact{
			Kind: kindCertificate, Name: c.name + " " + shortFingerprint(key.id), Since: held.since, Until: held.chain[0].NotAfter,
			Renews: true, Fault: faultOf(held.failure),
		}
		if i == 0 {
			a.Stops, a.Hard = "tools that verify assertions by the authority alone", true
		}
		all = append(all, a)
	}
	return all
}
