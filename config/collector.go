package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// maxFaults is how many faults are listed. A file with more is not the file
// that was meant.
const maxFaults = 100

// collector gathers the faults of one file and knows where each key stands in
// it. It lives for one call of Load and is used by one goroutine.
type collector struct {
	places map[string]place // by key path, for every key and list entry in the file
	faulty map[string]bool  // key paths that have a fault
	list   []Fault
}

// place is where a key or a list entry stands, and with which value.
type place struct {
	line int
	node ast.Node
}

func newCollector() *collector {
	return &collector{places: map[string]place{}, faulty: map[string]bool{}}
}

// refuse reports the value of the key at path, as it was written.
func (c *collector) refuse(path, expected string) {
	value := "nothing"
	if at, ok := c.places[path]; ok {
		value = describe(at.node)
	}
	c.add(path, value, expected)
}

// add reports a fault of the key at path, unless that key, or one around it,
// has a fault already: what follows from a fault is not another one.
func (c *collector) add(path, value, expected string) {
	if !c.isFaulty(path) {
		c.addAt(c.line(path), path, value, expected)
	}
}

// isFaulty says whether the key at path, or one around it, has a fault already.
func (c *collector) isFaulty(path string) bool {
	for at := path; at != ""; at = parent(at) {
		if c.faulty[at] {
			return true
		}
	}
	return false
}

// faultyBelow reports whether a key inside the mapping at path has a fault.
func (c *collector) faultyBelow(path string) bool {
	for at := range c.faulty {
		if strings.HasPrefix(at, path+".") {
			return true
		}
	}
	return false
}

// addAt reports a fault on a line of its own, as for a key that stands twice.
func (c *collector) addAt(line int, path, value, expected string) {
	c.faulty[path] = true
	c.list = append(c.list, Fault{Line: line, Key: path, Value: value, Expected: expected})
}

// addFile reports a fault of the file as a whole.
func (c *collector) addFile(line int, value, expected string) {
	c.list = append(c.list, Fault{Line: line, Value: value, Expected: expected})
}

// line returns the line of the key at path, or of the innermost key around it
// that stands in the file.
func (c *collector) line(path string) int {
	for at := path; at != ""; at = parent(at) {
		if place, ok := c.places[at]; ok {
			return place.line
		}
	}
	return 1
}

// err returns nil or a *Faults, ordered by line.
func (c *collector) err(source string) error {
	if len(c.list) == 0 {
		return nil
	}
	slices.SortStableFunc(c.list, func(a, b Fault) int { return cmp.Compare(a.Line, b.Line) })
	if extra := len(c.list) - maxFaults; extra > 0 {
		last := c.list[maxFaults]
		c.list = append(c.list[:maxFaults:maxFaults], Fault{
			Line:     last.Line,
			Value:    fmt.Sprintf("%d more faults", extra),
			Expected: "none",
		})
	}
	return &Faults{Source: source, List: c.list}
}

// join returns the path of key inside the mapping at path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// entry returns the path of entry i of the list at path.
func entry(path string, i int) string {
	return fmt.Sprintf("%s[%d]", path, i)
}

// parent returns the path around path: "a[1].b" -> "a[1]" -> "a" -> "".
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}
