package saml

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limiter{slots: make(chan struct{}, 1), wait: maxWait}
		if err := l.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}

		// Nobody lets go: it gives up by itself.
		start := time.Now()
		err := l.acquire(t.Context())
		if codeOf(t, err) != CodeBusy || time.Since(start) != maxWait {
			t.Errorf("%v after %s, want busy after %s", err, time.Since(start), maxWait)
		}

		// The browser goes away while waiting.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.acquire(ctx); codeOf(t, err) != CodeBusy || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want busy by the deadline", err)
		}

		// The next one gets in when the first lets go.
		in := make(chan error)
		go func() { in <- l.acquire(t.Context()) }()
		synctest.Wait()
		l.release()
		if err := <-in; err != nil {
			t.Errorf("waiting for a slot that came free: %v", err)
		}
		if n := l.waiting.Load(); n != 0 {
			t.Errorf("%d are still counted as waiting", n)
		}
	})
}

func TestLimiterBoundsTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limiter{slots: make(chan struct{}, 1), wait: maxWait}
		if err := l.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, maxWaiting)
		for range maxWaiting {
			go func() { results <- l.acquire(ctx) }()
		}
		synctest.Wait()
		start := time.Now()
		if err := l.acquire(t.Context()); codeOf(t, err) != CodeBusy || time.Since(start) != 0 {
			t.Errorf("%v after %s, want busy at once", err, time.Since(start))
		}
		cancel()
		for range maxWaiting {
			if err := <-results; codeOf(t, err) != CodeBusy {
				t.Errorf("%v, want busy", err)
			}
		}
	})
}

func TestVerifyWaitsForItsTurn(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	sp := newTestSP(t, testConfig(t, idp))
	for range cap(sp.limiter.slots) {
		if err := sp.limiter.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	post := Post{Response: attack{}.build(t, idp)}
	if _, err := sp.Verify(ctx, post, Expectation{RequestID: testRequestID}); codeOf(t, err) != CodeBusy {
		t.Errorf("%v, want busy", err)
	}
	sp.limiter.release()
	for range 3 { // each gives its slot back, refused or not
		_, err := sp.Verify(t.Context(), post, Expectation{RequestID: testRequestID})
		if code := codeOf(t, err); code != "" && code != CodeReplay {
			t.Errorf("code %q", code)
		}
	}
}
