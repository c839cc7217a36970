package main

import (
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// alarm is a line that a running process can write to its log at Warn or Error.
type alarm struct {
	message string
	event   string // empty if it has none
	loud    bool   // at Error, always or sometimes
}

// TestEveryAlarmHasItsPage holds docs/operations.md to the log lines in the
// sources, both ways: each has a heading with its message, and under it its event,
// what to do, and whether to wake somebody.
func TestEveryAlarmHasItsPage(t *testing.T) {
	written := map[string]alarm{}
	for _, p := range listPackages(t, repositoryRoot(t)) {
		if room := top(p.room()); room == "internal" || room == "deploy" {
			continue
		}
		files, err := parseFiles(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, a := range alarmsIn(t, file) {
				written[a.message] = a
			}
		}
	}
	sections := alarmSections(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(written)), slices.Sorted(maps.Keys(sections))); diff != "" {
		t.Errorf("alarms (-sources +docs/operations.md):\n%s", diff)
	}
	for message, a := range written {
		section, ok := sections[message]
		if !ok {
			continue
		}
		if a.event != "" && !strings.Contains(section, "`"+a.event+"`") {
			t.Errorf("docs/operations.md: %q does not name its event %s", message, a.event)
		}
		if a.loud && !strings.Contains(section, "Error") || !a.loud && strings.Contains(section, "Error") {
			t.Errorf("docs/operations.md: %q is at Error: %t, and its section says otherwise", message, a.loud)
		}
		for _, part := range []string{"**Means**", "**Still works**", "**Do**", "**Wake**"} {
			if !strings.Contains(section, part) {
				t.Errorf("docs/operations.md: %q does not say %s", message, part)
			}
		}
	}
}

// alarmSections returns the text below each heading that is a message.
func alarmSections(t *testing.T) map[string]string {
	t.Helper()
	sections := map[string]string{}
	for _, part := range strings.Split(readPage(t, "operations.md"), "\n### `")[1:] {
		message, text, ok := strings.Cut(part, "`\n")
		if !ok {
			t.Errorf("docs/operations.md: heading %.80q is not a message alone", part)
		}
		text, _, _ = strings.Cut(text, "\n## ")
		text, _, _ = strings.Cut(text, "\n### ")
		if _, twice := sections[message]; twice {
			t.Errorf("docs/operations.md: %q stands twice", message)
		}
		sections[message] = text
	}
	return sections
}

// placeOfMessage is which argument of a logger's method is the message.
var placeOfMessage = map[string]int{"Warn": 0, "Error": 0, "WarnContext": 1, "ErrorContext": 1, "Log": 2, "LogAttrs": 2}

// alarmsIn finds the calls of a logger at Warn or Error, and at a level that is
// only known when it runs.
func alarmsIn(t *testing.T, file *ast.File) []alarm {
	t.Helper()
	var found []alarm
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || !isLogger(method.X) {
			return true
		}
		place, ok := placeOfMessage[method.Sel.Name]
		if !ok || place == 2 && isQuiet(call.Args[1]) {
			return true
		}
		messages := messagesOf(t, file, call.Args[place])
		if len(messages) == 0 {
			t.Errorf("a call of %s whose message is not to be found", method.Sel.Name)
		}
		texts := textsOf(t, call.Args[place+1:])
		for _, message := range messages {
			a := alarm{message: message, loud: !strings.HasPrefix(method.Sel.Name, "Warn")}
			if at := slices.Index(texts, "event"); at >= 0 {
				a.event = texts[at+1]
			}
			found = append(found, a)
		}
		return true
	})
	return found
}

// isQuiet says whether an expression is a level below Warn.
func isQuiet(e ast.Expr) bool {
	level, ok := e.(*ast.SelectorExpr)
	return ok && (level.Sel.Name == "LevelInfo" || level.Sel.Name == "LevelDebug")
}

// messagesOf returns the message, or, if it is a variable, all that the file
// assigns to variables of that name.
func messagesOf(t *testing.T, file *ast.File, e ast.Expr) []string {
	t.Helper()
	name, ok := e.(*ast.Ident)
	if !ok {
		return textsOf(t, []ast.Expr{e})
	}
	var values []ast.Expr
	ast.Inspect(file, func(n ast.Node) bool {
		assigned, ok := n.(*ast.AssignStmt)
		if !ok || len(assigned.Lhs) != len(assigned.Rhs) {
			return true
		}
		for i, target := range assigned.Lhs {
			if to, ok := target.(*ast.Ident); ok && to.Name == name.Name {
				values = append(values, assigned.Rhs[i])
			}
		}
		return true
	})
	return textsOf(t, values)
}

// isLogger says whether an expression has the name of a logger, or calls what has.
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CallExpr:
		return isLogger(e.Fun)
	case *ast.Ident:
		return e.Name == "log"
	case *ast.SelectorExpr:
		return e.Sel.Name == "log" || e.Sel.Name == "Log"
	}
	return false
}

// textsOf returns those of the expressions that are string literals.
func textsOf(t *testing.T, expressions []ast.Expr) []string {
	t.Helper()
	var texts []string
	for _, e := range expressions {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
	}
	return texts
}

// TestRunbookCommandsExist runs nothing: it looks for each `sallyport` command of
// docs/operations.md in the program, and for each flag.
func TestRunbookCommandsExist(t *testing.T) {
	page := readPage(t, "operations.md")
	lines := regexp.MustCompile(`(?m)sallyport ((?:[a-z-]+ ?)+[^`+"`"+`\n|;#]*)`).FindAllStringSubmatch(codeIn(page), -1)
	if len(lines) < 10 {
		t.Fatalf("%d commands found", len(lines))
	}
	for _, line := range lines {
		words := strings.Fields(line[1])
		command, rest, err := newRoot(nowhere()).Find(words)
		if err != nil || !command.Runnable() || command.Parent() == nil {
			t.Errorf("docs/operations.md: there is no command %q: %v", line[0], err)
			continue
		}
		for _, word := range rest {
			name, isFlag := strings.CutPrefix(word, "--")
			if name, _, _ = strings.Cut(name, "="); isFlag && command.Flags().Lookup(name) == nil {
				t.Errorf("docs/operations.md: %q: there is no --%s", line[0], name)
			}
		}
	}
}

// codeIn returns what a page has in backticks and in indented blocks.
func codeIn(page string) string {
	var code strings.Builder
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "    ") {
			code.WriteString(line)
			continue
		}
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			code.WriteString(span[1] + "\n")
		}
	}
	return code.String()
}
