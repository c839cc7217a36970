package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Pace of failed renewals.
const (
	firstRenewalDelay   = time.Second
	longestRenewalDelay = time.Minute
)

// Run keeps the token alive until ctx ends, then returns nil. It renews at a
// random point between one half and two thirds of the life that Vault granted,
// and tries again with growing delays while the token lives.
//
// The error is an [*Error] with ReasonTokenLost: the token expired or was
// revoked, and only a new introduction helps. What was read and issued before
// stays usable until it ends by itself.
func (c *Client) Run(ctx context.Context) error {
	defer c.wire.CloseIdle()
	for {
		g := c.current()
		if !g.renewable {
			if !sleep(ctx, time.Until(g.expires)) {
				return nil
			}
			return tokenLost(errors.New("it cannot be renewed and its life is over"))
		}
		if !sleep(ctx, renewalPoint(g)) {
			return nil
		}
		renewed, err := c.renewWhileAlive(ctx, g)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		c.adopt(renewed)
		c.log.Info("vault token renewed", "token_ttl", renewed.ttl.String(), "expires", renewed.expires)
		if renewed.ttl < g.ttl {
			c.log.Warn("vault token was granted a shorter life: it nears its maximum", "token_ttl", renewed.ttl.String(), "before", g.ttl.String())
		}
	}
}

// renewalPoint returns how long to wait before the next renewal.
func renewalPoint(g grant) time.Duration {
	from, span := g.ttl/2, g.ttl/6
	//nolint:gosec // jitter spreads the renewals of replicas; it keeps no secret
	point := g.expires.Add(-g.ttl).Add(from + rand.N(span+1))
	return max(time.Until(point), 0)
}

// renewWhileAlive tries to renew until it succeeds or the token is dead.
func (c *Client) renewWhileAlive(ctx context.Context, g grant) (grant, error) {
	delays := newDelays(firstRenewalDelay, min(longestRenewalDelay, g.ttl/10+time.Millisecond))
	for attempt := 1; ; attempt++ {
		renewed, err := c.renew(ctx, g)
		if err == nil || ctx.Err() != nil {
			return renewed, ctx.Err()
		}
		left := time.Until(g.expires)
		switch {
		case isInvalidToken(err):
			return grant{}, tokenLost(fmt.Errorf("it was revoked: %w", err))
		case left <= 0:
			return grant{}, tokenLost(fmt.Errorf("it expired unrenewed after %d attempts: %w", attempt, err))
		}
		delay := min(max(delays.NextBackOff(), wire.RetryAfter(err)), left)
		c.log.Warn("renewing the vault token did not succeed", "cause", causeOf(err), "attempt", attempt,
			"next_try", delay.Round(time.Millisecond).String(), "time_left", left.Round(time.Second).String())
		if !sleep(ctx, delay) {
			return grant{}, ctx.Err()
		}
	}
}

// renewSelf asks Vault for another life of the token.
func (c *Client) renewSelf(ctx context.Context, g grant) (grant, error) {
	asked := time.Now()
	secret, err := c.write(ctx, "auth/token/renew-self", map[string]any{})
	if err != nil {
		return grant{}, err
	}
	renewed, err := grantOf(secret, asked)
	if err != nil {
		return grant{}, err
	}
	renewed.token = g.token // a renewal never changes it, whatever the answer says
	return renewed, nil
}

// tokenLost ends Run.
func tokenLost(cause error) *Error {
	return &Error{
		Reason: ReasonTokenLost, Op: "keeping the vault token alive", Err: cause,
		Hint: hintMint,
	}
}
