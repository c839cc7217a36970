package vaultpki

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Pace of renewals. Within these bounds it follows the life of the certificate:
// a pace of minutes would let one of five minutes expire after two failures.
const (
	firstSignDelay    = 500 * time.Millisecond
	shortestSignBound = time.Second
	longestSignDelay  = time.Minute
	longestNap        = time.Minute // between two looks at the clock: it may be set, or stand still
	returnSpread      = time.Second // over which waiting renewals are tried when Vault is back
)

// pace bounds the delays between attempts that fail. While a certificate lives
// no delay is longer than a twentieth of its life, or floor if that is more.
type pace struct{ first, longest, floor time.Duration }

// held is what is known of one name beside its certificate, which is in
// certmagic's cache.
type held struct {
	name string
	turn chan struct{}   // full while a certificate of this name is being had: one at a time
	look chan struct{}   // of capacity one: next has changed
	life context.Context // ends when the name is dropped
	drop context.CancelFunc

	// The rest is guarded by Certificates.mu.
	since    time.Time                   // when the certificate was put in use
	real     time.Duration               // its life, counted from there
	next     time.Time                   // when to renew it, or to try again
	failure  Failure                     // since the last success
	delays   *backoff.ExponentialBackOff // between failures
	away     bool                        // the last failure was that Vault could not be reached
	renewals int                         // that succeeded
	failures int                         // that did not
	forced   time.Time                   // when somebody last asked for a renewal
	kept     bool                        // a keeper was started
	expired  bool                        // and told of
}

// Failure tells of the attempts to renew that did not succeed since the last one
// that did. The zero value is none.
type Failure struct {
	Cause    string    // of the last one; it holds no secret
	Since    time.Time // when the first one failed
	Attempts int
}

func newHeld(life context.Context, name string) *held {
	h := &held{name: name, turn: make(chan struct{}, 1), look: make(chan struct{}, 1)}
	h.life, h.drop = context.WithCancel(life)
	return h
}

// enter waits for the turn of having a certificate of this name.
func (h *held) enter(ctx context.Context) bool {
	select {
	case h.turn <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (h *held) leave() { <-h.turn }

// nudge has the keeper look at next anew.
func (h *held) nudge() {
	select {
	case h.look <- struct{}{}:
	default: // it will look
	}
}

// keep renews the certificate of one name whenever it is due, until ctx ends or
// the name is dropped. No name waits for another but for one of a few places at
// Vault.
func (c *Certificates) keep(ctx context.Context, h *held) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.life, cancel)()
	for c.awaitDue(ctx, h) {
		c.renewDue(ctx, h)
	}
}

// awaitDue waits until a renewal is due, and returns false when ctx ends.
func (c *Certificates) awaitDue(ctx context.Context, h *held) bool {
	for ctx.Err() == nil {
		c.noteExpiry(h)
		left := time.Until(c.due(h))
		if left <= 0 {
			return true
		}
		timer := time.NewTimer(min(left, longestNap))
		select {
		case <-ctx.Done():
		case <-h.look:
		case <-timer.C:
		}
		timer.Stop()
	}
	return false
}

// due returns when the certificate is to be renewed next.
func (c *Certificates) due(h *held) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return h.next
}

// renewDue renews a certificate, unless that was done while it waited.
func (c *Certificates) renewDue(ctx context.Context, h *held) {
	if !h.enter(ctx) {
		return
	}
	defer h.leave()
	if time.Now().Before(c.due(h)) {
		return
	}
	if err := c.renew(ctx, h, false); err != nil && ctx.Err() == nil {
		c.putOff(ctx, h, err)
	}
}

// renew has one certificate issued, once, and puts it in use in place of the
// old one, which stays if there is an error. The caller has the turn.
func (c *Certificates) renew(ctx context.Context, h *held, forced bool) error {
	err := c.place(ctx, func() error {
		if c.cfg.ACME != nil {
			return c.renewShared(ctx, h, forced)
		}
		return c.magic.RenewCertSync(ctx, h.name, true)
	})
	if err == nil {
		err = c.putInUse(ctx, h)
	}
	c.mu.Lock()
	if err == nil {
		h.renewals++
	} else if ctx.Err() == nil {
		h.failures++
	}
	c.mu.Unlock()
	if err != nil {
		return c.issueError(h.name, err)
	}
	if status, ok := c.statusOf(h); ok {
		c.cfg.Log.Info("certificate renewed", status.attrs()...)
	}
	c.retryNow() // whoever waits for Vault need not any more
	c.tell(Change{Name: h.name})
	return nil
}

// place runs call in one of the few places at Vault.
func (c *Certificates) place(ctx context.Context, call func() error) error {
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.places }()
	return call()
}

