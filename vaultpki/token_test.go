package vaultpki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	sealed  = &wire.StatusError{Status: 503, Messages: []string{"Vault is sealed"}, FromVault: true}
	noToken = &Error{Reason: ReasonNoToken, Op: "reading", Err: errors.New("there is no such file")}
)

// kept is a Client whose Vault is made of functions, in a bubble. All times are
// from its begin.
type kept struct {
	*Client
	t     *testing.T
	begin time.Time
	log   bytes.Buffer // read it after Run
	ttl   time.Duration

	renewals, logins, lookups atomic.Int64
	onRenew                   func(g grant) (grant, error)
	onLogin                   func() (grant, error)
	onLookup                  func() error
}

// newKept returns a Client with a token of the given life, whose renewals and
// logins grant another such life and whose token is always alive, until the test
// says otherwise. It must be called inside the bubble.
func newKept(t *testing.T, ttl time.Duration) *kept {
	t.Helper()
	caller, err := wire.New(wire.Config{Address: "http://127.0.0.1:1", UnsafeHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{t: t, begin: time.Now(), ttl: ttl}
	k.onRenew, k.onLookup = again, func() error { return nil }
	k.onLogin = func() (grant, error) { return k.granted(ttl), nil }
	k.Client = newClient(caller, Config{Log: slog.New(slog.NewJSONHandler(&k.log, nil)), Method: JWT{}}, k.granted(ttl))
	k.renew = func(_ context.Context, g grant) (grant, error) { k.renewals.Add(1); return k.onRenew(g) }
	k.lookup = func(context.Context, string) (tokenInfo, error) { k.lookups.Add(1); return tokenInfo{}, k.onLookup() }
	k.auth = &credential{login: func(context.Context) (grant, error) { k.logins.Add(1); return k.onLogin() }}
	return k
}

// granted is a fresh token of the given life.
func (k *kept) granted(ttl time.Duration) grant {
	return grant{
		token: fmt.Sprintf("token-%d", k.logins.Load()), policies: []string{"p"}, ttl: ttl, usual: ttl,
		since: time.Now(), expires: time.Now().Add(ttl), renewable: true,
	}
}

// run lets the Client live for d.
func (k *kept) run(d time.Duration) error {
	ctx, cancel := context.WithTimeout(k.t.Context(), d)
	defer cancel()
	return k.Run(ctx)
}

func (k *kept) at() time.Duration { return time.Since(k.begin) }

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
		k := newKept(t, ttl)
		k.onRenew = func(g grant) (grant, error) {
			after := time.Since(last)
			if after < ttl/2 || after > ttl*2/3+time.Second {
				t.Errorf("renewed after %s of %s", after, ttl)
			}
			seen[after], last = true, time.Now()
			return again(g)
		}
		if err := k.run(30 * 24 * time.Hour); err != nil {
			t.Errorf("Run ended with %v", err)
		}
		if n := k.renewals.Load(); n < 30*24*3/2-30 || n > 30*24*2 || k.logins.Load() != 0 {
			t.Errorf("%d renewals and %d logins in 30 days", n, k.logins.Load())
		}
		if len(seen) < 100 {
			t.Errorf("only %d different points in time: replicas would renew together", len(seen))
		}
	})
}

func TestRenewalFollowsWhatWasGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := time.Now()
		var gaps []time.Duration
		k := newKept(t, time.Hour)
		k.onLogin = func() (grant, error) { return grant{}, noToken }
		k.onRenew = func(g grant) (grant, error) {
			gaps = append(gaps, time.Since(last))
			last = time.Now()
			g.ttl = 10 * time.Minute // the role grants less than before
			return again(g)
		}
		if err := k.run(3 * time.Hour); err != nil {
			t.Fatal(err)
		}
		if len(gaps) < 10 {
			t.Fatalf("%d renewals in 3 hours of tokens of 10 minutes: %v", len(gaps), gaps)
		}
		// The second one follows the login that was tried in the last third: once
		// it is clear that the life gets no shorter, all is as usual.
		for _, gap := range gaps[3:] {
			if gap < 5*time.Minute || gap > 7*time.Minute {
				t.Errorf("renewed after %s of 10 minutes", gap)
			}
		}
	})
}

