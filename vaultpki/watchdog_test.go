package vaultpki

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// newDenied returns a Client to which Vault denies a path as long as denies says
// so. It must be called inside the bubble.
func newDenied(t *testing.T, denies func(path string) bool) *kept {
	t.Helper()
	k := newKept(t, 1000*time.Hour)
	v := &pipeVault{answer: func(path, _ string) (int, string) {
		if denies(path) {
			return http.StatusForbidden, `{"errors":["permission denied"]}`
		}
		return http.StatusOK, someKV
	}}
	caller, err := wire.New(wire.Config{Address: "http://127.0.0.1:1", UnsafeHTTP: true, Transport: v})
	if err != nil {
		t.Fatal(err)
	}
	k.wire = caller
	return k
}

// ask reads a path, whatever comes of it.
func (k *kept) ask(ctx context.Context, path string) {
	_, _ = k.do(ctx, wire.Call{Method: http.MethodGet, Path: path})
}

func (k *kept) alarms() int { return strings.Count(k.log.String(), `"event":"access_denied"`) }

// TestDeniedPathIsToldIfTheTokenIsKnownToLive: whoever could not
// find that out, or gave up, says nothing.
func TestDeniedPathIsToldIfTheTokenIsKnownToLive(t *testing.T) {
	for name, test := range map[string]struct {
		lookup      error // what lookup-self says
		blind       bool  // the token may not be looked up
		gone        bool  // the caller gives up while somebody else looks it up
		alarm, lost bool
	}{
		"it lives":                        {nil, false, false, true, false},
		"it is dead":                      {revoked, false, false, false, true},
		"vault is away":                   {away, false, false, false, false},
		"vault is sealed":                 {sealed, false, false, false, false},
		"a proxy refuses the lookup":      {&wire.StatusError{Status: 403}, false, false, false, false},
		"the caller is gone":              {nil, false, true, false, false},
		"the words of a denial, no proof": {denied, true, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				k := newDenied(t, func(string) bool {
					if test.gone {
						cancel()
					}
					return true
				})
				k.blind.Store(test.blind)
				k.onLookup = func() error { return test.lookup }
				if test.gone {
					k.dog.turn <- struct{}{}
				}
				k.ask(ctx, "secret/data/x")
				if alarm := k.alarms() == 1; alarm != test.alarm || k.Status().Lost != test.lost {
					t.Errorf("alarm %t, token lost %t; expected %t and %t:\n%s", alarm, k.Status().Lost, test.alarm, test.lost, k.log.String())
				}
			})
		})
	}
}

// TestDeniedPathsAreToldEveryHour however many there are: a flood of names has
// its bound, and silences nothing for ever.
func TestDeniedPathsAreToldEveryHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newDenied(t, func(string) bool { return true })
		hour := func(prefix string) (alarms int) {
			before := k.alarms()
			for range 2 {
				for i := range maxDenials + 50 {
					k.ask(t.Context(), fmt.Sprintf("secret/data/%s-%d", prefix, i))
				}
			}
			sleep(t.Context(), denialEvery)
			return k.alarms() - before
		}
		for _, prefix := range []string{"known", "known", "other", "known"} {
			if n := hour(prefix); n != maxDenials {
				t.Errorf("%d alarms in an hour of %s paths, expected %d", n, prefix, maxDenials)
			}
		}
	})
}

func TestPathThatIsAllowedAgainIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denies := true
		k := newDenied(t, func(string) bool { return denies })
		for _, denies = range []bool{true, false, false, true} {
			k.ask(t.Context(), "secret/data/x")
		}
		if n := strings.Count(k.log.String(), "vault allows a path again"); k.alarms() != 2 || n != 1 {
			t.Errorf("%d alarms, %d ends of one; expected 2 and 1", k.alarms(), n)
		}
	})
}