// putInUse takes the certificate that is in the storage into use, and plans its
// renewal, unless it is in use already.
func (c *Certificates) putInUse(ctx context.Context, h *held) error {
	old := c.cached(h.name)
	fresh, err := c.magic.CacheManagedCertificate(ctx, h.name)
	if err != nil {
		return err
	}
	var replaced []string
	for _, cert := range old {
		if cert.Hash() == fresh.Hash() {
			return nil
		}
		replaced = append(replaced, cert.Hash())
	}
	if c.cfg.ACME != nil { // the storage is shared
		if err := c.judgeStored(h.name, fresh); err != nil {
			c.cache.Remove([]string{fresh.Hash()})
			return err
		}
	}
	if len(replaced) > 0 {
		c.cache.Remove(replaced)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h.since = time.Now()
	counts := h.since
	if c.cfg.ACME != nil {
		counts = fresh.Leaf.NotBefore // it may have been issued long ago, for another replica
	}
	h.real = fresh.Leaf.NotAfter.Sub(lifeBegins(fresh.Leaf, counts))
	//nolint:gosec // jitter spreads the renewals of replicas; it keeps no secret
	h.next = renewalTime(fresh.Leaf, counts, c.cfg.Window, rand.Float64())
	h.failure, h.away, h.expired = Failure{}, false, false
	h.nudge()
	return nil
}

// lifeBegins returns from when the life of a certificate counts. Vault dates
// certificates back, by half a minute if not told otherwise: counted from there,
// half the life of a short one would be over when it comes.
func lifeBegins(leaf *x509.Certificate, since time.Time) time.Time {
	if since.After(leaf.NotBefore) {
		return since.Round(0) // the wall clock alone: that is what a certificate ends by
	}
	return leaf.NotBefore
}

// renewalTime returns when to renew a certificate that was put in use at since:
// at half of its life and a little later, or when the window opens after that,
// if it does before the last quarter. Spread, from 0 to 1, is for the replicas
// of one process not to come in the same moment.
func renewalTime(leaf *x509.Certificate, since time.Time, window Window, spread float64) time.Time {
	begins := lifeBegins(leaf, since)
	life := leaf.NotAfter.Sub(begins)
	after := func(most time.Duration) time.Duration { return time.Duration(spread * float64(most)) }
	due := begins.Add(life/2 + after(life/20))
	if window.none() {
		return due
	}
	latest := begins.Add(life / 4 * 3)
	opens, closes := window.next(due)
	if !opens.Before(latest) {
		return due
	}
	if latest.Before(closes) {
		closes = latest
	}
	return opens.Add(after(min(closes.Sub(opens)/2, life/20)))
}

// putOff plans the next attempt after a failed one.
func (c *Certificates) putOff(ctx context.Context, h *held, err error) {
	now, left := time.Now(), c.timeLeft(h.name)
	c.mu.Lock()
	if h.failure.Attempts == 0 {
		h.failure.Since = now
		h.delays = newDelays(c.pace.first, c.pace.longest)
	}
	h.failure.Attempts++
	h.failure.Cause = err.Error()
	h.away = ReasonOf(err) == ReasonUnreachable && c.cfg.ACME == nil
	delay := h.delays.NextBackOff()
	if left > 0 { // nothing is lost by waiting when it has ended
		delay = min(delay, max(h.real/20, c.pace.floor))
	}
	delay = max(delay, wire.RetryAfter(err))
	h.next = now.Add(delay).Round(0)
	failure, life, away := h.failure, h.real, h.away
	c.mu.Unlock()
	if away {
		c.askForRoots() // the first to notice that Vault is back
	}
	// Louder the less time is left: at half of its life nothing is lost yet.
	level := slog.LevelWarn
	if left < life/4 {
		level = slog.LevelError
	}
	c.cfg.Log.Log(ctx, level, "renewing the certificate did not succeed",
		"name", h.name, "cause", failure.Cause, "attempt", failure.Attempts,
		"next_try", delay.Round(time.Millisecond).String(), "time_left", left.Round(time.Second).String())
}

// retryNow has renewals tried soon that wait because Vault could not be reached.
func (c *Certificates) retryNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.held {
		if h.away {
			h.away = false
			//nolint:gosec // jitter spreads the renewals of replicas; it keeps no secret
			h.next = time.Now().Add(rand.N(returnSpread)).Round(0)
			h.nudge()
		}
	}
}

// replan has every certificate renewed now that leads to no trusted root: the
// peers have stopped to believe it, or will soon.
func (c *Certificates) replan() {
	t, now := c.trust.Load(), time.Now()
	for _, h := range c.all() {
		chain := c.chain(h.name)
		if chain == nil {
			continue // the first is being had
		}
		if _, err := t.anchors(chain, c.cfg.Usage, now); err == nil {
			continue
		}
		c.mu.Lock()
		h.next = now.Round(0)
		c.mu.Unlock()
		h.nudge()
	}
}

// noteExpiry tells once of a certificate that has expired.
func (c *Certificates) noteExpiry(h *held) {
	status, ok := c.statusOf(h)
	if !ok || time.Now().Before(status.NotAfter) {
		return
	}
	c.mu.Lock()
	told := h.expired
	h.expired = true
	c.mu.Unlock()
	if !told {
		c.cfg.Log.Error("certificate has expired", status.attrs()...)
	}
}

// jittered returns a pause between three quarters and five quarters of d.
func jittered(d time.Duration) time.Duration {
	//nolint:gosec // jitter spreads the calls of replicas; it keeps no secret
	return d*3/4 + rand.N(d/2+1)
}