func TestOutageShorterThanTheTokenIsSurvivedWithoutAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed atomic.Int64
		k := newKept(t, 24*time.Hour)
		k.onRenew = func(g grant) (grant, error) {
			if k.at() < 20*time.Hour {
				failed.Add(1)
				return grant{}, away
			}
			return again(g)
		}
		if err := k.run(24*time.Hour + 30*time.Minute); err != nil {
			t.Fatalf("Run ended with %v", err)
		}
		if k.logins.Load() != 0 || !k.TokenExpiry().After(k.begin.Add(40*time.Hour)) {
			t.Errorf("token ends at %s after %d logins", k.TokenExpiry().Sub(k.begin), k.logins.Load())
		}
		// From 12..16 hours until 20: at most 8 hours at about a call a minute.
		if n := failed.Load(); n < 4*60*2/3 || n > 8*60*2 {
			t.Errorf("%d calls during the outage", n)
		}
	})
}

// TestTokenThatEndsIsReplaced has every way in which a token ends. Each leads to
// a login by itself, at the time that is right for it.
func TestTokenThatEndsIsReplaced(t *testing.T) {
	const ttl = time.Hour
	tests := map[string]struct {
		prepare     func(k *kept)
		from, until time.Duration // of the first login
		gap         bool          // there is a time without a token
	}{
		"it cannot be renewed": {
			func(k *kept) { k.grant.renewable = false }, ttl * 2 / 3, ttl * 5 / 6, false,
		},
		"it nears its maximum": {
			func(k *kept) {
				k.onRenew = func(g grant) (grant, error) { // the end is fixed at 80 minutes
					g.expires = k.begin.Add(80 * time.Minute)
					g.ttl = time.Until(g.expires)
					return g, nil
				}
			}, 30*time.Minute + 50*time.Minute*2/3, 40*time.Minute + 40*time.Minute*5/6, false,
		},
		"a policy forbids its renewal": {
			func(k *kept) { k.onRenew = func(grant) (grant, error) { return grant{}, denied } }, ttl / 2, ttl * 2 / 3, false,
		},
		"vault renews it no more": {
			func(k *kept) {
				k.onRenew = func(grant) (grant, error) { return grant{}, &wire.StatusError{Status: 400, FromVault: true} }
			}, ttl / 2, ttl * 2 / 3, false,
		},
		"it was revoked": {
			func(k *kept) {
				k.onRenew = func(grant) (grant, error) { return grant{}, revoked }
				k.onLookup = func() error { return revoked }
			}, ttl / 2, ttl * 2 / 3, true,
		},
		"vault is away for longer than its life": {
			func(k *kept) {
				k.onRenew = func(grant) (grant, error) { return grant{}, away }
				k.onLogin = func() (grant, error) {
					if k.at() < 3*time.Hour {
						return grant{}, away
					}
					return k.granted(ttl), nil
				}
			}, ttl, ttl + time.Second, true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKept(t, ttl)
				test.prepare(k)
				var first time.Duration
				login := k.onLogin
				k.onLogin = func() (grant, error) {
					if first == 0 {
						first = k.at()
					}
					k.onRenew, k.onLookup = again, func() error { return nil }
					return login()
				}
				if err := k.run(5 * time.Hour); err != nil {
					t.Fatalf("Run ended with %v", err)
				}
				if first < test.from || first > test.until+time.Second {
					t.Errorf("first login after %s, expected %s to %s", first, test.from, test.until)
				}
				if s := k.Status(); s.Lost || s.Expires.Before(time.Now()) || k.current().token == "token-0" {
					t.Errorf("after 5 hours: %+v", s)
				}
				if lost := strings.Contains(k.log.String(), `"event":"token_lost"`); lost != test.gap {
					t.Errorf("token was told lost: %t, expected %t", lost, test.gap)
				}
			})
		})
	}
}

