package proxy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEveryReasonIsExplained holds docs/reasons.md to the reasons that the
// sources write, both ways.
func TestEveryReasonIsExplained(t *testing.T) {
	page, err := os.ReadFile("../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		rest, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		reason, explanation, _ := strings.Cut(rest, "`")
		if documented[reason] {
			t.Errorf("%s stands twice", reason)
		}
		documented[reason] = true
		if cells := strings.Split(strings.Trim(explanation, " |\n"), " | "); len(cells) != 2 {
			t.Errorf("%s needs a meaning and an advice, has %q", reason, cells)
		}
	}
	written := map[string]bool{}
	for _, folder := range []string{".", "policy", "session", "sidecar"} {
		for _, file := range sources(t, folder) {
			for reason := range reasonsOf(t, file) {
				written[reason] = true
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(written)), slices.Sorted(maps.Keys(documented))); diff != "" {
		t.Errorf("reasons (-sources +docs/reasons.md):\n%s", diff)
	}
}

func sources(t *testing.T, folder string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		t.Fatalf("no sources in %s", folder)
	}
	return files
}

// reasonsOf finds the literals that become a record's reason: in a call of
// Note, in an assignment or a field whose name says so, and in the constants
// that list reasons.
func reasonsOf(t *testing.T, file *ast.File) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			if text != "" {
				found[text] = true
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if name := nameOf(n.Fun); name == "Note" && len(n.Args) == 3 || name == "refused" && len(n.Args) == 4 { // of an exchange, and a sidecar's
				add(n.Args[2])
			}
		case *ast.KeyValueExpr:
			if namesReason(n.Key) {
				add(n.Value)
			}
		case *ast.AssignStmt:
			for i, target := range n.Lhs {
				if len(n.Rhs) == len(n.Lhs) && namesReason(target) {
					add(n.Rhs[i])
				}
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				listed := slices.Contains([]string{"Absence", "TicketFault"}, nameOf(n.Type)) || strings.HasPrefix(name.Name, "Reason") || strings.HasPrefix(name.Name, "code")
				if listed && i < len(n.Values) {
					add(n.Values[i])
				}
			}
		}
		return true
	})
	return found
}

func namesReason(e ast.Expr) bool {
	return slices.Contains([]string{"reason", "Reason", "Code"}, nameOf(e))
}

// nameOf is the last part of a name, or "".
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
