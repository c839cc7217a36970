package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// attackTables are the tests of package proxy whose cases carry the numbers of
// docs/proxy-attacks.md, by file.
var attackTables = map[string][]string{
	"rows_test.go":         {"TestAttacksInHTTP1"},
	"rows_frames_test.go":  {"TestAttacksInFrames"},
	"rows_answers_test.go": {"TestHostileAnswers"},
	"rows_sidecar_test.go": {"TestAttacksFromWithin", "TestFramesFromWithin"},
}

// TestAttacksAreGoneThroughInFull: docs/proxy-attacks.md has every row once, each with a
// test that shows it; and what a case says that it is of stands there with its test.
func TestAttacksAreGoneThroughInFull(t *testing.T) {
	var want []string
	for _, part := range []struct {
		prefix string
		last   int
	}{{"P", 46}, {"L", 34}} {
		for i := range part.last {
			want = append(want, fmt.Sprintf("%s%02d", part.prefix, i+1))
		}
	}
	tests, shown := testsByRoom(t), map[string]string{}
	var found []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([PL]\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$`).FindAllStringSubmatch(readPage(t, "proxy-attacks.md"), -1) {
		found, shown[row[1]] = append(found, row[1]), row[4]
		if checkNamed(t, "proxy-attacks.md", row[4], tests) == 0 {
			t.Errorf("docs/proxy-attacks.md: %s names no test", row[1])
		}
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("rows (-all +docs/proxy-attacks.md):\n%s", diff)
	}
	for file, names := range attackTables {
		cases := regexp.MustCompile(`\{"(P\d\d)", "`).FindAllStringSubmatch(read(t, "../../proxy/"+file), -1)
		if len(cases) < 10 {
			t.Errorf("%d cases in %s", len(cases), file)
		}
		for _, c := range cases {
			if !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(shown[c[1]], "`"+name+"`") }) {
				t.Errorf("%s has a case of %s, of which the page does not say that one of %q shows it", file, c[1], names)
			}
		}
	}
}