func TestRevocationStopsTheRunIfItIsToStop(t *testing.T) {
	for name, test := range map[string]struct {
		lookup error // what lookup-self says
		stops  bool
	}{
		"revoked":           {revoked, true},
		"renewal forbidden": {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKept(t, time.Hour)
				k.policy.onRevocation = Stop
				k.onRenew = func(grant) (grant, error) { return grant{}, revoked }
				k.onLookup = func() error { return test.lookup }
				err := k.run(3 * time.Hour)
				if stopped := ReasonOf(err) == ReasonTokenLost; stopped != test.stops || stopped && k.logins.Load() != 0 {
					t.Errorf("Run ended with %v after %d logins", err, k.logins.Load())
				}
			})
		})
	}
}

// TestExpiryIsNoRevocation: a process that is to stop when it is revoked must
// not stop because Vault was away.
func TestExpiryIsNoRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, time.Hour)
		k.policy.onRevocation = Stop
		k.onRenew = func(grant) (grant, error) { return grant{}, away }
		if err := k.run(3 * time.Hour); err != nil || k.logins.Load() == 0 {
			t.Errorf("%v after %d logins", err, k.logins.Load())
		}
	})
}

// TestHoursOfTroubleMakeNoStorm counts every call while the token is lost and
// cannot be had back, and while each token that is granted is dead at once.
func TestHoursOfTroubleMakeNoStorm(t *testing.T) {
	for name, prepare := range map[string]func(k *kept){
		"vault is away":     func(k *kept) { k.onLogin = func() (grant, error) { return grant{}, away } },
		"vault is sealed":   func(k *kept) { k.onLogin = func() (grant, error) { return grant{}, sealed } },
		"login is refused":  func(k *kept) { k.onLogin = func() (grant, error) { return grant{}, denied } },
		"nothing delivered": func(k *kept) { k.onLogin = func() (grant, error) { return grant{}, noToken } },
		"tokens die at once": func(k *kept) {
			k.onLogin = func() (grant, error) {
				g := k.granted(time.Hour)
				time.AfterFunc(time.Millisecond, func() { k.lose(g.token, revoked, true) }) // when it is in use
				return g, nil
			}
		},
		"tokens of a second": func(k *kept) { k.onLogin = func() (grant, error) { return k.granted(time.Second), nil } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKept(t, 24*time.Second)
				k.onRenew = func(grant) (grant, error) { return grant{}, revoked }
				k.onLookup = func() error { return revoked }
				prepare(k)
				if err := k.run(time.Hour); err != nil {
					t.Fatal(err)
				}
				calls := k.logins.Load() + k.renewals.Load() + k.lookups.Load()
				if calls < 30 || calls > 3*140 {
					t.Errorf("%d logins, %d renewals, %d lookups in an hour", k.logins.Load(), k.renewals.Load(), k.lookups.Load())
				}
			})
		})
	}
}

// A token that is taken away again and again, after it has served for a while, is
// replaced at once each time: that is an operator's doing and no storm.
func TestTokensThatServedAreReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, 30*time.Second)
		k.onRenew = again
		k.onLogin = func() (grant, error) { return k.granted(30 * time.Second), nil }
		go func() {
			for range 20 {
				sleep(t.Context(), 32*time.Second)
				k.lose(k.current().token, revoked, true)
				sleep(t.Context(), 2*time.Second)
				if k.Status().Lost {
					t.Error("two seconds after it was revoked there is no new token")
				}
			}
		}()
		if err := k.run(15 * time.Minute); err != nil {
			t.Fatal(err)
		}
		if n := k.logins.Load(); n != 20 {
			t.Errorf("%d logins, expected one for each revocation", n)
		}
	})
}

