package main

import (
	"go/ast"
	"io"
	"maps"
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

// TestPromisesAreShownByTestsThatExist looks for each test that the threat model
// names, in the package that it names it in.
func TestPromisesAreShownByTestsThatExist(t *testing.T) {
	root := repositoryRoot(t)
	tests := map[string][]string{} // by room
	for _, p := range listPackages(t, root) {
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
	named := 0
	for _, cell := range regexp.MustCompile(`(?m)^\| \d+ \|[^|]*\|(.*)\|$`).FindAllStringSubmatch(readPage(t, "threat-model.md"), -1) {
		room := ""
		for _, name := range regexp.MustCompile("`([A-Za-z/]+)`").FindAllStringSubmatch(cell[1], -1) {
			if _, isRoom := tests[name[1]]; isRoom {
				room = name[1]
				continue
			}
			if named++; !slices.Contains(tests[room], name[1]) && name[1] != "/readyz" {
				t.Errorf("docs/threat-model.md: package %q has no %s", room, name[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("docs/threat-model.md names %d tests, expected most of its promises to name some", named)
	}
}

// TestMetricsAreDocumented holds docs/metrics.md to the names in the sources.
func TestMetricsAreDocumented(t *testing.T) {
	written := map[string]bool{}
	for _, file := range []string{"identitymetrics.go", "drivermetrics.go", "../../proxy/metrics.go"} {
		for _, name := range regexp.MustCompile(`"(sallyport_[a-z_]+)"`).FindAllStringSubmatch(read(t, file), -1) {
			written[name[1]] = true
		}
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(sallyport_[a-z_]+)` \\|").FindAllStringSubmatch(readPage(t, "metrics.md"), -1) {
		documented = append(documented, row[1])
	}
	slices.Sort(documented)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(written)), documented); diff != "" || len(written) == 0 {
		t.Errorf("metrics (-sources +docs/metrics.md):\n%s", diff)
	}
}

// readPage returns a page of docs.
func readPage(t *testing.T, name string) string {
	t.Helper()
	return read(t, "../../docs/"+name)
}
