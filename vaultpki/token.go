package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Pace of what Run does.
const (
	firstRenewalDelay   = time.Second
	longestRenewalDelay = time.Minute
	// shortestRenewalDelay is how short before the end of a token it is still
	// worth another try.
	shortestRenewalDelay = 100 * time.Millisecond
	// shortestRenewalBound is what an answer to a renewal may take in any case.
	shortestRenewalBound = 2 * time.Second
	// A token that has lived for so long, or for half of what it was granted, was
	// no failure: the login after it is one of its own, and not one of a series
	// that must slow down. Less than the least is never long.
	steadyAfter, leastSteady = 10 * time.Minute, 20 * time.Second
	// watchEvery is how often a file is looked at for a new credential.
	watchEvery = 2 * time.Second
)

// Run keeps the process logged in until ctx ends, then returns nil. It renews the
// token at a random point between one half and two thirds of the life that Vault
// granted. A token that cannot be renewed, or that Vault grants less life than
// before because it nears its maximum, is replaced by a login in the last third
// of its life; one that was revoked or has expired, at once. While that does not
// succeed it is tried again, with growing delays up to a minute, and in time
// before the token ends; what was read and issued before stays usable until it
// ends by itself.
//
// The error is an [*Error] with ReasonTokenLost, and only if Config.OnRevocation
// is Stop and the token was revoked.
func (c *Client) Run(ctx context.Context) error {
	defer c.Close()
	c.setRunning(true)
	defer c.setRunning(false)
	k := &keeper{
		Client: c, failures: newDelays(firstRenewalDelay, longestRenewalDelay), logins: newDelays(firstRenewalDelay, longestRenewalDelay),
	}
	k.plan(c.current())
	for {
		event := k.wait(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if event == heirDue {
			c.auth.heir.refill(ctx, c.mintHeir)
			continue
		}
		if err := k.turn(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

func (c *Client) setRunning(running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = running
}

// keeper is Run's memory. It is used by one goroutine.
type keeper struct {
	*Client
	next     time.Time // of the renewal or login; zero for never
	failures *backoff.ExponentialBackOff
	attempt  int  // since the last success
	slow     bool // failures has the pace of a token that is lost already
	// logins spaces logins that follow each other closely: tokens that die as
	// soon as they are granted must not make a storm.
	logins    *backoff.ExponentialBackOff
	lastLogin time.Time
	lastTTL   time.Duration // that it was granted
	notBefore time.Time     // the next login
	afresh    bool          // there is a new credential: no renewal, a login
}

// event is what ended a wait.
type event int

const (
	tokenDue event = iota // the token is to be renewed or replaced
	heirDue               // a new heir is to be minted
)

// plan sets when g is to be renewed or replaced.
func (k *keeper) plan(g grant) {
	k.attempt, k.slow = 0, false
	k.failures = newDelays(firstRenewalDelay, min(longestRenewalDelay, g.ttl/10+time.Millisecond))
	switch {
	case g.expires.IsZero():
		k.set(time.Time{})
	case g.renewable && !g.last:
		k.set(g.expires.Add(renewalPoint(g.ttl) - g.ttl))
	default:
		k.set(g.expires.Add(replacementPoint(g.ttl) - g.ttl))
	}
}

// set says when the next turn is, here and to Status.
func (k *keeper) set(next time.Time) {
	k.next = next
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Client.next = next
}

// replacementPoint is a random point between two thirds and five sixths of the
// life of a token that will get no other: late enough to use it, early enough to
// try more than once.
func replacementPoint(life time.Duration) time.Duration { return renewalPoint(life) + life/6 }

// wait sleeps until something is to be done, or ctx ends.
func (k *keeper) wait(ctx context.Context) event {
	for {
		what, at := tokenDue, k.next
		if heir := k.heirDue(); !heir.IsZero() && (at.IsZero() || heir.Before(at)) {
			what, at = heirDue, heir
		}
		left := time.Until(at)
		if at.IsZero() {
			left = watchEvery
		} else if left <= 0 {
			return what
		}
		if k.watches() {
			left = min(left, watchEvery)
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
			timer.Stop()
			return what
		case <-k.woken:
			timer.Stop()
			if k.loss() != nil { // and not replaced already
				k.set(later(time.Now(), k.notBefore))
			}
		case <-timer.C:
		}
		if k.watches() && k.auth.changed() {
			k.afresh = true
			k.set(later(time.Now(), k.notBefore))
		}
	}
}

// heirDue is when the next heir is to be minted, zero for never.
func (k *keeper) heirDue() time.Time {
	if k.auth.heir == nil || k.loss() != nil {
		return time.Time{}
	}
	return k.auth.heir.due
}

// watches says whether a new content of the credential's file is worth a login:
// always if it is the token, and otherwise while there is something to mend.
func (k *keeper) watches() bool {
	return k.auth.file != "" && (k.auth.live || k.attempt > 0 || k.loss() != nil)
}

// turn renews the token or replaces it. It fails only if the process is to stop.
func (k *keeper) turn(ctx context.Context) error {
	g := k.current()
	if g.dead() {
		k.lose(g.token, errors.New("its life is over"), false)
	}
	if stop := k.stop(); stop != nil {
		return stop
	}
	if failure := k.refresh(ctx, g); failure != nil && ctx.Err() == nil {
		k.postpone(g, failure)
	}
	return k.stop()
}

// postpone plans another attempt after a failure, and tells of it.
func (k *keeper) postpone(g grant, failure error) {
	k.attempt++
	lost := k.loss() != nil
	if lost && !k.slow {
		k.slow, k.failures = true, newDelays(firstRenewalDelay, longestRenewalDelay)
	}
	delay := max(k.failures.NextBackOff(), wire.RetryAfter(failure))
	if !lost && !g.expires.IsZero() {
		delay = beforeEnd(delay, time.Until(g.expires))
	}
	k.set(later(time.Now().Add(delay), k.notBefore))
	told := []any{
		"cause", causeOf(failure), "attempt", k.attempt, "next_try", time.Until(k.next).Round(time.Millisecond).String(),
		"time_left", max(time.Until(g.expires), 0).Round(time.Second).String(),
	}
	if lost {
		k.log.Warn("logging in again did not succeed", told...)
	} else {
		k.log.Warn("renewing the vault token did not succeed", told...)
	}
}

// beforeEnd shortens a delay so that a token with so much life left is tried again
// before it ends, however long Vault would be left alone; and when there is no
// more time for that, the delay leads to its end.
func beforeEnd(delay, left time.Duration) time.Duration {
	if half := left / 2; half >= shortestRenewalDelay {
		return min(delay, half)
	}
	return min(delay, max(left, 0))
}

// stop is the end of Run if a revoked token is to end it.
func (k *keeper) stop() error {
	if lost := k.loss(); lost != nil && lost.revoked && k.policy.onRevocation == Stop {
		return tokenLost(fmt.Errorf("it was revoked: %w", lost.cause))
	}
	return nil
}

// refresh does one attempt to have a token that lasts.
func (k *keeper) refresh(ctx context.Context, g grant) error {
	afresh := k.afresh
	k.afresh = false
	if k.loss() == nil && g.renewable && !g.last && !afresh {
		err := k.extend(ctx, g)
		if err == nil || !isRefused(err) || ctx.Err() != nil {
			return err
		}
		if isForbidden(err) && k.suspect(ctx, g, err) == dead && k.policy.onRevocation == Stop {
			return err
		}
		k.log.Warn("vault refuses to renew the token: logging in afresh", "cause", causeOf(err))
	}
	err := k.replace(ctx)
	if err == nil || ctx.Err() != nil || k.loss() != nil || !g.renewable || !g.last {
		return err
	}
	// What life there is to be had is still worth having.
	if renewal := k.extend(ctx, g); renewal != nil || k.current().last {
		return err
	}
	return nil
}

// extend renews the token. A Vault that is silent gets no more than half of the
// life that is left, so that it can be asked again.
func (k *keeper) extend(ctx context.Context, g grant) error {
	bounded, cancel := context.WithTimeout(ctx, max(time.Until(g.expires)/2, shortestRenewalBound))
	renewed, err := k.renew(bounded, g)
	cancel()
	if err != nil {
		return err
	}
	renewed.since, renewed.usual = g.since, g.usual
	renewed.last = renewed.ttl < g.usual*9/10
	switch {
	case g.last && renewed.ttl >= g.ttl*9/10:
		// It gets no shorter: this is what the role grants now.
		renewed.usual, renewed.last = renewed.ttl, false
	case renewed.last:
		k.log.Warn("vault token was granted a shorter life: it nears its maximum", "token_ttl", renewed.ttl.String(), "before", g.ttl.String())
	}
	k.adopt(renewed)
	if !g.last || !renewed.last {
		k.plan(renewed) // else the login that failed has its own pace
	}
	k.log.Info("vault token renewed", "token_ttl", renewed.ttl.String(), "expires", renewed.expires)
	k.auth.heir.refill(ctx, k.mintHeir)
	return nil
}

// replace logs in afresh.
func (k *keeper) replace(ctx context.Context) error {
	if time.Now().Before(k.notBefore) {
		return &wire.TransportError{RetryAfter: time.Until(k.notBefore), Err: errors.New("the last login was a moment ago")}
	}
	before, lived := k.current().token, k.lived()
	g, err := k.auth.enter(ctx)
	if err != nil {
		return err
	}
	if lived > min(steadyAfter, max(k.lastTTL/2, leastSteady)) {
		k.logins.Reset()
	}
	k.lastLogin, k.lastTTL = time.Now(), g.ttl
	k.notBefore = k.lastLogin.Add(k.logins.NextBackOff())
	k.outage.saw(nil)
	k.adopt(g)
	k.plan(g)
	if g.token == before { // of a sink: nothing but its end is news
		k.log.Info("vault token looked up again", "token_ttl", g.ttl.String(), "expires", g.expires)
		return nil
	}
	k.welcome(ctx, g)
	return nil
}

// lived is how long the token of the last login has served.
func (k *keeper) lived() time.Duration {
	if lost := k.loss(); lost != nil {
		return lost.since.Sub(k.lastLogin)
	}
	return time.Since(k.lastLogin)
}

// renewSelf asks Vault for another life of the token. It does not wait until
// others find Vault back: the token may not have that long.
func (c *Client) renewSelf(ctx context.Context, g grant) (grant, error) {
	asked := time.Now()
	secret, err := c.wire.Do(ctx, wire.Call{
		Method: http.MethodPut, Path: "auth/token/renew-self", Body: map[string]any{}, Token: g.token,
	})
	c.outage.saw(err)
	if err != nil {
		return grant{}, err
	}
	renewed, err := grantOf(secret, asked, c.policy.unsafeRoot)
	if err != nil {
		return grant{}, err
	}
	renewed.token, renewed.accessor = g.token, g.accessor // a renewal never changes it, whatever the answer says
	return renewed, nil
}

// isRefused says that Vault will not renew the token, however often it is asked.
func isRefused(err error) bool {
	var status *wire.StatusError
	return errors.As(err, &status) && status.FromVault && status.Status >= 400 && status.Status < 500 && !wire.MaySucceedLater(err)
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
