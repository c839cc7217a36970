package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/sidecar/supervise"
	"github.com/sallyport/sallyport/vaultpki"
)

// TestExitCodes maps each kind of error, bare and wrapped, to its code and to
// what is said to do.
func TestExitCodes(t *testing.T) {
	vault := func(reason vaultpki.Reason) error {
		return &vaultpki.Error{Reason: reason, Op: "doing", Where: "there", Err: errors.New("cause"), Hint: "do this"}
	}
	tests := map[string]struct {
		err  error
		code int
		hint string
	}{
		"nothing":                     {nil, 0, ""},
		"anything":                    {errors.New("anything"), 1, ""},
		"a wrong command line":        {usageError{errors.New("flag")}, 2, "run the command with --help"},
		"a faulty configuration":      {&config.Faults{Source: "x", List: []config.Fault{{Line: 1}}}, 2, "correct it; `sallyport check --config FILE` shows every fault"},
		"a cut drain":                 {proxy.ErrDrain, 3, ""},
		"a cut drain after a login":   {&spentError{error: proxy.ErrDrain, role: "r"}, 3, ""},
		"vault's settings":            {vault(vaultpki.ReasonConfig), 2, "do this"},
		"settings without a hint":     {&vaultpki.Error{Reason: vaultpki.ReasonConfig, Op: "doing"}, 2, "run the command with --help"},
		"no token":                    {vault(vaultpki.ReasonNoToken), 10, "do this"},
		"an expired token":            {vault(vaultpki.ReasonExpired), 19, "do this"},
		"vault sealed":                {vault(vaultpki.ReasonSealed), 20, "do this"},
		"interception":                {vault(vaultpki.ReasonIntercepted), 11, "do this"},
		"forgery":                     {vault(vaultpki.ReasonForged), 12, "do this"},
		"vault away":                  {vault(vaultpki.ReasonUnreachable), 13, "do this"},
		"ambiguity":                   {vault(vaultpki.ReasonAmbiguous), 14, "do this"},
		"login refused":               {vault(vaultpki.ReasonLoginRefused), 15, "do this"},
		"denied":                      {vault(vaultpki.ReasonDenied), 16, "do this"},
		"missing secret":              {vault(vaultpki.ReasonMissingSecret), 17, "do this"},
		"missing field":               {vault(vaultpki.ReasonMissingField), 17, "do this"},
		"a useless secret":            {&secretError{"there", "write it", errors.New("cause")}, 17, "write it"},
		"a better hint":               {&hinted{vault(vaultpki.ReasonMissingField), "do that"}, 17, "do that"},
		"a bad certificate":           {vault(vaultpki.ReasonBadCertificate), 18, "do this"},
		"a certificate denied":        {&certificateError{vault(vaultpki.ReasonDenied)}, 18, "do this"},
		"no vault for certificates":   {&certificateError{vault(vaultpki.ReasonUnreachable)}, 13, "do this"},
		"a lost token":                {vault(vaultpki.ReasonTokenLost), 21, "do this"},
		"an app that is not on PATH":  {&supervise.StartError{Command: "x", Err: exec.ErrNotFound}, 7, "install it, or write its whole path behind --: it is not in the folders of PATH, " + os.Getenv("PATH")},
		"an app that is no program":   {&supervise.StartError{Command: "x", Err: syscall.ENOEXEC}, 7, "it is no program of this machine: a script needs an interpreter in its first line (#!), or before it behind --"},
		"an app that has ended":       {&supervise.ExitedError{Command: "x", Code: 3}, 6, "look at what the app has written; it is started again if child.restart is on-failure or always"},
		"an app that has ended well":  {&supervise.ExitedError{Command: "x"}, 0, ""},
		"an app that fails its check": {&supervise.ExitedError{Command: "x", Cause: errors.New("cause")}, 6, "look at what the app has written, and at child.check: does it ask for what the app answers?"},
		"an interruption":             {&vaultpki.Error{Reason: vaultpki.ReasonUnreachable, Op: "doing", Err: context.Canceled, Hint: "do this"}, 1, "do this"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			errs := []error{test.err}
			if test.err != nil {
				errs = append(errs, fmt.Errorf("starting: %w", test.err), &spentError{error: fmt.Errorf("starting: %w", test.err), role: "role"})
			}
			for _, err := range errs {
				if code := exitCode(err); code != test.code {
					t.Errorf("%v: code %d, expected %d", err, code, test.code)
				}
				if hint := hintOf(err); hint != test.hint {
					t.Errorf("%v: hint %q, expected %q", err, hint, test.hint)
				}
			}
		})
	}
}

// TestExplain holds the explanation of a failed start, word for word.
func TestExplain(t *testing.T) {
	tests := map[string]struct {
		err  error
		want string
	}{
		"a denied read after the login": {
			&spentError{&vaultpki.Error{Reason: vaultpki.ReasonDenied, Op: "reading", Where: "secret/x", Err: errors.New("permission denied"), Hint: "grant it"}, "sallyport-gateway", ""},
			"sallyport gateway: reading secret/x: permission denied\n" +
				"hint: grant it\n" +
				"hint: the introduction is used up, the next start needs another: sallyport introduce --role sallyport-gateway\n" +
				"exit code: 16\n",
		},
		"a denied read after a login that left an heir": {
			&spentError{errors.New("anything"), "sallyport-gateway", "/run/heir"},
			"sallyport gateway: anything\nhint: the introduction is used up, the next start logs in with its heir in /run/heir\n",
		},
		"faults": {
			&config.Faults{Source: "a.yaml", List: []config.Fault{{Line: 2, Key: "x", Value: "1", Expected: "2"}, {Line: 3, Key: "y", Value: "1", Expected: "2"}}},
			"sallyport gateway: the configuration has faults (2)\na.yaml:2: x: found 1, expected 2\na.yaml:3: y: found 1, expected 2\n",
		},
		"anything": {errors.New("anything"), "sallyport gateway: anything\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			explain(&b, "sallyport gateway", test.err)
			if diff := cmp.Diff(test.want, b.String()); diff != "" {
				t.Errorf("explanation (-want +got):\n%s", diff)
			}
		})
	}
}

// TestExitCodesAreDocumented holds the constants and the table of
// docs/exit-codes.md against each other.
func TestExitCodesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []int
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \| (.+) \|$`).FindAllStringSubmatch(string(page), -1) {
		code, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		documented = append(documented, code)
	}
	if diff := cmp.Diff(exitConstants(t), documented); diff != "" {
		t.Errorf("exit codes (-constants +docs/exit-codes.md):\n%s", diff)
	}
	for reason, code := range vaultExits {
		if !slices.Contains(documented, code) {
			t.Errorf("reason %s has exit code %d, which is not documented", reason, code)
		}
	}
}

// exitConstants are the values of the constants in exit.go, sorted.
func exitConstants(t *testing.T) []int {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "exit.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]bool{}
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "exit") {
			return true
		}
		value, err := strconv.Atoi(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatalf("constant %s: %v", spec.Names[0].Name, err)
		}
		found[value] = true
		return true
	})
	if len(found) == 0 {
		t.Fatal("exit.go has no constants that begin with exit")
	}
	return slices.Sorted(maps.Keys(found))
}
