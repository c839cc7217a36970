package secrets_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// databaseDown is what Vault answers while the database behind the engine does not, with the
// same status as for a lease that it does not know.
func (e *engine) databaseDown(down bool) {
	e.set(func() {
		e.refused = nil
		if down {
			e.refused = map[string]string{
				"sys/leases/renew":     "failed to renew entry: resp: (*logical.Response)(nil) err: dial tcp: connection refused",
				"sys/leases/revoke":    "failed to revoke entry: resp: (*logical.Response)(nil) err: dial tcp: connection refused",
				"database/creds/notes": "dial tcp: connection refused",
			}
		}
	})
}

// TestCredentialsOutliveADatabaseThatIsAway: that they cannot be renewed now is not their
// end, and they are renewed when it is back.
func TestCredentialsOutliveADatabaseThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		b := newBubble(t, e, hup)
		defer b.stop()
		end := time.Now().Add(time.Hour)
		e.databaseDown(true)
		pass(59 * time.Minute)
		if state := b.s.State(); !state.Fresh(time.Now()) || !state.FreshUntil.Equal(end) || len(state.Faults) != 1 {
			t.Errorf("state %+v, expected fresh until %s", state, end)
		}
		e.databaseDown(false)
		pass(2 * time.Minute)
		if state := b.s.State(); !state.Fresh(time.Now()) || len(state.Faults) > 0 {
			t.Errorf("after its return: state %+v", state)
		}
		pass(2 * time.Minute)
		if len(e.alive()) != 1 || content(t, b.file) != e.alive()[0] {
			t.Errorf("the file has %s, and alive are %v", content(t, b.file), e.alive())
		}
		if strings.Contains(b.log.String(), "is gone before its time") {
			t.Error("the log says that a lease is gone that lives")
		}
	})
}

// TestALeaseThatIsNotRenewedIsReplacedBeforeItEnds, whatever Vault's reason is.
func TestALeaseThatIsNotRenewedIsReplacedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		e.refused = map[string]string{"sys/leases/renew": "lease is not renewable"}
		b := newBubble(t, e, hup)
		defer b.stop()
		pass(44 * time.Minute)
		if n := len(b.app.heard()); n > 0 {
			t.Errorf("told %d times with more than a quarter of its life left", n)
		}
		pass(15 * time.Minute)
		if diff := cmp.Diff([]string{"hangup"}, b.app.heard()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"user-2"}, e.alive()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestVaultTellsThatALeaseIsGone in words that this package knows.
func TestVaultTellsThatALeaseIsGone(t *testing.T) {
	t.Parallel()
	call := secrets.Call{Method: http.MethodPut, Path: "sys/leases/renew", Body: map[string]any{"lease_id": "leased/issue/app/gone"}}
	_, err := session{login(t, vault, "app")}.Do(t.Context(), call)
	var refused *secrets.CallError
	if !errors.As(err, &refused) || refused.Kind != secrets.Refused || !strings.Contains(err.Error(), "lease not found") {
		t.Errorf("error %v", err)
	}
}

// TestARevocationThatIsRefusedIsRepeated, and the log says nothing of a success before.
func TestARevocationThatIsRefusedIsRepeated(t *testing.T) {
	const revoked, unrevoked = "credentials of the application were revoked", "revoking a lease of the application did not succeed"
	replaced := func(t *testing.T) (*engine, *bubble) {
		e := newEngine(time.Hour, 90*time.Minute)
		e.refused = map[string]string{"sys/leases/revoke": "failed to revoke entry: resp: (*logical.Response)(nil) err: lease not found by a plugin"}
		b := newBubble(t, e, hup)
		for len(e.alive()) < 2 {
			pass(time.Minute)
		}
		pass(5 * time.Minute)
		if log := b.log.String(); strings.Contains(log, revoked) || strings.Count(log, unrevoked) != 1 || b.s.State().Retired != 1 {
			t.Errorf("%d are retired, and the log:\n%s", b.s.State().Retired, log)
		}
		return e, b
	}
	synctest.Test(t, func(t *testing.T) {
		e, b := replaced(t)
		defer b.stop()
		e.databaseDown(false)
		pass(2 * time.Minute)
		if diff := cmp.Diff([]string{"user-2"}, e.alive()); diff != "" || !strings.Contains(b.log.String(), revoked) {
			t.Errorf("%s, and the log:\n%s", diff, b.log)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e, b := replaced(t)
		defer b.stop()
		for len(e.alive()) > 1 {
			pass(time.Minute)
		}
		pass(2 * time.Minute)
		if log := b.log.String(); strings.Contains(log, revoked) || strings.Count(log, unrevoked) != 2 || b.s.State().Retired > 0 {
			t.Errorf("%d are retired, and the log:\n%s", b.s.State().Retired, log)
		}
	})
}

// TestTheEndRepeatsARevocationThatIsRefused as long as a stop may take for it.
func TestTheEndRepeatsARevocationThatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		back  time.Duration
		alive []string
	}{
		"a database that is back":       {2500 * time.Millisecond, []string{}},
		"a database that does not come": {time.Minute, []string{"user-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEngine(time.Hour, time.Hour)
				b := newBubble(t, e, secrets.Action{})
				e.databaseDown(true)
				timer := time.AfterFunc(c.back, func() { e.databaseDown(false) })
				defer timer.Stop()
				b.stop()
				if diff := cmp.Diff(c.alive, e.alive()); diff != "" {
					t.Error(diff)
				}
				if told := strings.Contains(b.log.String(), "revoking a lease of the application did not succeed"); told != (len(c.alive) > 0) {
					t.Errorf("told: %t", told)
				}
			})
		})
	}
}
