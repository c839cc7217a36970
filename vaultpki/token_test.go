package vaultpki

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// away is what a Vault that is not there answers; revoked, what one answers to
// a token that it does not know.
var (
	away    = &wire.TransportError{Err: errors.New("connection refused")}
	revoked = &wire.StatusError{Status: 403, Messages: []string{"2 errors occurred: * permission denied * invalid token"}, FromVault: true}
	denied  = &wire.StatusError{Status: 403, Messages: []string{"permission denied"}, FromVault: true}
)

// newKept returns a Client with a token of the given life whose renewals are
// answered by renew. It must be called inside the bubble.
func newKept(t *testing.T, ttl time.Duration, renew func(attempt int64, g grant) (grant, error)) (*Client, *atomic.Int64) {
	t.Helper()
	caller, err := wire.New(wire.Config{Address: "http://127.0.0.1:1", UnsafeHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	attempts := new(atomic.Int64)
	c := &Client{wire: caller, log: slog.New(slog.DiscardHandler)}
	c.renew = func(_ context.Context, g grant) (grant, error) { return renew(attempts.Add(1), g) }
	c.grant = grant{token: "t", ttl: ttl, expires: time.Now().Add(ttl), renewable: true}
	return c, attempts
}

// again extends a grant by its whole life.
func again(g grant) (grant, error) {
	g.expires = time.Now().Add(g.ttl)
	return g, nil
}

func TestTokenIsRenewedBetweenHalfAndTwoThirds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = time.Hour
		last := time.Now()
		seen := map[time.Duration]bool{}
		c, attempts := newKept(t, ttl, func(_ int64, g grant) (grant, error) {
			after := time.Since(last)
			if after < ttl/2 || after > ttl*2/3+time.Second {
				t.Errorf("renewed after %s of %s", after, ttl)
			}
			seen[after], last = true, time.Now()
			return again(g)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 30*24*time.Hour)
		defer cancel()
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run ended with %v", err)
		}
		if n := attempts.Load(); n < 30*24*3/2-30 || n > 30*24*2 {
			t.Errorf("%d renewals in 30 days", n)
		}
		if len(seen) < 100 {
			t.Errorf("only %d different points in time: replicas would renew together", len(seen))
		}
	})
}

func TestRenewalFollowsWhatWasGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var second time.Duration
		c, _ := newKept(t, time.Hour, func(attempt int64, g grant) (grant, error) {
			if attempt == 2 {
				second = time.Since(start)
			}
			start = time.Now()
			g.ttl = 10 * time.Minute // Vault grants less than before
			return again(g)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		if err := c.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if second < 5*time.Minute || second > 7*time.Minute {
			t.Errorf("second renewal after %s, expected 5 to 6:40 minutes", second)
		}
	})
}

func TestOutageShorterThanTheTokenIsSurvivedWithoutAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 24 * time.Hour
		begin := time.Now()
		var failed atomic.Int64
		c, _ := newKept(t, ttl, func(_ int64, g grant) (grant, error) {
			if time.Since(begin) < 20*time.Hour {
				failed.Add(1)
				return grant{}, away
			}
			return again(g)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour+30*time.Minute)
		defer cancel()
		if err := c.Run(ctx); err != nil {
			t.Fatalf("Run ended with %v", err)
		}
		if !c.TokenExpiry().After(begin.Add(40 * time.Hour)) {
			t.Errorf("token ends at %s, it was not renewed", c.TokenExpiry().Sub(begin))
		}
		// From 12..16 hours until 20: at most 8 hours at about a call a minute.
		if n := failed.Load(); n < 4*60*2/3 || n > 8*60*2 {
			t.Errorf("%d calls during the outage", n)
		}
	})
}

func TestTokenIsGivenUpOnlyWhenItIsDead(t *testing.T) {
	tests := map[string]struct {
		fail    error
		text    string
		atLeast time.Duration
	}{
		"vault stays away":         {away, "expired unrenewed", time.Hour},
		"policy forbids renewal":   {denied, "expired unrenewed", time.Hour},
		"vault says it is unknown": {revoked, "revoked", 30 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				c, attempts := newKept(t, time.Hour, func(int64, grant) (grant, error) { return grant{}, test.fail })
				err := c.Run(t.Context())
				if ReasonOf(err) != ReasonTokenLost || !strings.Contains(err.Error(), test.text) {
					t.Errorf("Run ended with %v, expected token_lost with %q", err, test.text)
				}
				if lived := time.Since(begin); lived < test.atLeast {
					t.Errorf("given up after %s, expected at least %s", lived, test.atLeast)
				}
				if errors.Is(test.fail, revoked) && attempts.Load() != 1 {
					t.Errorf("%d attempts with a revoked token", attempts.Load())
				}
			})
		})
	}
}

func TestTokenThatCannotBeRenewedEndsAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		c, attempts := newKept(t, time.Hour, func(_ int64, g grant) (grant, error) { return again(g) })
		c.grant.renewable = false
		err := c.Run(t.Context())
		if ReasonOf(err) != ReasonTokenLost || time.Since(begin) != time.Hour || attempts.Load() != 0 {
			t.Errorf("Run ended after %s with %v and %d renewals", time.Since(begin), err, attempts.Load())
		}
	})
}

func TestStopDuringAnOutageIsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newKept(t, time.Hour, func(int64, grant) (grant, error) { return grant{}, away })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Minute)
		defer cancel()
		if err := c.Run(ctx); err != nil {
			t.Errorf("after a stop that was asked for: %v", err)
		}
	})
}

func TestExpiryIsReadWhileItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newKept(t, time.Minute, func(_ int64, g grant) (grant, error) { return again(g) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				if c.TokenExpiry().Before(time.Now()) {
					t.Error("the token had expired")
				}
				sleep(ctx, time.Second)
			}
		}()
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
		<-done
	})
}
