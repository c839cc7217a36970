package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// forcedSigning is the least time between two renewals of one name by Vault that
// somebody asks for: a finger on a key must not load it.
const forcedSigning = 10 * time.Second

// Renew renews the certificate of a name now, or those of all names if name is
// empty, window or not. It returns when the new certificates are in use; where
// there is an error, the old one stays and is renewed when it is due. One
// attempt is made; the waiting is left to the caller.
//
// The error is an [*Error] for each name that failed, joined, as from
// [NewCertificates]; or it wraps [ErrUnknownName], or [ErrTooSoon] for a name
// that was renewed this way less than ten seconds ago, or was ordered from an ACME
// server less than an hour ago, with success or without.
func (c *Certificates) Renew(ctx context.Context, name string) error {
	var wanted []*held
	for _, h := range c.all() {
		if name == "" || h.name == name {
			wanted = append(wanted, h)
		}
	}
	if len(wanted) == 0 {
		return &Error{
			Reason: ReasonConfig, Op: "renewing the certificate for", Where: name, Err: ErrUnknownName,
			Hint: fmt.Sprintf("name one of %q", c.names()),
		}
	}
	ctx, leave, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer leave()
	faults := make([]error, len(wanted))
	var group errgroup.Group // not one that ends at the first fault: each name is for itself
	for i, h := range wanted {
		group.Go(func() error {
			faults[i] = c.force(ctx, h)
			return nil
		})
	}
	return errors.Join(group.Wait(), errors.Join(faults...))
}

// force renews one certificate out of turn, unless that was just done.
func (c *Certificates) force(ctx context.Context, h *held) error {
	c.mu.Lock()
	left := c.forcedPause - time.Since(h.forced)
	if left <= 0 {
		h.forced = time.Now()
	}
	c.mu.Unlock()
	if left > 0 {
		return &Error{
			Reason: ReasonConfig, Op: "renewing the certificate for", Where: h.name, Err: ErrTooSoon,
			Hint: fmt.Sprintf("wait %s", max(left.Round(time.Second), time.Second)),
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.life, cancel)() // whoever drops the name waits for this
	if !h.enter(ctx) {
		return c.issueError(h.name, ctx.Err())
	}
	defer h.leave()
	if h.life.Err() != nil { // it was dropped before its turn came
		return c.issueError(h.name, h.life.Err())
	}
	return c.renew(ctx, h, true)
}

// SetNames replaces the names. Those that are new have their certificates when
// it returns, those that are no longer wanted are served and renewed no more,
// and the others are left as they are. It waits for an unreachable Vault as long
// as the Client's Config.Wait. On an error, which is as from [NewCertificates],
// nothing changes. A name for which an order at an ACME server has failed is not
// ordered again before a delay has passed that grows from a minute to an hour:
// until then the error is the same, and says when.
func (c *Certificates) SetNames(ctx context.Context, names []string) error {
	names = slices.Clone(names)
	if err := c.cfg.checkNames(names); err != nil {
		return &Error{Reason: ReasonConfig, Op: "configuring certificates", Err: err}
	}
	ctx, leave, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer leave()
	c.naming.Lock()
	defer c.naming.Unlock()
	had := map[string]*held{}
	for _, h := range c.all() {
		had[h.name] = h
	}
	var want, added []*held
	for _, name := range names {
		h := had[name]
		if h == nil {
			h = newHeld(c.life, name)
			added = append(added, h)
		}
		delete(had, name)
		want = append(want, h)
	}
	c.failed.forget(names)
	c.expect(names)
	defer c.expect(nil)
	if err := c.issueAll(ctx, added); err != nil {
		return errors.Join(err, c.forget(ctx, added))
	}
	c.hold(want)
	var dropped []*held
	for _, h := range had {
		c.cfg.Log.Info("certificate dropped", "name", h.name)
		dropped = append(dropped, h)
	}
	return c.forget(ctx, dropped)
}

// expect has validations of these names answered before there are certificates.
func (c *Certificates) expect(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coming = names
}

// hold makes these the names that there are, and has the new ones kept.
func (c *Certificates) hold(want []*held) {
	c.mu.Lock()
	c.held = want
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default: // Run will look
	}
}

// forget ends what goes on for names, and removes their certificates and keys.
func (c *Certificates) forget(ctx context.Context, names []*held) error {
	ctx = context.WithoutCancel(ctx) // it waits only for what drop ends
	var faults []error
	for _, h := range names {
		h.drop()
		h.enter(ctx)
		var hashes []string
		for _, cert := range c.cached(h.name) {
			hashes = append(hashes, cert.Hash())
		}
		if len(hashes) > 0 {
			c.cache.Remove(hashes)
		}
		if c.cfg.ACME == nil { // else it may be another replica's, too
			faults = append(faults, c.magic.Storage.Delete(ctx, sitePath(c.magic.Issuers[0], h.name)))
		}
		h.leave()
	}
	return errors.Join(faults...)
}
