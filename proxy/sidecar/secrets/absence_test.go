package secrets_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// leave has Vault be away until it comes, which nobody is told of.
func (e *engine) leave() { e.set(func() { e.away = refusal(secrets.Away, "connection refused") }) }
func (e *engine) come()  { e.set(func() { e.away = nil }) }

// outlive has a lease of an hour end while Vault is away.
func outlive(t *testing.T, e *engine) (b *bubble, end time.Time) {
	t.Helper()
	b, end = newBubble(t, e, hup), time.Now().Add(time.Hour)
	e.leave()
	pass(2 * time.Hour)
	if state := b.s.State(); state.Fresh(time.Now()) || !state.FreshUntil.Equal(end) || !state.Away || !state.Excused {
		t.Errorf("state %+v, expected stale since %s, and nobody's fault", state, end)
	}
	return b, end
}

// TestWhatEndsWhileVaultIsAwayIsReplacedWhenItIsBack, within seconds, though nobody says
// that it is back; and the log is not filled meanwhile.
func TestWhatEndsWhileVaultIsAwayIsReplacedWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		b, end := outlive(t, e)
		defer b.stop()
		if content(t, b.file) != "user-1" || len(b.app.heard()) > 0 {
			t.Errorf("while Vault is away: file %q, told %v", content(t, b.file), b.app.heard())
		}
		told := strings.Count(b.log.String(), "could not be kept fresh")
		if since := strings.Count(b.log.String(), `"fresh_until":"`+end.UTC().Format(time.RFC3339)); told > 150 || since != told {
			t.Errorf("the log tells of %d attempts, %d times with since when", told, since)
		}
		if n := e.called("database/creds/notes"); n < 500 {
			t.Errorf("%d attempts in the hour after the end", n)
		}
		e.come()
		pass(10 * time.Second) // the longest delay, its jitter and the debounce
		if diff := cmp.Diff([]string{"hangup"}, b.app.heard()); diff != "" {
			t.Error(diff)
		}
		if state := b.s.State(); !state.Fresh(time.Now()) || state.Excused || content(t, b.file) != "user-2" {
			t.Errorf("state %+v, file %q", state, content(t, b.file))
		}
	})
}

// TestNewsOfVaultsReturnIsUsedAtOnce, whoever else has heard of it.
func TestNewsOfVaultsReturnIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, back := newEngine(time.Hour, 100*time.Hour), make(chan struct{})
		e.session.Back = back
		b, _ := outlive(t, e)
		defer b.stop()
		e.set(func() { e.away, e.session.Back = nil, nil })
		close(back)
		synctest.Wait() // no time passes
		if content(t, b.file) != "user-2" {
			t.Errorf("the file has %q", content(t, b.file))
		}
	})
}

// TestStaleSecretsAreSomebodysFault as soon as Vault is there: it refuses, or the
// application cannot be told of what is in their place.
func TestStaleSecretsAreSomebodysFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		b, _ := outlive(t, e)
		defer b.stop()
		e.set(func() { e.denied["database/creds/notes"] = true })
		e.come()
		pass(10 * time.Second)
		if state := b.s.State(); state.Fresh(time.Now()) || state.Excused {
			t.Errorf("denied: %+v", state)
		}
		b.app.mu.Lock()
		b.app.fail = errors.New("no such process")
		b.app.mu.Unlock()
		e.set(func() { e.denied["database/creds/notes"] = false })
		for content(t, b.file) != "user-2" {
			pass(100 * time.Millisecond)
		}
		if state := b.s.State(); state.Fresh(time.Now()) || !state.Excused || state.Away {
			t.Errorf("about to be told: %+v", state)
		}
		pass(3 * time.Second)
		if state := b.s.State(); state.Fresh(time.Now()) || state.Excused {
			t.Errorf("cannot be told: %+v", state)
		}
	})
}
