package swarm

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// pass lets synthetic time pass.
func pass(d time.Duration) { <-time.After(d) }

// issuing returns a call that makes numbered tokens, after a while.
func issuing(made *int, ttl time.Duration) func() (token, error) {
	return func() (token, error) {
		asked := time.Now()
		pass(100 * time.Millisecond)
		*made++
		return token{value: fmt.Sprint("token-", *made), ends: asked.Add(ttl)}, nil
	}
}

func TestTokenIsRememberedUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, made := newMemory(10, 10), 0
		ask := func() string {
			value, _, err := m.get(t.Context(), key{task: "t"}, issuing(&made, time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
		first := ask()
		pass(59 * time.Second)
		if again := ask(); again != first || made != 1 {
			t.Errorf("before its end: %s, %d made", again, made)
		}
		pass(time.Second)
		if after := ask(); after == first || made != 2 || m.size() != 1 {
			t.Errorf("after its end: %s, %d made, %d remembered", after, made, m.size())
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, made := newMemory(2, 3), 0
		get := func(task string) error {
			_, _, err := m.get(t.Context(), key{task: task}, issuing(&made, time.Minute))
			return err
		}
		if err := errors.Join(get("a"), get("b"), get("a")); err != nil {
			t.Fatal(err)
		}
		if err := get("c"); !errors.Is(err, errBusy) || errors.Is(err, errServiceBusy) || made != 2 {
			t.Errorf("a third: %v, %d made", err, made)
		}
		pass(time.Minute)
		if err := get("c"); err != nil || m.size() != 1 {
			t.Errorf("when the others have ended: %v, %d remembered", err, m.size())
		}
	})
}

// TestServiceWaitsAtItsShare: one that restarts over and over keeps no other from
// starting.
func TestServiceWaitsAtItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, made := newMemory(8, 2), 0
		get := func(service, task string) error {
			_, _, err := m.get(t.Context(), key{service: service, task: task}, issuing(&made, time.Minute))
			return err
		}
		if err := errors.Join(get("flapping", "a"), get("flapping", "b")); err != nil {
			t.Fatal(err)
		}
		if err := get("flapping", "c"); !errors.Is(err, errServiceBusy) || made != 2 {
			t.Errorf("a third task of it: %v, %d made", err, made)
		}
		if err := errors.Join(get("flapping", "a"), get("gateway", "a"), get("gateway", "b")); err != nil {
			t.Errorf("what it had before, and another service: %v", err)
		}
		pass(time.Minute)
		if err := get("flapping", "c"); err != nil {
			t.Errorf("when its tokens have ended: %v", err)
		}
	})
}

func TestFailureIsSharedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, calls, broken := newMemory(2, 2), 0, errors.New("broken")
		fail := func() (token, error) {
			pass(time.Second)
			calls++
			return token{}, broken
		}
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, _, err := m.get(t.Context(), key{}, fail)
				errs <- err
			}()
		}
		for range 3 {
			if err := <-errs; !errors.Is(err, broken) {
				t.Errorf("error %v", err)
			}
		}
		if calls != 1 || m.size() != 0 {
			t.Errorf("%d calls, %d remembered", calls, m.size())
		}
	})
}

// TestWaitingEndsWithTheRequest: who gives up does not end the call for others.
func TestWaitingEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, made := newMemory(2, 2), 0
		first := make(chan string)
		go func() {
			value, _, err := m.get(t.Context(), key{}, func() (token, error) {
				pass(time.Hour)
				return issuing(&made, 2*time.Hour)()
			})
			if err != nil {
				t.Error(err)
			}
			first <- value
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := m.get(ctx, key{}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if value := <-first; value != "token-1" {
			t.Errorf("the first got %q", value)
		}
	})
}
