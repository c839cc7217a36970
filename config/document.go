package config

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits on a file, kept before the parser sees it. The parser recurses once
// for each level and for each key of a mapping, and its work grows with the
// square of the latter: these figures keep the worst file below two seconds,
// while a thousand routes fit with room to spare.
const (
	maxBytes     = 1 << 20
	maxLineBytes = 4096
	maxTokens    = 1 << 16
	maxFlowDepth = 16
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
	depth := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		}
		if depth > maxFlowDepth {
			faults.addFile(lineOf(t), "brackets in brackets", fmt.Sprintf("at most %d levels", maxFlowDepth))
			return false
		}
	}
	return true
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
	c.addFile(line, "a syntax error ("+printable(message)+")", "YAML")
}

// lineOf returns the line of t, or 1 where the parser has lost it.
func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil || t.Position.Line < 1 {
		return 1
	}
	return t.Position.Line
}
