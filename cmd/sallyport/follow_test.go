package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// subject is a secret in a Vault of the test's own making, and what a Follower
// has done with it. It lives in one synctest bubble.
type subject struct {
	mu      sync.Mutex // guards all but the follower
	there   int        // the version
	held    int        // that is in use; owned by the follower
	err     error      // of the next readings
	reads   int
	applied []int
	refusal error // of the next applications
	out     bytes.Buffer
	*follower[int]
}

// follow begins with version 1, read every minute.
func newSubject() *subject {
	v := &subject{there: 1, held: 1}
	v.follower = &follower[int]{
		name: "secret/app", log: slog.New(slog.NewTextHandler(&v.out, nil)),
		every:   func() time.Duration { return time.Minute },
		version: strconv.Itoa,
		inUse:   func(version int) bool { return version == v.held },
		apply: func(_ context.Context, version int) error {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.applied = append(v.applied, version)
			if v.refusal == nil {
				v.held = version
			}
			return v.refusal
		},
		read: func(context.Context) (int, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.reads++
			return v.there, v.err
		},
	}
	v.begin(kindSecret, "1")
	return v
}

// start runs it.
func (v *subject) start(ctx context.Context) { go func() { _ = v.run(ctx) }() }

// say changes what Vault and Apply will say.
func (v *subject) say(version int, err, refusal error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.there, v.err, v.refusal = version, err, refusal
}

// tries is how often something was put in use, or should have been.
func (v *subject) tries() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.applied)
}

// pass lets time go by, and everything come to rest. It is for a bubble of
// synctest alone, where a timer is no race; forbidigo cannot tell a Sleep there
// from one that waits for luck, and bans both.
func pass(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
}

// lines counts the log lines that hold text.
func (v *subject) lines(text string) int { return strings.Count(v.out.String(), text) }

func TestNewVersionIsAppliedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		v := newSubject()
		v.start(ctx)
		pass(10 * time.Minute)
		if len(v.applied) != 0 {
			t.Errorf("versions %v were applied though nothing changed", v.applied)
		}
		if v.reads < 9 || v.reads > 11 {
			t.Errorf("%d readings in ten minutes, expected one a minute", v.reads)
		}
		v.say(3, nil, nil) // two at once
		pass(5 * time.Minute)
		if len(v.applied) != 1 || v.applied[0] != 3 || v.status().Version != "3" || v.lines("new version in use") != 1 {
			t.Errorf("applied %v, status %+v\n%s", v.applied, v.status(), v.out.String())
		}
		v.say(1, nil, nil) // the secret was removed whole and written anew
		pass(2 * time.Minute)
		if v.status().Version != "1" {
			t.Errorf("status %+v, expected the version that Vault has", v.status())
		}
		cancel()
		synctest.Wait()
	})
}

func TestReadingsAreJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		v := newSubject()
		seen := map[time.Duration]bool{}
		var last time.Time
		v.read = func(context.Context) (int, error) {
			now := time.Now()
			if !last.IsZero() {
				seen[now.Sub(last).Round(time.Second)] = true
				if between := now.Sub(last); between < 54*time.Second || between > 66*time.Second {
					t.Errorf("%s between two readings", between)
				}
			}
			last = now
			return 1, nil
		}
		v.start(ctx)
		pass(time.Hour)
		if len(seen) < 3 {
			t.Errorf("readings follow each other by just %v", seen)
		}
		cancel()
		synctest.Wait()
	})
}

func TestBrokenVersionIsRefusedAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		v := newSubject()
		v.start(ctx)
		v.say(2, nil, errors.New("the key does not fit its certificate"))
		pass(10 * time.Minute)
		status := v.status()
		if status.Version != "1" || status.Refused != "2" || !strings.Contains(status.Cause, "does not fit") {
			t.Errorf("status %+v", status)
		}
		if n := v.tries(); n < 3 || n > 5 || v.lines("version_refused") != 1 {
			t.Errorf("tried %d times in ten minutes, expected ever longer pauses; told %d times", n, v.lines("version_refused"))
		}
		pass(24 * time.Hour)
		if n := v.tries(); n < 25 || n > 35 {
			t.Errorf("tried %d times in a day, expected once an hour", n)
		}
		v.say(2, nil, errors.New("the certificate is for another name"))
		v.wake() // an operator is there
		pass(time.Second)
		if v.lines("version_refused") != 2 {
			t.Errorf("another cause was not told\n%s", v.out.String())
		}
		v.say(2, nil, nil) // what it needs is there now
		pass(5 * time.Minute)
		if status := v.status(); status.Version != "2" || status.Refused != "" || status.Cause != "" {
			t.Errorf("status %+v", status)
		}
		cancel()
		synctest.Wait()
	})
}

func TestSecretThatCannotBeReadStaysInUse(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		told   string
		judged bool // Vault's answer says something about the secret
	}{
		"vault is away":    {&vaultpki.Error{Reason: vaultpki.ReasonUnreachable, Op: "reading", Err: errors.New("connection refused")}, "level=WARN", false},
		"policy taken":     {&vaultpki.Error{Reason: vaultpki.ReasonDenied, Op: "reading", Err: errors.New("permission denied")}, "level=ERROR", true},
		"version deleted":  {&vaultpki.Error{Reason: vaultpki.ReasonMissingSecret, Op: "reading", Err: errors.New("its latest version, 1, is deleted")}, "level=ERROR", true},
		"mount of version": {&vaultpki.Error{Reason: vaultpki.ReasonConfig, Op: "reading", Err: errors.New("no data and metadata")}, "level=ERROR", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				v := newSubject()
				v.start(ctx)
				start := time.Now()
				v.say(1, tt.err, nil)
				pass(time.Hour)
				status := v.status()
				if status.Version != "1" || len(v.applied) != 0 || status.Cause == "" || status.Read.After(start) != tt.judged {
					t.Errorf("applied %v, status %+v", v.applied, status)
				}
				if v.lines("version_unreadable") != 1 || v.lines(tt.told) != 1 {
					t.Errorf("told\n%s", v.out.String())
				}
				v.say(1, nil, nil)
				pass(2 * time.Minute)
				if v.status().Cause != "" || v.lines("as it should be again") != 1 {
					t.Errorf("status %+v\n%s", v.status(), v.out.String())
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

func TestWakeReadsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		v := newSubject()
		v.start(ctx)
		synctest.Wait()
		v.say(2, nil, nil)
		for range 3 {
			v.wake()
		}
		synctest.Wait()
		if v.reads == 0 || v.reads > 2 || v.status().Version != "2" {
			t.Errorf("%d readings, status %+v", v.reads, v.status())
		}
		cancel()
		synctest.Wait()
	})
}

// TestWhoAsksWaitsForAReadingOfHisOwn: one that began before the question may have
// seen what was there before.
func TestWhoAsksWaitsForAReadingOfHisOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newSubject()
		ctx, stop := context.WithCancel(t.Context())
		v.start(ctx)
		v.say(2, nil, nil)
		v.now(t.Context())
		if v.status().Version != "2" {
			t.Errorf("in use is %q when the question was answered, want 2", v.status().Version)
		}
		v.say(3, nil, errors.New("of no use"))
		v.now(t.Context())
		if state := v.status(); state.Refused != "3" {
			t.Errorf("state %+v, want version 3 refused", state)
		}
		stop()
		synctest.Wait()
		patience, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		v.now(patience) // nobody reads any more: it ends with its context
		if patience.Err() == nil {
			t.Error("a question was answered by nobody")
		}
	})
}
