package session

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStateComesBackExactly(t *testing.T) {
	odd := State{
		ID: "i", User: "a\x00b\xff", Email: "<&>", Name: "Jürgen", IdP: "p", AuthnContext: "c",
		Log: "l\x00", Groups: []string{"", "x,y", "\u2028"}, AuthnAt: math.MinInt64, Expires: math.MaxInt64, Seen: -1,
	}
	for name, want := range map[string]State{"nothing": {}, "alice": alice(), "realistic": realistic(), "odd": odd} {
		got, err := parseState(want.append())
		if err != nil {
			t.Errorf("%s: parseState: %v", name, err)
		} else if diff := cmp.Diff(&want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestParseStateRefusesOtherForms(t *testing.T) {
	person := alice()
	whole := person.append()
	for i := range whole {
		if got, err := parseState(whole[:i]); !errors.Is(err, errMalformed) {
			t.Errorf("parseState of the first %d bytes = %v, %v", i, got, err)
		}
	}
	empty := (&State{}).append()
	for name, raw := range map[string][]byte{
		"trailing byte":        append(bytes.Clone(whole), 0),
		"another version":      append([]byte{1}, whole[1:]...),
		"JSON":                 []byte(`{"i":"x","u":"alice"}`),
		"length beyond uint64": bytes.Repeat([]byte{0xff}, 30),
		"too many groups":      append(empty[:len(empty)-2], 0xff, 0xff, 0xff, 0xff, 0x0f),
	} {
		if got, err := parseState(raw); !errors.Is(err, errMalformed) {
			t.Errorf("%s: parseState = %v, %v", name, got, err)
		}
	}
}

// FuzzParseState: whatever is read is written back to the same state, and
// nothing makes the reader take more memory than it was given.
func FuzzParseState(f *testing.F) {
	person, nobody := realistic(), State{}
	f.Add(person.append())
	f.Add(nobody.append())
	f.Add([]byte{stateVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, raw []byte) {
		first, err := parseState(raw)
		if err != nil {
			return
		}
		if len(first.Groups) > len(raw) {
			t.Fatalf("%d bytes gave %d groups", len(raw), len(first.Groups))
		}
		second, err := parseState(first.append())
		if err != nil || !cmp.Equal(first, second) {
			t.Fatalf("state changed: %v, %v, %v", first, second, err)
		}
	})
}
