package provision

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script is a machine whose steps are given.
type script struct {
	steps   []Step
	vouched bool
}

func (s *script) next(context.Context, *Client) (Step, error) {
	step := s.steps[0]
	if s.vouched {
		step.Needs = ""
	}
	step.do = func(context.Context, *Client) error {
		s.steps = s.steps[1:]
		return nil
	}
	return step, nil
}

func (s *script) unvouch() { s.vouched = false }

func scripted(s *script) *Rotation {
	return &Rotation{machine: s, now: func(context.Context, *Client) (time.Time, error) { return time.Now(), nil }}
}

// record collects what a rotation tells.
func record(lines *[]string) func(Progress) {
	return func(p Progress) { *lines = append(*lines, p.String()) }
}

func TestRunWaitsForEachStepAndTellsOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := scripted(&script{steps: []Step{
			{Name: "next", Text: "a", First: true},
			{Name: "switch", Text: "b", Due: start.Add(40 * time.Second)},
			{Name: "retire", Text: "c", Due: start.Add(50 * time.Second)},
			{Name: "next", Text: "a", First: true},
		}})
		var told []string
		if err := r.Run(t.Context(), nil, record(&told)); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"done: next: a",
			"due in 40s (2000-01-01T00:00:40Z): switch: b",
			"due in 25s (2000-01-01T00:00:40Z): switch: b",
			"due in 10s (2000-01-01T00:00:40Z): switch: b",
			"done: switch: b",
			"due in 10s (2000-01-01T00:00:50Z): retire: c",
			"done: retire: c",
			"no rotation is under way; the first step is next: a",
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if took := time.Since(start); took != 50*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestALongWaitIsToldOfLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := scripted(&script{steps: []Step{
			{Name: "retire", Text: "c", Due: time.Now().Add(24 * time.Hour)},
			{Name: "next", Text: "a", First: true, Due: time.Now().Add(48 * time.Hour)},
		}})
		var pauses []time.Duration
		told := time.Now()
		if err := r.Run(t.Context(), nil, func(Progress) {
			pauses = append(pauses, time.Since(told))
			told = time.Now()
		}); err != nil {
			t.Fatal(err)
		}
		if longest := slices.Max(pauses); longest != 10*time.Minute {
			t.Errorf("told of after %s at most", longest)
		}
		if last := pauses[len(pauses)-3]; last != 15*time.Second || len(pauses) > 200 {
			t.Errorf("told of %d times, towards the end after %s", len(pauses), last)
		}
	})
}

