package saml

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// declaredCodes reads the Code constants from refusal.go, so that none can be
// forgotten in a list.
func declaredCodes(t testing.TB) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, code)
		return true
	})
	return codes
}

func TestCodesAreDistinctWords(t *testing.T) {
	seen := map[string]bool{}
	for _, code := range declaredCodes(t) {
		if seen[code] {
			t.Errorf("code %q twice", code)
		}
		seen[code] = true
		if strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("code %q is not fit for a metric", code)
		}
	}
}

// TestEveryCodeIsExplained holds the operators' page against the constants:
// one row for each code, in the same order.
func TestEveryCodeIsExplained(t *testing.T) {
	page, err := os.ReadFile("../docs/saml-refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(page)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			code, explanation, _ := strings.Cut(rest, "`")
			documented = append(documented, code)
			if cells := strings.Split(strings.Trim(explanation, " |\n"), "|"); len(cells) != 2 || len(strings.TrimSpace(cells[0])) < 10 || len(strings.TrimSpace(cells[1])) < 10 {
				t.Errorf("%q needs a meaning and an advice, has %q", code, cells)
			}
		}
	}
	if got, want := strings.Join(documented, " "), strings.Join(declaredCodes(t), " "); got != want {
		t.Errorf("documented codes\n%s\nwant\n%s", got, want)
	}
}
