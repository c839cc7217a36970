package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

func TestAbsentVaultIsAskedByOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage()
		if err := o.enter(); err != nil {
			t.Fatal(err)
		}
		o.saw(away)
		err := o.enter()
		if !errors.Is(err, away) || !wire.MaySucceedLater(err) || wire.RetryAfter(err) <= 0 {
			t.Errorf("while vault is away: %v, again after %s", err, wire.RetryAfter(err))
		}
		time.Sleep(wire.RetryAfter(err)) //nolint:forbidigo // the bubble's clock
		if err := o.enter(); err != nil {
			t.Errorf("the one call that may ask: %v", err)
		}
		if err := o.enter(); err == nil {
			t.Error("a second one may ask beside it")
		}
		o.saw(nil)
		for range 5 {
			if err := o.enter(); err != nil {
				t.Errorf("after vault came back: %v", err)
			}
		}
	})
}

func TestWhatIsNoOutage(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		away bool
	}{
		"nothing":             {nil, false},
		"no connection":       {away, true},
		"sealed":              {sealed, true},
		"rate limit":          {&wire.StatusError{Status: 429, FromVault: true}, true},
		"a proxy's 502":       {&wire.StatusError{Status: 502}, true},
		"a standby":           {&wire.StatusError{Status: 473}, true},
		"a redirect":          {&wire.StatusError{Status: 307}, true},
		"one path's 500":      {&wire.StatusError{Status: 500, FromVault: true}, false},
		"not yet replicated":  {&wire.StatusError{Status: 412, FromVault: true}, false},
		"denied":              {denied, false},
		"absent":              {&wire.StatusError{Status: 404, FromVault: true}, false},
		"a caller that ended": {&wire.TransportError{Err: context.Canceled}, false},
		"somebody else":       {errors.New("not vault's"), false},
	} {
		if got := isAway(test.err); got != test.away {
			t.Errorf("%s: away %t, expected %t", name, got, test.away)
		}
	}
}

// TestCallerThatGivesUpLeavesTheDoorOpen: the one call that may ask is cancelled.
func TestCallerThatGivesUpLeavesTheDoorOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOutage()
		o.saw(away)
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		if err := o.enter(); err != nil {
			t.Fatal(err)
		}
		o.saw(&wire.TransportError{Err: context.Canceled})
		if err := o.enter(); err != nil {
			t.Errorf("nobody can ask any more: %v", err)
		}
	})
}

// pipeVault is a Vault in the bubble: an HTTP round tripper that answers by a
// function and counts.
type pipeVault struct {
	calls  atomic.Int64
	answer func(path, token string) (status int, body string)
	down   atomic.Bool
}

func (v *pipeVault) RoundTrip(r *http.Request) (*http.Response, error) {
	v.calls.Add(1)
	if v.down.Load() {
		return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	}
	status, body := v.answer(strings.TrimPrefix(r.URL.Path, "/v1/"), r.Header.Get(api.AuthHeaderName))
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r}, nil
}

// run lets a Client in front of v, with a token of two hours, live for d, and
// beside it readers that read every ten seconds each. It returns how many reads
// failed.
func (v *pipeVault) run(t *testing.T, readers int, d time.Duration) (failures int64) {
	t.Helper()
	caller, err := wire.New(wire.Config{Address: "http://127.0.0.1:1", UnsafeHTTP: true, Transport: v})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Log: slog.New(slog.DiscardHandler), Method: JWT{}, Wait: 2 * time.Minute}
	c := newClient(caller, cfg, grant{token: "t-0", ttl: 2 * time.Hour, usual: 2 * time.Hour, expires: time.Now().Add(2 * time.Hour), renewable: true})
	var logins atomic.Int64
	c.auth = &credential{login: func(ctx context.Context) (grant, error) {
		asked := time.Now()
		secret, err := caller.Do(ctx, wire.Call{Method: http.MethodPut, Path: "auth/jwt/login"})
		if err != nil {
			return grant{}, loginError("auth/jwt/login", err)
		}
		logins.Add(1)
		return grantOf(secret, asked, false)
	}}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	c.setRunning(true) // before the first reader, who may be faster than Run
	var failed atomic.Int64
	var group sync.WaitGroup
	for i := range readers {
		group.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.ReadKV(ctx, "secret", fmt.Sprintf("reader-%d", i)); err != nil {
					failed.Add(1)
				}
				sleep(ctx, 10*time.Second)
			}
		})
	}
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	group.Wait()
	return failed.Load()
}

