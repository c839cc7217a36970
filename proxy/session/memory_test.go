package session

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOnce(time.Now)
		until := time.Now().Add(10 * time.Minute)
		if !o.Use("a", until) || o.Use("a", until) || !o.Use("b", until) {
			t.Error("an id is good once, and only once")
		}
		<-time.After(10 * time.Minute)
		if o.Use("a", until.Add(time.Hour)) {
			t.Error("used again at the very end of its time")
		}
		<-time.After(2 * time.Minute)
		if !o.Use("c", until.Add(time.Hour)) || len(o.used) != 1 {
			t.Errorf("%d ids remembered, want 1: the expired ones are forgotten", len(o.used))
		}
	})
}

func TestOnceIsBoundedAndRefusesWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOnce(time.Now)
		until := time.Now().Add(time.Minute)
		for i := range onceLimit {
			if !o.Use(strconv.Itoa(i), until) {
				t.Fatalf("id %d refused", i)
			}
		}
		if o.Use("one more", until) || len(o.used) != onceLimit {
			t.Errorf("let in with %d ids remembered", len(o.used))
		}
		if o.Use("0", until) {
			t.Error("a full memory forgot an id that still matters")
		}
		<-time.After(time.Minute + 2*time.Second)
		if !o.Use("one more", until.Add(time.Hour)) || len(o.used) != 1 {
			t.Errorf("after all have expired: refused, or %d ids remembered", len(o.used))
		}
	})
}

func TestOnceUnderConcurrency(t *testing.T) {
	o := NewOnce(time.Now)
	var firsts atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				if o.Use(strconv.Itoa(i), time.Now().Add(time.Hour)) {
					firsts.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if firsts.Load() != 200 {
		t.Errorf("%d first uses of 200 ids", firsts.Load())
	}
}

func TestRevocationsAreForgottenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRevocations(time.Now)
		r.Revoke(&State{ID: "a"}, time.Now().Add(time.Hour))
		r.Revoke(&State{ID: "a"}, time.Now().Add(time.Minute)) // does not shorten
		<-time.After(30 * time.Minute)
		r.Revoke(&State{ID: "b"}, time.Now().Add(time.Hour))
		if !r.Ended(&State{ID: "a"}) || !r.Ended(&State{ID: "b"}) || r.Ended(&State{ID: "c"}) {
			t.Errorf("revoked: a %t, b %t, c %t", r.Ended(&State{ID: "a"}), r.Ended(&State{ID: "b"}), r.Ended(&State{ID: "c"}))
		}
		<-time.After(31 * time.Minute)
		r.Revoke(&State{ID: "c"}, time.Now().Add(time.Hour))
		if r.Ended(&State{ID: "a"}) || !r.Ended(&State{ID: "b"}) {
			t.Errorf("revoked: a %t, b %t", r.Ended(&State{ID: "a"}), r.Ended(&State{ID: "b"}))
		}
	})
}

func TestBind(t *testing.T) {
	tests := []struct {
		name  string
		act   func(r *Revocations, parent context.CancelFunc, release func())
		cause error
		after time.Duration
	}{
		{name: "at the absolute end", cause: ErrEnded, after: time.Hour},
		{name: "when the session is revoked", act: func(r *Revocations, _ context.CancelFunc, _ func()) { r.Revoke(&State{ID: "a"}, time.Now()) }, cause: ErrEnded},
		{name: "when the request ends", act: func(_ *Revocations, parent context.CancelFunc, _ func()) { parent() }, cause: context.Canceled},
		{name: "when it is released", act: func(_ *Revocations, _ context.CancelFunc, release func()) { release() }, cause: context.Canceled},
		{name: "not when another session is revoked", act: func(r *Revocations, _ context.CancelFunc, _ func()) { r.Revoke(&State{ID: "b"}, time.Now()) }, cause: ErrEnded, after: time.Hour},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := NewRevocations(time.Now)
				parent, cancel := context.WithCancel(t.Context())
				defer cancel()
				start := time.Now()
				bound, release := r.Bind(parent, Use{Host: toolA}, &State{ID: "a", Expires: start.Add(time.Hour).Unix()})
				defer release()
				if bound.Err() != nil {
					t.Fatalf("ended at once: %v", context.Cause(bound))
				}
				if test.act != nil {
					test.act(r, cancel, release)
				}
				<-bound.Done()
				if !errors.Is(context.Cause(bound), test.cause) || time.Since(start) != test.after {
					t.Errorf("ended after %v: %v, want after %v: %v", time.Since(start), context.Cause(bound), test.after, test.cause)
				}
				release() // a second release does no harm
				if len(r.streams.first) != 0 {
					t.Errorf("%d sessions still have connections after release", len(r.streams.first))
				}
			})
		})
	}
}

func TestBindOfARevokedSessionEndsAtOnce(t *testing.T) {
	r := NewRevocations(time.Now)
	r.Revoke(&State{ID: "a"}, time.Now().Add(time.Hour))
	bound, release := r.Bind(t.Context(), Use{Host: toolA}, &State{ID: "a", Expires: time.Now().Add(time.Hour).Unix()})
	defer release()
	if !errors.Is(context.Cause(bound), ErrEnded) {
		t.Errorf("cause = %v, want ErrEnded", context.Cause(bound))
	}
}

func TestWithdrawEndsWhatIsNotAllowedAnyMore(t *testing.T) {
	r := NewRevocations(time.Now)
	bind := func(host, user string) context.Context {
		bound, release := r.Bind(t.Context(), Use{Host: host}, &State{ID: user, User: user, Expires: time.Now().Add(time.Hour).Unix()})
		t.Cleanup(release)
		return bound
	}
	goes, other, stays := bind(toolA, "alice"), bind(toolA, "bob"), bind(toolB, "alice")
	r.Withdraw(func(use Use, s *State) bool { return use.Host != toolA || s.User == "bob" })
	if !errors.Is(context.Cause(goes), ErrWithdrawn) || other.Err() != nil || stays.Err() != nil {
		t.Errorf("causes %v, %v, %v", context.Cause(goes), context.Cause(other), context.Cause(stays))
	}
}

// TestRevokeEndsAllConnections binds and revokes at the same time: whichever
// comes first, no connection outlives the session, and none of another ends.
func TestRevokeEndsAllConnections(t *testing.T) {
	r := NewRevocations(time.Now)
	expires := time.Now().Add(time.Hour)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			bound, release := r.Bind(t.Context(), Use{Host: toolA}, &State{ID: "a", Expires: expires.Unix()})
			defer release()
			if i == 16 {
				r.Revoke(&State{ID: "a"}, expires)
			}
			<-bound.Done()
			if !errors.Is(context.Cause(bound), ErrEnded) {
				t.Errorf("cause = %v, want ErrEnded", context.Cause(bound))
			}
		})
	}
	other, release := r.Bind(t.Context(), Use{Host: toolA}, &State{ID: "b", Expires: expires.Unix()})
	wg.Wait()
	if other.Err() != nil {
		t.Errorf("another session's connection ended: %v", context.Cause(other))
	}
	release()
	if len(r.streams.first) != 0 {
		t.Errorf("%d sessions still have connections", len(r.streams.first))
	}
}
