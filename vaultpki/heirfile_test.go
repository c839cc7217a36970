package vaultpki

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const someToken = "hvs.CAESIJlu2kUZ_bX-0123456789abcdefghijklmnopqrstuvwxyzAB"

// someHeirs is a state with everything in it.
func someHeirs() heirState {
	minted := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	return heirState{
		Heirs: []heirToken{
			{Token: someToken, Minted: minted, Ends: minted.Add(24 * time.Hour), Claimed: minted.Add(time.Hour)},
			{Token: someToken + "2", Minted: minted.Add(-time.Hour), Ends: minted.Add(time.Hour)},
		},
		Introduction: &claim{Hash: "0123456789ab", At: minted, Done: true},
	}
}

func TestHeirFileIsReplacedAsAWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heir")
	if err := os.WriteFile(path+".X"+unfinished, []byte("what a killed process left"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := clearUnfinished(path); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := writeHeirs(path, someHeirs()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readHeirs(path)
	if diff := cmp.Diff(someHeirs(), got); err != nil || diff != "" {
		t.Errorf("%v; state (-want +got):\n%s", err, diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) > maxHeirBytes {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	if err := writeHeirs(filepath.Join(path, "below-a-file"), someHeirs()); err == nil {
		t.Error("a file below a file was written")
	}
}

// TestHeirFileIsWrittenBesideSomebodyElses: in a folder that is shared, anybody can
// put files beside ours, which we may not remove.
func TestHeirFileIsWrittenBesideSomebodyElses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "heir")
	if err := os.MkdirAll(filepath.Join(path+unfinished, "not to be removed"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeHeirs(path, someHeirs()); err != nil {
		t.Error(err)
	}
}

func TestHeirFileIsJudged(t *testing.T) {
	good, err := json.Marshal(someHeirs())
	if err != nil {
		t.Fatal(err)
	}
	edit := func(before, after string) []byte { return []byte(strings.Replace(string(good), before, after, 1)) }
	for name, test := range map[string]struct {
		raw   []byte
		fault string
	}{
		"as written":          {good, ""},
		"nothing in it":       {[]byte(`{}`), ""},
		"empty":               {nil, "expected the JSON"},
		"no JSON":             {[]byte(someToken), "expected the JSON"},
		"more after it":       {append(good, '{'), "expected nothing after"},
		"another key":         {edit(`"heirs"`, `"token":"x","heirs"`), "expected the JSON"},
		"a token of one line": {edit(someToken, "hvs.<script>0123456789"), "expected a token in each"},
		"no token":            {edit(someToken, ""), "expected a token in each"},
		"ends before it came": {edit("2026-11-26T12", "2026-11-24T12"), "to end after"},
		"too many":            {edit(`"heirs":[`, `"heirs":[{"token":"`+someToken+`","minted":"2026-11-25T12:00:00Z","ends":"2026-11-25T13:00:00Z"},`), "at most 2 heirs"},
		"too much":            {[]byte(strings.Repeat(" ", maxHeirBytes+1)), "at most 4096 bytes"},
	} {
		_, err := parseHeirs(test.raw)
		if (err == nil) != (test.fault == "") || err != nil && (!strings.Contains(err.Error(), test.fault) || strings.Contains(err.Error(), "hvs.")) {
			t.Errorf("%s: %v, expected %q", name, err, test.fault)
		}
	}
}

func TestHeirsAreCountedByAClockThatMayBeWrong(t *testing.T) {
	s := someHeirs()
	newest := s.Heirs[0]
	for name, test := range map[string]struct {
		now    time.Time
		young  bool
		living int
	}{
		"just minted":          {newest.Minted.Add(time.Minute), true, 2},
		"after a 24th":         {newest.Minted.Add(time.Hour), false, 1},
		"past its end":         {newest.Ends, false, 0},
		"before it was minted": {newest.Minted.Add(-time.Minute), false, 2},
		"days before that":     {newest.Minted.Add(-48 * time.Hour), false, 2},
	} {
		if young, living := newest.isYoung(test.now), s.living(test.now); young != test.young || living != test.living {
			t.Errorf("%s: young %t, %d living; expected %t and %d", name, young, living, test.young, test.living)
		}
	}
	s.tidy()
	if len(s.Heirs) != 1 || s.Heirs[0].Token != someToken+"2" {
		t.Errorf("kept: %+v; expected what was not claimed, ended or not", s.Heirs)
	}
}

func FuzzParseHeirs(f *testing.F) {
	good, err := json.Marshal(someHeirs())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"heirs":null}`))
	f.Add([]byte(`{"heirs":[{"token":"\u0000"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := parseHeirs(raw)
		if err != nil {
			if len(s.Heirs) != 0 || s.Introduction != nil {
				t.Errorf("a file that is refused leaves %+v", s)
			}
			return
		}
		for _, heir := range s.Heirs {
			if strings.ContainsFunc(heir.Token, notOfToken) || len(heir.Token) < minTokenBytes || heir.life() <= 0 {
				t.Errorf("accepted %+v", heir)
			}
		}
		s.tidy()
		s.add(heirToken{Token: someToken})
		if len(s.Heirs) > heirs {
			t.Errorf("%d heirs", len(s.Heirs))
		}
	})
}

func FuzzParseJWT(f *testing.F) {
	for _, seed := range []string{"eyJhbGciOi.eyJhY2Nlc3.MIGHAkFz-_", "", "..", "a.b.c\n", "a.b.c\r\nX-Vault-Token: x", "\xff.a.b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		token, err := parseJWT(raw)
		if err != nil {
			return
		}
		if strings.Count(token, ".") != 2 || strings.ContainsFunc(token, notOfToken) {
			t.Errorf("accepted %q", token)
		}
	})
}