// A renewal that fails is tried again while the token lives, however short its
// life, however late it is, and however long Vault asks to be left alone.
func TestFailedRenewalIsTriedAgainBeforeTheTokenEnds(t *testing.T) {
	patient := &wire.StatusError{Status: 429, RetryAfter: time.Minute, FromVault: true}
	for name, test := range map[string]struct {
		ttl, back time.Duration // back is when Vault is there again, before the end
		fault     error
	}{
		"a token of seconds":    {4 * time.Second, time.Second, away},
		"just before its end":   {4 * time.Second, 250 * time.Millisecond, away},
		"a token of hours":      {24 * time.Hour, 250 * time.Millisecond, away},
		"one that is told when": {time.Minute, time.Second, patient},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // for the sake of the jitter
				synctest.Test(t, func(t *testing.T) {
					k := newKept(t, test.ttl)
					k.onRenew = func(g grant) (grant, error) {
						if k.at() < test.ttl-test.back {
							return grant{}, test.fault
						}
						return again(g)
					}
					if err := k.run(test.ttl * 4 / 3); err != nil {
						t.Fatal(err)
					}
					if n := k.renewals.Load(); k.logins.Load() != 0 || strings.Contains(k.log.String(), `"event":"token_lost"`) || n < 2 {
						t.Fatalf("%d renewals, %d logins:\n%s", n, k.logins.Load(), k.log.String())
					}
				})
			}
		})
	}
}

// A connection that says nothing must not take all the life that is left.
func TestSilentRenewalLeavesTimeForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, 24*time.Second)
		renew := k.renew
		k.renew = func(ctx context.Context, g grant) (grant, error) {
			if k.renewals.Load() > 0 {
				return renew(ctx, g)
			}
			k.renewals.Add(1)
			<-ctx.Done()
			return grant{}, &wire.TransportError{Sent: true, Err: ctx.Err()}
		}
		if err := k.run(30 * time.Second); err != nil {
			t.Fatal(err)
		}
		if k.renewals.Load() < 2 || k.logins.Load() != 0 {
			t.Errorf("%d renewals and %d logins:\n%s", k.renewals.Load(), k.logins.Load(), k.log.String())
		}
	})
}

func TestStopDuringAnOutageIsClean(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"the token lives": time.Hour, "the token is lost": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKept(t, ttl)
				k.onRenew = func(grant) (grant, error) { return grant{}, away }
				k.onLogin = func() (grant, error) { return grant{}, away }
				if err := k.run(50 * time.Minute); err != nil {
					t.Errorf("after a stop that was asked for: %v", err)
				}
			})
		})
	}
}

func TestExpiryIsReadWhileItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				if k.TokenExpiry().Before(time.Now()) || k.Status().Lost {
					t.Error("the token had expired")
				}
				sleep(ctx, time.Second)
			}
		}()
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
		<-done
	})
}

func TestStatusSaysWhatAnOperatorNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, 24*time.Hour)
		k.onRenew = func(grant) (grant, error) { return grant{}, away }
		k.onLogin = func() (grant, error) { return grant{}, away }
		seen := make(chan Status, 2)
		time.AfterFunc(time.Hour, func() { seen <- k.Status() })
		time.AfterFunc(25*time.Hour, func() { seen <- k.Status() })
		if err := k.run(26 * time.Hour); err != nil {
			t.Fatal(err)
		}
		early, late := <-seen, <-seen
		if early.Method != "jwt" || early.Lost || early.TTL != 24*time.Hour || early.Outlasts != 8*time.Hour || !early.Renewable ||
			!early.Since.Equal(k.begin) || early.Next.Sub(k.begin) < 12*time.Hour || early.Next.Sub(k.begin) > 16*time.Hour {
			t.Errorf("after an hour: %+v", early)
		}
		if !late.Lost || late.LostSince.Sub(k.begin) != 24*time.Hour || late.LostCause == "" || late.Outlasts != 0 || late.Next.Before(k.begin.Add(25*time.Hour)) {
			t.Errorf("after the token's end: %+v", late)
		}
	})
}
