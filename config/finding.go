package config

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Finding is a fault that somebody else has found in a value: one in a language that is not
// this package's, such as a template's.
type Finding struct {
	// Key is the path of the key with the value, as in a [Fault].
	Key string
	// Line is the one within the value, from 1; 0 for all of it.
	Line int
	// Value and Expected are those of a Fault.
	Value, Expected string
}

// addFound reports findings, unless their keys have a fault already.
func (c *collector) addFound(findings []Finding) {
	for _, f := range findings {
		if !c.isFaulty(f.Key) {
			c.addAt(c.lineWithin(f.Key, f.Line), f.Key, f.Value, f.Expected)
		}
	}
}

// lineWithin returns where a line of the value at path stands in the file: that is known of
// a literal block alone, whose first line follows the bar.
func (c *collector) lineWithin(path string, line int) int {
	block, isBlock := c.places[path].node.(*ast.LiteralNode)
	if !isBlock || line == 0 || block.Start == nil || !strings.HasPrefix(block.Start.Value, "|") {
		return c.line(path)
	}
	return lineOf(block.Start) + line
}
