package saml

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMemory(t *testing.T) {
	now := testNow
	m := newMemory(2, func() time.Time { return now })
	step := func(id string, until time.Duration, want error) {
		t.Helper()
		if got := m.remember("https://idp", id, testNow.Add(until)); !errors.Is(got, want) {
			t.Errorf("%s at %s: %v, want %v", id, now.Sub(testNow), got, want)
		}
	}
	step("a", 2*time.Minute, nil)
	step("a", 2*time.Minute, errReplayed)
	step("b", time.Minute, nil)
	step("c", time.Hour, errReplayFull) // a live entry is never given up
	step("a", time.Minute, errReplayed)
	now = testNow.Add(time.Minute) // b may go
	step("c", time.Hour, nil)
	step("c", time.Hour, errReplayed)
	step("d", time.Hour, errReplayFull)
	now = testNow.Add(2 * time.Minute) // a may go
	step("d", time.Hour, nil)
	if len(m.known) != 2 || len(m.queue) != 2 || m.count["https://idp"] != 2 {
		t.Errorf("%d known and %d queued of %v, want 2 of each", len(m.known), len(m.queue), m.count)
	}
	// Another identity provider has room of its own, and no second use of what is known.
	if err := m.remember("https://other", "e", testNow.Add(time.Hour)); err != nil {
		t.Error(err)
	}
	if err := m.remember("https://other", "d", testNow.Add(time.Hour)); !errors.Is(err, errReplayed) {
		t.Error(err)
	}
	now = testNow.Add(time.Hour)
	step("f", 2*time.Hour, nil)
	if len(m.known) != 1 || len(m.count) != 1 {
		t.Errorf("%d known of %v, want one", len(m.known), m.count)
	}
}

func TestMemoryLetsOneOfManyIn(t *testing.T) {
	m := newMemory(100, time.Now)
	var first atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if m.Remember("same", time.Now().Add(time.Hour)) {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	if first.Load() != 1 {
		t.Errorf("%d of 50 were first", first.Load())
	}
}

// recording is a replay memory of the caller's.
type recording struct {
	ids   []string
	until time.Time
	first bool
}

func (r *recording) Remember(id string, until time.Time) bool {
	r.ids, r.until = append(r.ids, id), until
	return r.first
}

func TestReplay(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	now := testNow
	cfg := testConfig(t, idp)
	cfg.Now = func() time.Time { return now }
	sp := newTestSP(t, cfg)
	verify := func(a attack) string {
		t.Helper()
		_, err := sp.Verify(t.Context(), Post{Response: a.build(t, idp)}, Expectation{RequestID: testRequestID})
		return codeOf(t, err)
	}
	got := []string{
		verify(attack{edit: setText(".//Audience", "x")}), // a refused one is not remembered
		verify(attack{}),
		verify(attack{}), // C11
		verify(attack{after: func(_ testing.TB, m *message) { m.root.CreateAttr("ID", "_other") }}), // C11 in another envelope
		verify(attack{sign: signResponse}), // signed otherwise, but the same assertion
	}
	want := []string{CodeAudience, "", CodeReplay, CodeReplay, CodeReplay}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
	// For as long as it would pass the other checks, it is remembered.
	for _, d := range []time.Duration{testSkew, 5 * time.Minute, 5*time.Minute + testSkew - time.Nanosecond} {
		now = testNow.Add(d)
		if code := verify(attack{}); code != CodeReplay {
			t.Errorf("after %s: %q, want %q", d, code, CodeReplay)
		}
	}
	now = testNow.Add(5*time.Minute + testSkew)
	if code := verify(attack{}); code != CodeExpired {
		t.Errorf("when it is over: %q, want %q", code, CodeExpired)
	}
}

func TestReplayMemoryOfTheCaller(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	for _, first := range []bool{true, false} {
		memory := &recording{first: first}
		cfg := testConfig(t, idp)
		cfg.Replay = memory
		_, err := newTestSP(t, cfg).Verify(t.Context(), Post{Response: attack{}.build(t, idp)}, Expectation{RequestID: testRequestID})
		want := map[bool]string{true: "", false: CodeReplay}[first]
		if code := codeOf(t, err); code != want {
			t.Errorf("first %v: code %q, want %q", first, code, want)
		}
		if len(memory.ids) != 1 || len(memory.ids[0]) != 64 || memory.until.Before(testNow.Add(maxAssertionAge+testSkew)) {
			t.Errorf("remembered %q until %s", memory.ids, memory.until)
		}
	}
}

// TestVerifyLetsOneOfManyIn: however many bring it at once.
func TestVerifyLetsOneOfManyIn(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	sp := newTestSP(t, testConfig(t, idp))
	post := Post{Response: attack{}.build(t, idp)}
	var in, replayed atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch _, err := sp.Verify(t.Context(), post, Expectation{RequestID: testRequestID}); codeOf(t, err) {
			case "":
				in.Add(1)
			case CodeReplay:
				replayed.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 || replayed.Load() != 19 {
		t.Errorf("%d got in, %d were replays, want 1 and 19", in.Load(), replayed.Load())
	}
}

func TestReplayMemoryFull(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	cfg := testConfig(t, idp)
	full := newMemory(1, cfg.Now)
	if err := full.remember(testIdPID, "somebody else", testNow.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	cfg.Replay = full
	_, err := newTestSP(t, cfg).Verify(t.Context(), Post{Response: attack{}.build(t, idp)}, Expectation{RequestID: testRequestID})
	if code := codeOf(t, err); code != CodeReplayFull {
		t.Errorf("code %q, want %q", code, CodeReplayFull)
	}
}

func BenchmarkMemory(b *testing.B) {
	now := testNow
	m := newMemory(maxReplayEntries, func() time.Time { return now })
	for i := range b.N {
		now = now.Add(time.Millisecond)
		m.Remember(fmt.Sprintf("%064x", i), now.Add(time.Minute))
	}
}
