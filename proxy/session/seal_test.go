package session

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func mustSealer(tb testing.TB, keys Keys, p purpose) *sealer {
	tb.Helper()
	s, err := newSealer(keys, p)
	if err != nil {
		tb.Fatalf("newSealer: %v", err)
	}
	return s
}

func TestOpenRefusesEveryChangedBit(t *testing.T) {
	s := mustSealer(t, Keys{Current: testKey(1), Previous: testKey(2)}, forSession)
	sealed := s.seal([]byte("alice"), toolA)
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		t.Fatalf("seal returned %q, which is no base64url: %v", sealed, err)
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if got, err := s.open(base64.RawURLEncoding.EncodeToString(raw), toolA); !errors.Is(err, errUnsealed) {
				t.Errorf("open with bit %d of byte %d flipped = %q, %v", bit, i, got, err)
			}
			raw[i] ^= 1 << bit
		}
	}
	if got, err := s.open(sealed, toolA); err != nil || string(got) != "alice" {
		t.Errorf("open of the unchanged value = %q, %v", got, err)
	}
}

func TestOpenRefusesOtherShapes(t *testing.T) {
	s := mustSealer(t, Keys{Current: testKey(1)}, forSession)
	sealed := s.seal([]byte("alice"), toolA)
	for i := range sealed {
		if _, err := s.open(sealed[:i], toolA); !errors.Is(err, errUnsealed) {
			t.Errorf("open of the first %d characters = %v", i, err)
		}
	}
	// The last character has unused bits: another spelling of the same bytes
	// would be another cookie with the same meaning.
	spellings := 0
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if _, err := s.open(sealed[:len(sealed)-1]+string(c), toolA); err == nil {
			spellings++
		}
	}
	if spellings != 1 {
		t.Errorf("%d spellings of the last character open, want 1", spellings)
	}
	for name, value := range map[string]string{
		"longer": sealed + "A", "padded": sealed + "=", "line break": sealed[:9] + "\n" + sealed[9:], "standard alphabet": "+/" + sealed[2:], "twice": sealed + sealed, "blank": " " + sealed,
	} {
		if _, err := s.open(value, toolA); !errors.Is(err, errUnsealed) {
			t.Errorf("open of the %s value = %v", name, err)
		}
	}
}

func TestOpenWantsTheSameBinding(t *testing.T) {
	s := mustSealer(t, Keys{Current: testKey(1)}, forTicket)
	sealed := s.seal([]byte("alice"), toolA)
	for _, binding := range []string{toolB, "", toolA + ".", strings.ToUpper(toolA)} {
		if _, err := s.open(sealed, binding); !errors.Is(err, errUnsealed) {
			t.Errorf("open with binding %q = %v", binding, err)
		}
	}
}

func TestPurposesCannotBeSwapped(t *testing.T) {
	keys := Keys{Current: testKey(1)}
	purposes := []purpose{forSession, forTicket, forBegin, forPending, forReturn, forLink, forRemote, forSignOff, forLeaving}
	for _, from := range purposes {
		sealed := mustSealer(t, keys, from).seal([]byte(`{}`), "")
		for _, to := range purposes {
			if _, err := mustSealer(t, keys, to).open(sealed, ""); (err == nil) != (from == to) {
				t.Errorf("sealed for %s, opened for %s: %v", from, to, err)
			}
		}
	}
}

func TestSealIsNeverTheSameTwice(t *testing.T) {
	s := mustSealer(t, Keys{Current: testKey(1)}, forSession)
	seen := make(map[string]bool)
	for range 1000 {
		seen[s.seal([]byte("alice"), toolA)] = true
	}
	if len(seen) != 1000 {
		t.Errorf("1000 seals gave %d different values", len(seen))
	}
}

// TestKeyRotation walks through a rotation from key 1 to key 2, with replicas
// that are one step apart: nobody may be signed out in between.
func TestKeyRotation(t *testing.T) {
	steps := []Keys{
		{Current: testKey(1)},
		{Current: testKey(1), Next: testKey(2)},
		{Current: testKey(2), Previous: testKey(1)},
		{Current: testKey(2)},
	}
	for i := range len(steps) - 1 {
		before, after := mustSealer(t, steps[i], forSession), mustSealer(t, steps[i+1], forSession)
		if i < 2 {
			if _, err := after.open(before.seal(nil, ""), ""); err != nil {
				t.Errorf("step %d does not open what step %d sealed: %v", i+1, i, err)
			}
		}
		if _, err := before.open(after.seal(nil, ""), ""); err != nil {
			t.Errorf("step %d does not open what step %d sealed: %v", i, i+1, err)
		}
	}
	first, last := mustSealer(t, steps[0], forSession), mustSealer(t, steps[3], forSession)
	if _, err := last.open(first.seal(nil, ""), ""); !errors.Is(err, errUnsealed) {
		t.Errorf("a key that was taken out still opens: %v", err)
	}
}

func TestKeysOfAWrongLength(t *testing.T) {
	for name, keys := range map[string]Keys{
		"current": {}, "next": {Current: testKey(1), Next: []byte("short")}, "previous": {Current: testKey(1), Previous: []byte{}},
	} {
		_, err := newSealer(keys, forSession)
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "short") {
			t.Errorf("newSealer with a bad %s key = %v, want an error that names it and shows no byte of it", name, err)
		}
	}
}

func TestKeysNeverShow(t *testing.T) {
	keys := Keys{Current: []byte("0123456789abcdef0123456789abcdef"), Next: []byte("secret")}
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", keys)
		fmt.Fprintf(&shown, verb+"\n", &keys)
	}
	encoded, err := json.Marshal(struct{ Keys Keys }{keys})
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(encoded)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "keys", keys)
	slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "keys", keys)
	for _, secret := range []string{"0123456789", "30313233", "48 49", "secret", "115 101", "MDEyMzQ1"} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("%q shows in:\n%s", secret, shown.String())
		}
	}
	if got := strings.Count(shown.String(), "[redacted]"); got != 17 {
		t.Errorf("[redacted] shows %d times, want 17:\n%s", got, shown.String())
	}
}

// FuzzOpen: nothing opens but what was sealed, in the one spelling. Each fuzzing
// process has seeds of its own, so what they hold is compared.
func FuzzOpen(f *testing.F) {
	s := mustSealer(f, Keys{Current: testKey(1), Next: testKey(2), Previous: testKey(3)}, forSession)
	f.Add(s.seal([]byte("alice"), toolA))
	f.Add("")
	f.Add(strings.Repeat("A", 60))
	f.Add(mustSealer(f, Keys{Current: testKey(3)}, forTicket).seal([]byte("mallory"), toolA))
	f.Fuzz(func(t *testing.T, value string) {
		got, err := s.open(value, toolA)
		if err != nil {
			return
		}
		raw, err := base64.RawURLEncoding.DecodeString(value)
		if err != nil || base64.RawURLEncoding.EncodeToString(raw) != value || string(got) != "alice" {
			t.Fatalf("open(%q) = %q", value, got)
		}
	})
}
