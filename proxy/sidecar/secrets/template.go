package secrets

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	texttemplate "text/template"
	"text/template/parse"

	"github.com/hashicorp/consul-template/template"
)

// Bounds of a template and of what it makes, in bytes.
const (
	maxTemplate = 1 << 20
	maxOutput   = 4 << 20
)

// source is a template that was read and found to use nothing but what is permitted. It is
// used by one goroutine at a time.
type source struct {
	name   string
	text   string
	trees  map[string]*parse.Tree
	engine *template.Template
	run    *run // the one under way
}

// run is one execution of a template.
type run struct {
	ask   func(question) (any, error)
	used  []string // keys of what was asked for, in order and with repetitions
	last  string   // the path that was asked for last
	fault error    // of the first question without an answer
}

// newSource reads a template. The error is an [*Error].
func newSource(name, text string, variable func(string) (string, bool)) (*source, error) {
	if text == "" || len(text) > maxTemplate {
		return nil, &Error{Where: name, Err: fmt.Errorf("the template has %d bytes, expected 1 to %d", len(text), maxTemplate)}
	}
	s := &source{name: name, text: text, trees: map[string]*parse.Tree{}}
	tree := parse.New(name)
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(text, "", "", s.trees); err != nil {
		return nil, unreadable(name, err)
	}
	for _, define := range slices.Sorted(maps.Keys(s.trees)) {
		if err := s.checkFunctions(s.trees[define]); err != nil {
			return nil, err
		}
	}
	engine, err := template.NewTemplate(&template.NewTemplateInput{
		Contents: text, ErrMissingKey: true, ExtFuncMap: s.functions(variable), FunctionDenylist: refusedNames(),
	})
	if err != nil {
		return nil, &Error{Where: name, Err: err}
	}
	s.engine = engine
	return s, nil
}

// unreadable is an error of the template language's own parser, whose words are
// "template: NAME:LINE: TEXT".
func unreadable(name string, err error) *Error {
	line, text, _ := strings.Cut(strings.TrimPrefix(err.Error(), "template: "+name+":"), ": ")
	number, notOne := strconv.Atoi(line)
	if notOne != nil {
		return &Error{Where: name, Err: err}
	}
	e := &Error{Where: name + ":" + line, Line: number, Err: errors.New(text), Hint: "correct the template: it is in the language of consul-template"}
	if strings.Contains(text, "unexpected EOF") || strings.Contains(text, "{{end}}") {
		e.Hint = "end each {{ with }}, {{ if }} and {{ range }} of the template by one {{ end }}"
	}
	return e
}

// checkFunctions finds the first function that is not permitted.
func (s *source) checkFunctions(tree *parse.Tree) (err error) {
	walk(tree.Root, func(node parse.Node) bool {
		id, isID := node.(*parse.IdentifierNode)
		if err == nil && isID && !permitted(id.Ident) {
			location, _ := tree.ErrorContext(node)
			where, line := lineOf(location)
			err = &Error{
				Where: where, Line: line, Err: fmt.Errorf("function %q is refused: %s", id.Ident, whyRefused(id.Ident)),
				Hint: "a template has the functions of consul-template that ask Vault, and those that ask nobody",
			}
		}
		return err == nil
	})
	return err
}

// lineOf takes the column from a location such as "app.tmpl:3:14".
func lineOf(location string) (where string, line int) {
	where = location
	if end := strings.LastIndexByte(location, ':'); end > 0 {
		where = location[:end]
	}
	line, _ = strconv.Atoi(where[strings.LastIndexByte(where, ':')+1:]) // 0 if there is none
	return where, line
}

