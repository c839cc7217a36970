package secrets_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// refuses has the application refuse, or accept again, what it is told.
func (a *app) refuses(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail = err
}

// TestWhoHasDeadCredentialsIsNotFresh, whatever has been rendered meanwhile, and is again
// once told.
func TestWhoHasDeadCredentialsIsNotFresh(t *testing.T) {
	for name, end := range map[string]func(e *engine){
		"revoked":   func(e *engine) { clear(e.leases) },
		"outlived":  func(e *engine) { e.max = 90 * time.Minute },
		"a silence": func(e *engine) { e.away = refusal(secrets.Away, "connection refused") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEngine(time.Hour, 100*time.Hour)
				b := newBubble(t, e, hup)
				defer b.stop()
				b.app.refuses(errors.New("no such process"))
				e.set(func() { end(e) })
				pass(2 * time.Hour)
				e.set(func() { e.away, e.max = nil, 100*time.Hour })
				pass(2 * time.Hour)
				if user := content(t, b.file); user == "user-1" || !slices.Contains(e.alive(), user) {
					t.Fatalf("the file has %s, and alive are %v", user, e.alive())
				}
				if state := b.s.State(); state.Fresh(time.Now()) || len(state.Faults) != 1 || state.Retired > 0 {
					t.Errorf("state %+v, and the application has only what ended", state)
				}
				if n := strings.Count(b.log.String(), "ended before it could be told"); n > b.s.State().Replacements {
					t.Errorf("the log says %d times that they ended", n)
				}
				b.app.refuses(nil)
				pass(2 * time.Minute)
				if state := b.s.State(); !state.Fresh(time.Now()) || len(state.Faults) > 0 {
					t.Errorf("after it was told: state %+v", state)
				}
			})
		})
	}
}

// TestALookFindsARevokedLease at once, and replaces nothing that lives.
func TestALookFindsARevokedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		b := newBubble(t, e, hup)
		defer b.stop()
		b.s.Look()
		b.s.Look()
		pass(time.Second)
		if state := b.s.State(); content(t, b.file) != "user-1" || state.Renewals == 0 || state.Replacements > 0 {
			t.Errorf("the file has %s, and state is %+v", content(t, b.file), state)
		}
		e.set(func() { clear(e.leases) })
		b.s.Look()
		pass(time.Second)
		if user := content(t, b.file); user == "user-1" || !slices.Contains(e.alive(), user) {
			t.Errorf("the file has %s, and alive are %v", user, e.alive())
		}
	})
}

// TestAFileThatCannotBeWrittenIsNotFresh after the end of what it has, also where nobody is
// told of it, and also without a lease.
func TestAFileThatCannotBeWrittenIsNotFresh(t *testing.T) {
	for name, template := range map[string]string{
		"a lease": database,
		"an end":  `{{ with secret "auth/approle/role/notes/secret-id" "a=b" }}{{ .Data.secret_id }}{{ end }}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEngine(time.Hour, time.Hour)
				b := newBubbleOf(t, e, secrets.Action{}, template)
				defer b.stop()
				if err := errors.Join(os.Remove(b.file), os.Mkdir(b.file, 0o700)); err != nil {
					t.Fatal(err)
				}
				pass(59 * time.Minute)
				if !b.s.State().Fresh(time.Now()) {
					t.Error("not fresh before the end")
				}
				pass(2 * time.Minute)
				if state := b.s.State(); state.Fresh(time.Now()) || len(state.Faults) != 1 {
					t.Errorf("state %+v, and the file has what ended", state)
				}
				if err := os.Remove(b.file); err != nil {
					t.Fatal(err)
				}
				pass(2 * time.Minute)
				if state := b.s.State(); !state.Fresh(time.Now()) || len(state.Faults) > 0 {
					t.Errorf("after it was written: state %+v", state)
				}
			})
		})
	}
}

// TestReplacedCredentialsAreRenewedUntilTheApplicationHasMoved, if they can be.
func TestReplacedCredentialsAreRenewedUntilTheApplicationHasMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		e.refused = map[string]string{"sys/leases/renew": "failed to renew entry"}
		b := newBubble(t, e, hup)
		defer b.stop()
		b.app.refuses(errors.New("no such process"))
		for len(e.alive()) < 2 {
			pass(time.Minute)
		}
		e.set(func() { e.refused = nil })
		pass(10 * time.Hour)
		if alive := e.alive(); !slices.Contains(alive, "user-1") || !b.s.State().Fresh(time.Now()) {
			t.Errorf("alive are %v, state %+v", alive, b.s.State())
		}
		b.app.refuses(nil)
		pass(2 * time.Minute)
		if alive := e.alive(); slices.Contains(alive, "user-1") || len(alive) != 1 {
			t.Errorf("alive are %v after the application was told", alive)
		}
	})
}

// TestTheDeadAreNotRememberedWithoutEnd by an application that cannot be told for weeks.
func TestTheDeadAreNotRememberedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Minute, 90*time.Second)
		b := newBubble(t, e, hup)
		defer b.stop()
		b.app.refuses(errors.New("no such process"))
		pass(2 * time.Hour)
		if n := secrets.Remembered(b.s); n > 40 {
			t.Errorf("%d replaced credentials are remembered", n)
		}
		if b.s.State().Fresh(time.Now()) {
			t.Error("fresh, and the application has only what ended")
		}
		b.app.refuses(nil)
		pass(2 * time.Minute)
		if !b.s.State().Fresh(time.Now()) {
			t.Error("not fresh after it was told")
		}
	})
}

// TestWithoutAGraceTheOldGoAtOnce when the application has moved.
func TestWithoutAGraceTheOldGoAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, told := newEngine(time.Hour, 90*time.Minute), &app{}
		s, err := secrets.New(t.Context(), secrets.Config{
			Vault: e, App: told, Grace: -1, Files: []secrets.File{{Path: filepath.Join(memory(t), "a"), Template: database, OnChange: hup}},
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := begin(t, s)
		defer stop()
		for len(told.heard()) == 0 {
			pass(time.Second)
		}
		pass(time.Second)
		if diff := cmp.Diff([]string{"user-2"}, e.alive()); diff != "" {
			t.Error(diff)
		}
	})
}