func TestRunEndsWhereAPersonIsNeeded(t *testing.T) {
	steps := []Step{
		{Name: "switch", Text: "b", Needs: "do something"},
		{Name: "retire", Text: "c", Needs: "do something"},
	}
	var told []string
	err := scripted(&script{steps: steps, vouched: true}).Run(t.Context(), nil, record(&told))
	if !errors.Is(err, ErrUnvouched) {
		t.Errorf("error %v, expected ErrUnvouched", err)
	}
	// The word was given before the switch, and does not reach past it.
	want := []string{"done: switch: b", "waits for you: retire: c; do something"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStepDoesOneStepAndSaysWhatComesNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		due := time.Now().Add(time.Minute)
		r := scripted(&script{steps: []Step{{Name: "next", Text: "a", First: true}, {Name: "switch", Text: "b", Due: due}}})
		want := [][]string{
			{"done: next: a", "due in 1m0s (2000-01-01T00:01:00Z): switch: b"},
			{"due in 1m0s (2000-01-01T00:01:00Z): switch: b"},
		}
		for _, lines := range want {
			var told []string
			if err := r.Step(t.Context(), nil, record(&told)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(lines, told); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
	})
}

func TestRunBeginsNothingSoonAfterTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := scripted(&script{steps: []Step{{Name: "next", Text: "a", First: true, Due: time.Now().Add(time.Minute)}}})
		var told []string
		if err := r.Run(t.Context(), nil, record(&told)); err != nil {
			t.Fatal(err)
		}
		want := []string{"no rotation is under way; the last change is recent, another can begin in 1m0s"}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := scripted(&script{steps: []Step{{Name: "switch", Due: time.Now().Add(time.Hour)}}})
		if err := r.Run(ctx, nil, func(Progress) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

func TestNamesOfIssuersAreRead(t *testing.T) {
	for name, want := range map[string]int{
		"root-1": 1, "intermediate-12": 12, "root-2.published-20261125T101500Z": 2, "intermediate-3.replaced-20261125T101500Z": 3,
		"": 0, "root-0": 0, "root-01": 0, "root-1x": 0, "my-root-1": 0, "root-99999999999999999999": 0, "root-1.x": 0, "root-2026": 0,
	} {
		if got := generation(name); got != want {
			t.Errorf("%q is number %d, expected %d", name, got, want)
		}
	}
	at, ok := issuer{name: "root-2.published-20261125T101500Z"}.when("published")
	if !ok || !at.Equal(time.Date(2026, 11, 25, 10, 15, 0, 0, time.UTC)) {
		t.Errorf("published at %s, %t", at, ok)
	}
	for _, name := range []string{"root-2", "root-2.replaced-20261125T101500Z", "root-2.published-", "root-2.published-yesterday"} {
		if at, ok := (issuer{name: name}).when("published"); ok {
			t.Errorf("%q was published at %s", name, at)
		}
	}
}

func TestNotesOfIssuersStandSideBySide(t *testing.T) {
	at := time.Date(2026, 11, 25, 10, 15, 0, 0, time.UTC)
	end := issuer{cert: &x509.Certificate{NotAfter: at.Add(10 * time.Hour)}}
	for _, test := range []struct {
		name string
		note func(issuer) issuer
		want string
	}{
		{"root-1", func(i issuer) issuer { return i.with(i.baseOr(""), "replaced", at) }, "root-1.replaced-20261125T101500Z"},
		{"my.ca", func(i issuer) issuer { return i.with(i.baseOr(""), "replaced", at) }, "my.ca.replaced-20261125T101500Z"},
		{"", func(i issuer) issuer { return i.with(i.baseOr("issuer-7"), "rotated", at) }, "issuer-7.rotated-20261125T101500Z"},
		{
			"root-1.leaves-20261126T101500Z", func(i issuer) issuer { return i.with(i.baseOr(""), "replaced", at) },
			"root-1.leaves-20261126T101500Z.replaced-20261125T101500Z",
		},
		{
			"root-1.rotated-20251125T101500Z.leaves-20261126T101500Z", func(i issuer) issuer { return i.with(i.baseOr(""), "rotated", at) },
			"root-1.leaves-20261126T101500Z.rotated-20261125T101500Z",
		},
		{"root-1", func(i issuer) issuer { return i.withLeaves(at.Add(time.Hour)) }, "root-1.leaves-20261125T111500Z"},
		{"root-1", func(i issuer) issuer { return i.withLeaves(at.Add(100 * year)) }, "root-1.leaves-20261125T201500Z"},
		{"root-1.leaves-20261125T111500Z", func(i issuer) issuer { return i.withLeaves(at) }, "root-1.leaves-20261125T111500Z"},
	} {
		end.name = test.name
		if got := test.note(end).name; got != test.want {
			t.Errorf("%q becomes %q, expected %q", test.name, got, test.want)
		}
	}
}

// Whatever Vault answers, reading it ends, and what is read can be relied on.
func FuzzAnswersOfVault(f *testing.F) {
	f.Add([]byte(`{"metadata": {"version": 3, "created_time": "2026-11-25T10:15:00.5Z"}, "data": {"current": "x"}}`), "root-2.published-20261125T101500Z")
	f.Add([]byte(`{"metadata": {"version": "3", "created_time": 7}, "data": []}`), "intermediate-1.replaced-.published-")
	f.Add([]byte(`{"key_info": {"a": {"issuer_name": 7}}, "keys": ["a", 1]}`), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(t *testing.T, answer []byte, name string) {
		decoder := json.NewDecoder(bytes.NewReader(answer))
		decoder.UseNumber()
		var data map[string]any
		if decoder.Decode(&data) == nil {
			if have, err := parseContent("kv/data/x", data); err == nil && have.created.IsZero() && !strings.Contains(string(answer), "0001-01-01") {
				t.Errorf("content without a time: %+v", have)
			}
		}
		if cert, err := parseCertificate(name); err == nil && cert == nil {
			t.Error("no certificate and no error")
		}
		i := issuer{name: name}
		if n := i.generation(); n < 0 || n > 999 {
			t.Errorf("%q is number %d", name, n)
		}
		if at, ok := i.when("published"); ok && !strings.Contains(name, at.Format(noted)) {
			t.Errorf("%q was published at %s", name, at)
		}
	})
}