// TestUrgentCallsAreMadeWhileVaultIsAway, of which others are told without asking; and the
// first that is answered tells everybody who waits.
func TestUrgentCallsAreMadeWhileVaultIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &pipeVault{answer: func(string, string) (int, string) { return 200, someKV }}
		caller, err := wire.New(wire.Config{Address: "http://127.0.0.1:1", UnsafeHTTP: true, Transport: v})
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(caller, Config{Log: slog.New(slog.DiscardHandler)}, grant{token: "t-0"})
		ask := func(urgent bool) error {
			_, err := c.Ask(t.Context(), Ask{Method: http.MethodGet, Path: "database/creds/notes", Urgent: urgent})
			return err
		}
		back := c.Back()
		v.down.Store(true)
		if errs := []error{ask(false), ask(false), ask(true), ask(true)}; slices.Contains(errs, nil) || v.calls.Load() != 3 {
			t.Errorf("%d calls: %v", v.calls.Load(), errs)
		}
		v.down.Store(false)
		if err := ask(false); err == nil {
			t.Error("it did not wait for its turn")
		}
		select {
		case <-back:
			t.Error("Vault is back before it was heard of")
		default:
		}
		if err := ask(true); err != nil {
			t.Error(err)
		}
		<-back
		if err := ask(false); err != nil || v.calls.Load() != 5 {
			t.Errorf("after its return: %v, %d calls", err, v.calls.Load())
		}
		select {
		case <-c.Back():
			t.Error("it came back twice")
		default:
		}
	})
}

const someKV = `{"data":{"data":{"a":"b"},"metadata":{"version":1}}}`

// TestAnHourOfTroubleIsCounted lets twenty readers live through an hour in which
// Vault is away, sealed, or denies everything, and counts what reaches it.
func TestAnHourOfTroubleIsCounted(t *testing.T) {
	for name, test := range map[string]struct {
		down   bool
		answer func(path, token string) (int, string)
		most   int64 // calls in the hour
	}{
		"away":                  {true, nil, 150},
		"sealed":                {false, func(string, string) (int, string) { return 503, `{"errors":["Vault is sealed"]}` }, 150},
		"asks to be left alone": {false, func(string, string) (int, string) { return 429, `{"errors":["rate limit"]}` }, 150},
		// What the readers ask themselves, every ten seconds, and as many looks at
		// the token as one reader would cause.
		"denies one path, and the token lives": {false, func(path, _ string) (int, string) {
			if path == lookupSelfPath {
				return 200, `{"data":{"ttl":7200}}`
			}
			if strings.HasPrefix(path, "secret/") {
				return 403, `{"errors":["permission denied"]}`
			}
			return 200, `{"auth":{"client_token":"t-0","lease_duration":7200,"renewable":true}}`
		}, 20*361 + 361 + 10},
		// No reader asks with a token that is known to be dead.
		"denies everything, also the login": {false, func(string, string) (int, string) { return 403, `{"errors":["permission denied"]}` }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &pipeVault{answer: test.answer}
				v.down.Store(test.down)
				v.run(t, 20, time.Hour)
				if n := v.calls.Load(); n < 30 || n > test.most {
					t.Errorf("%d calls in an hour, expected at most %d", n, test.most)
				}
			})
		})
	}
}

// TestManyReadersShareOneLogin: the token is dead when they come.
func TestManyReadersShareOneLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logins, lookups atomic.Int64
		v := &pipeVault{answer: func(path, token string) (int, string) {
			switch {
			case path == "auth/jwt/login":
				logins.Add(1)
				return 200, `{"auth":{"client_token":"t-1","lease_duration":7200,"renewable":true}}`
			case token == "t-0":
				if path == lookupSelfPath {
					lookups.Add(1)
				}
				return 403, `{"errors":["permission denied"]}`
			case path == lookupSelfPath:
				return 200, `{"data":{"ttl":7200}}`
			}
			return 200, someKV
		}}
		if failures := v.run(t, 100, time.Minute); failures != 0 || logins.Load() != 1 || lookups.Load() != 1 {
			t.Errorf("%d reads failed, %d logins, %d looks at the dead token; expected 0, 1 and 1", failures, logins.Load(), lookups.Load())
		}
	})
}

// TestRecoveryNeedsNobody: after an hour without Vault the readers read again
// within two minutes.
func TestRecoveryNeedsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var first time.Duration
		v := &pipeVault{answer: func(path, _ string) (int, string) {
			if strings.HasPrefix(path, "secret/") && first == 0 {
				first = time.Since(begin)
			}
			if strings.HasPrefix(path, "auth/") {
				return 200, `{"auth":{"client_token":"t-0","lease_duration":7200,"renewable":true},"data":{"ttl":7200}}`
			}
			return 200, someKV
		}}
		v.down.Store(true)
		time.AfterFunc(time.Hour, func() { v.down.Store(false) })
		v.run(t, 1, 90*time.Minute)
		if late := first - time.Hour; late < 0 || late > 2*time.Minute {
			t.Errorf("read again %s after vault came back", late)
		}
	})
}
