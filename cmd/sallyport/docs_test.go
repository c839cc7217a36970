package main

import (
	"fmt"
	"go/ast"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// variable is an environment variable in the help of a flag.
var variable = regexp.MustCompile(`\b(SALLYPORT|VAULT|BAO)_[A-Z_]+\b`)

// TestFlagsAreDocumented holds the table of docs/configuration.md to the flags
// of gateway and sidecar, which are the same, and to the variables that their
// help names.
func TestFlagsAreDocumented(t *testing.T) {
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\|([^|]*)\\|").FindAllStringSubmatch(readPage(t, "configuration.md"), -1) {
		documented[row[1]] = strings.Join(variable.FindAllString(row[2], -1), " ")
	}
	for _, name := range []string{"gateway", "sidecar"} {
		command, _, err := newRoot(nowhere()).Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		flags := map[string]string{}
		command.Flags().VisitAll(func(f *pflag.Flag) {
			flags[f.Name] = strings.Join(variable.FindAllString(f.Usage, -1), " ")
		})
		if diff := cmp.Diff(flags, documented); diff != "" {
			t.Errorf("flags of %s and their variables (-flags +docs/configuration.md):\n%s", name, diff)
		}
	}
}

// nowhere is the surroundings of a command that is only looked at.
func nowhere() stdio {
	return stdio{Out: io.Discard, Err: io.Discard, Env: func(string) (string, bool) { return "", false }}
}

// testsByRoom are the names of all tests, by their package.
func testsByRoom(t *testing.T) map[string][]string {
	t.Helper()
	tests := map[string][]string{}
	for _, p := range listPackages(t, repositoryRoot(t)) {
		p.GoFiles = slices.Concat(p.TestGoFiles, p.XTestGoFiles)
		files, err := parseFiles(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, declaration := range file.Decls {
				if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil {
					tests[p.room()] = append(tests[p.room()], f.Name.Name)
				}
			}
		}
	}
	return tests
}

// checkNamed looks for each test that a cell of a page names, in the package that
// it names it in, and returns how many it names.
func checkNamed(t *testing.T, page, cell string, tests map[string][]string) int {
	t.Helper()
	named, room := 0, ""
	for _, name := range regexp.MustCompile("`([A-Za-z0-9/]+)`").FindAllStringSubmatch(cell, -1) {
		if _, isRoom := tests[name[1]]; isRoom {
			room = name[1]
			continue
		}
		if named++; !slices.Contains(tests[room], name[1]) && name[1] != "/readyz" {
			t.Errorf("docs/%s: package %q has no %s", page, room, name[1])
		}
	}
	return named
}

// TestPromisesAreShownByTestsThatExist is for those of the threat model.
func TestPromisesAreShownByTestsThatExist(t *testing.T) {
	tests, named := testsByRoom(t), 0
	for _, cell := range regexp.MustCompile(`(?m)^\| \d+ \|[^|]*\|(.*)\|$`).FindAllStringSubmatch(readPage(t, "threat-model.md"), -1) {
		named += checkNamed(t, "threat-model.md", cell[1], tests)
	}
	if named < 20 {
		t.Errorf("docs/threat-model.md names %d tests, expected most of its promises to name some", named)
	}
}

// TestProfileIsGoneThroughInFull: docs/saml2int.md has every requirement on us once,
// with what we do and a test that shows it, and what sources quote of it is there.
func TestProfileIsGoneThroughInFull(t *testing.T) {
	var want []string
	for _, part := range []struct {
		prefix string
		last   int
	}{{"G", 4}, {"MD", 11}, {"ALG", 1}, {"SP", 40}} {
		for i := range part.last {
			want = append(want, fmt.Sprintf("%s%02d", part.prefix, i+1))
		}
	}
	tests := testsByRoom(t)
	var found []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([A-Z]+\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$`).FindAllStringSubmatch(readPage(t, "saml2int.md"), -1) {
		found = append(found, row[1])
		if !regexp.MustCompile(`^ (As it says|By choice|Otherwise)`).MatchString(row[3]) {
			t.Errorf("docs/saml2int.md: %s does not begin with how it was decided: %.40q", row[1], row[3])
		}
		if checkNamed(t, "saml2int.md", row[4], tests) == 0 {
			t.Errorf("docs/saml2int.md: %s names no test", row[1])
		}
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("requirements (-profile +docs/saml2int.md):\n%s", diff)
	}
	files, err := filepath.Glob("../../*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d sources, %v", len(files), err)
	}
	for _, file := range files {
		for _, quoted := range regexp.MustCompile(`SDP-([A-Z]+\d+)`).FindAllStringSubmatch(read(t, file), -1) {
			if !slices.Contains(want, quoted[1]) {
				t.Errorf("%s quotes %s, which the page does not have", file, quoted[0])
			}
		}
	}
}

// TestMetricsAreDocumented holds docs/metrics.md to the names in the sources.
func TestMetricsAreDocumented(t *testing.T) {
	written := map[string]bool{}
	for _, p := range listPackages(t, repositoryRoot(t)) {
		if room := top(p.room()); room == "internal" || room == "deploy" {
			continue
		}
		for _, file := range p.GoFiles {
			for _, name := range regexp.MustCompile(`"(sallyport_[a-z0-9_]+)"`).FindAllStringSubmatch(read(t, filepath.Join(p.Dir, file)), -1) {
				written[name[1]] = true
			}
		}
	}
	documented := slices.Sorted(maps.Keys(documentedMetrics(t)))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(written)), documented); diff != "" || len(written) == 0 {
		t.Errorf("metrics (-sources +docs/metrics.md):\n%s", diff)
	}
}

// readPage returns a page of docs.
func readPage(t *testing.T, name string) string {
	t.Helper()
	return read(t, "../../docs/"+name)
}
