package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on a file, kept before the parser sees it. The parser recurses once
// for each level and once for each key of a mapping, and copies all keys before
// it each time: without limits a file of 1 MiB could hold it up for minutes, or
// overflow its stack. A thousand routes fit with room to spare, and no mapping
// of ours has more than a dozen keys.
const (
	maxBytes     = 1 << 20
	maxLineBytes = 4096
	maxTokens    = 1 << 16
	maxFlowDepth = 16
	maxKeys      = 256
)

// parseDocument returns the root of the only YAML document in text. On a
// fault it returns nil; an empty file, which is nil as well, has a fault too.
func parseDocument(text []byte, faults *collector) ast.Node {
	if !withinLimits(text, faults) {
		return nil
	}
	tokens := lexer.Tokenize(string(text))
	if !withinTokenLimits(tokens, faults) {
		return nil
	}
	// Duplicate keys are let through, because the decoder reports all of them.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		faults.addSyntax(err)
		return nil
	}
	return onlyDocument(file, faults)
}

// withinLimits checks what can be checked on bytes alone.
func withinLimits(text []byte, faults *collector) bool {
	if len(text) > maxBytes {
		faults.addFile(1, fmt.Sprintf("%d bytes", len(text)), fmt.Sprintf("at most %d", maxBytes))
		return false
	}
	line := 0
	for content := range bytes.Lines(text) {
		line++
		if len(content) > maxLineBytes {
			faults.addFile(line, fmt.Sprintf("a line of %d bytes", len(content)), fmt.Sprintf("at most %d", maxLineBytes))
			return false
		}
		if !utf8.Valid(content) || bytes.IndexByte(content, 0) >= 0 {
			faults.addFile(line, "bytes that are not text", "UTF-8 without NUL")
			return false
		}
	}
	return true
}

// withinTokenLimits checks what needs a lexer, which does not recurse. Nesting
// in block style needs no limit of its own: each level needs an indentation of
// at least one column, and the columns are limited by the length of a line.
func withinTokenLimits(tokens token.Tokens, faults *collector) bool {
	if len(tokens) > maxTokens {
		faults.addFile(1, fmt.Sprintf("%d keys, values and signs", len(tokens)), fmt.Sprintf("at most %d", maxTokens))
		return false
	}
	var brackets int
	var mappings indents
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		}
		if brackets > maxFlowDepth {
			faults.addFile(lineOf(t), "brackets in brackets", fmt.Sprintf("at most %d levels", maxFlowDepth))
			return false
		}
		if keys := mappings.see(t); keys > maxKeys {
			faults.addFile(lineOf(t), fmt.Sprintf("a mapping with %d keys", keys), fmt.Sprintf("at most %d", maxKeys))
			return false
		}
	}
	return true
}

// indents counts the keys of the mappings in block style that are open, the
// innermost last. The keys of one such mapping stand in one column, and a line
// that begins further left ends it. Mappings in brackets are counted with the
// rest, each key in its column, which does no harm: the parser reads those
// without recursion.
type indents []struct{ column, keys int }

// see counts t if it is the colon behind a key, and returns the number of keys
// in that key's mapping so far.
func (in *indents) see(t *token.Token) int {
	if t.Prev == nil || t.Prev.Position.Line < t.Position.Line {
		in.end(t.Position.Column)
	}
	if t.Type != token.MappingValueType || t.Prev == nil {
		return 0
	}
	column := t.Prev.Position.Column
	in.end(column)
	if last := len(*in) - 1; last < 0 || (*in)[last].column < column {
		*in = append(*in, struct{ column, keys int }{column: column})
	}
	innermost := &(*in)[len(*in)-1]
	innermost.keys++
	return innermost.keys
}

// end forgets the mappings whose keys stand to the right of column.
func (in *indents) end(column int) {
	for len(*in) > 0 && (*in)[len(*in)-1].column > column {
		*in = (*in)[:len(*in)-1]
	}
}

// onlyDocument refuses a file with no document, or with more than one: what
// follows a forgotten "---" would otherwise be ignored silently.
func onlyDocument(file *ast.File, faults *collector) ast.Node {
	var root ast.Node
	for _, document := range file.Docs {
		switch body := document.Body.(type) {
		case nil:
		case *ast.DirectiveNode:
			faults.addFile(lineOf(body.GetToken()), "a YAML directive", "plain YAML")
			return nil
		default:
			if root != nil {
				faults.addFile(lineOf(body.GetToken()), "a second document", "one document in the file")
				return nil
			}
			root = body
		}
	}
	if root == nil {
		faults.addFile(1, "nothing", "a configuration")
	}
	return root
}

// addSyntax reports an error of the parser. Only the first exists: the parser
// does not go on behind it.
func (c *collector) addSyntax(err error) {
	line, message := 1, err.Error()
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		// Error() would repeat the lines around, which may hold anything.
		line, message = lineOf(syntax.GetToken()), syntax.GetMessage()
	}
	if strings.Contains(message, `'	'`) {
		c.addFile(line, "a tab", "spaces before a key")
		return
	}
	c.addFile(line, "a syntax error ("+printable(message)+")", "YAML")
}

// lineOf returns the line of t, or 1 where the parser has lost it.
func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil || t.Position.Line < 1 {
		return 1
	}
	return t.Position.Line
}