// functions take the places of those of consul-template that look something up.
func (s *source) functions(variable func(string) (string, bool)) texttemplate.FuncMap {
	return texttemplate.FuncMap{
		"secret":  func(args ...string) (any, error) { return s.asked(secretQuestion(args)) },
		"secrets": func(path string) (any, error) { return s.asked(listQuestion(path)) },
		"pkiCert": func(args ...string) (any, error) { return s.asked(certQuestion(args)) },
		"env": func(name string) string {
			value, _ := variable(name)
			return value
		},
		"mustEnv": func(name string) (string, error) {
			value, _ := variable(name)
			if value == "" {
				return "", fmt.Errorf("environment variable %q is not set, or empty", name)
			}
			return value, nil
		},
		"envOrDefault": func(name, otherwise string) string {
			if value, set := variable(name); set {
				return value
			}
			return otherwise
		},
	}
}

// asked hands a question on and remembers it.
func (s *source) asked(q question, err error) (any, error) {
	if err == nil {
		s.run.used, s.run.last = append(s.run.used, q.key()), q.path
		var answer any
		if answer, err = s.run.ask(q); err == nil {
			return answer, nil
		}
	}
	if s.run.fault == nil {
		s.run.fault = err
	}
	return nil, errors.New("no answer") // the cause is in the run: the engine flattens errors
}

// render executes the template. It returns what the template made, and the keys of what it
// asked for, also with an error, which is an [*Error].
func (s *source) render(ask func(question) (any, error), hide func(string) string) ([]byte, []string, error) {
	s.run = &run{ask: ask}
	result, err := s.engine.Execute(&template.ExecuteInput{Brain: template.NewBrain()})
	if err != nil {
		return nil, s.run.used, s.explain(err, hide)
	}
	if len(result.Output) > maxOutput {
		return nil, s.run.used, &Error{Where: s.name, Err: fmt.Errorf("it makes %d bytes, expected at most %d", len(result.Output), maxOutput)}
	}
	if noValue.Match(result.Output) {
		return nil, s.run.used, &Error{
			Where: s.name, Err: fmt.Errorf("it prints a value that does not exist, or is null, of %s", s.paths()),
			Hint: "write the field, or give the template another value for it",
		}
	}
	return result.Output, s.run.used, nil
}

// noValue is what a template prints for a value that is not there.
var noValue = regexp.MustCompile(`<no value>|%![a-z]\(<nil>\)`)

// paths are those that the run asked for.
func (s *source) paths() string {
	if s.run.last == "" {
		return "nothing that was read"
	}
	return fmt.Sprintf("%q", s.run.last)
}

// The engine's words for a failed execution, and for a key that a map does not have.
var (
	failedAt   = regexp.MustCompile(`(?s)^execute: template: :(\d+):(\d+): executing "[^"]*" at <.*?>: (.*)$`)
	missingKey = regexp.MustCompile(`map has no entry for key "([^"]*)"`)
)

// explain turns the engine's error into one that names template, line, path and field.
func (s *source) explain(err error, hide func(string) string) error {
	where, text := s.name, err.Error()
	found := failedAt.FindStringSubmatch(text)
	if found != nil {
		where, text = s.name+":"+found[1], found[3]
	}
	if s.run.fault != nil {
		return &Error{Where: where, Err: s.run.fault, Hint: Hint(s.run.fault)}
	}
	key := missingKey.FindStringSubmatch(text)
	if found == nil || key == nil {
		return &Error{Where: where, Err: errors.New(s.hideQuoted(hide(text)))}
	}
	path := s.pathAt(found[1] + ":" + found[2])
	return &Error{
		Where: where, Err: fmt.Errorf("there is no field %q in %q", key[1], path),
		Hint: fmt.Sprintf("write the field %q at %q, or correct its name in the template", key[1], path),
	}
}

// quoted is what a function shows of what it was given, in any of the ways of doing so. What
// stands between those that escape nothing goes on to the last.
var quoted = regexp.MustCompile("(?s)\"(?:[^\"\\\\]|\\\\.)*\"|`.*`|\\B'.*'")

// hideQuoted takes out of an error of a function what that quotes, unless it stands in the
// template, too: it may be a secret with its quotes escaped, cut short, or in other letters.
func (s *source) hideQuoted(text string) string {
	return quoted.ReplaceAllStringFunc(text, func(part string) string {
		if strings.Contains(s.text, part[1:len(part)-1]) {
			return part
		}
		return hidden
	})
}
