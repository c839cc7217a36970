package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// decoder writes a parsed file into a struct that holds the defaults. It does
// not stop at a fault: a field whose value is refused keeps its default, and
// the fault is collected.
//
// The structs are made of bool, int, string, types with UnmarshalText, structs,
// and slices of these; each field has a yaml tag. Nothing else is supported,
// and a test holds the structs to that.
type decoder struct {
	*collector
}

// value decodes node into target, which is settable.
func (d decoder) value(node ast.Node, target reflect.Value, path string) {
	if isIndirect(node) {
		d.refuse(path, "the value itself: what a reviewer reads here is what runs")
		return
	}
	if unmarshaler, ok := target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(node, unmarshaler, path)
		return
	}
	ok := true
	switch target.Kind() {
	case reflect.Struct:
		ok = d.mapping(node, target, path)
	case reflect.Slice:
		ok = d.list(node, target, path)
	case reflect.String:
		ok = d.str(node, target)
	case reflect.Bool:
		ok = d.boolean(node, target)
	case reflect.Int:
		ok = d.integer(node, target)
	}
	if !ok {
		d.refuse(path, expectation(target.Type()))
	}
}

// isIndirect reports the nodes of YAML that make a value mean something else
// than it shows, or stand for a value somewhere else. Refusing aliases also
// means that no small file can stand for a large value.
func isIndirect(node ast.Node) bool {
	switch node.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return true
	}
	return false
}

// expectation says in words which kind of value t takes.
func expectation(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "a mapping of " + strings.Join(keysOf(t), ", ")
	case reflect.Slice:
		return "a list, or [] for an empty one"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number in plain decimal digits"
	}
	return "text that is not empty, in quotes if it looks like something else"
}

// text decodes a string with the field's own parser.
func (d decoder) text(node ast.Node, target encoding.TextUnmarshaler, path string) {
	scalar, _ := stringText(node)
	var wrong *mismatch
	if errors.As(target.UnmarshalText([]byte(scalar)), &wrong) {
		d.refuse(path, wrong.expected)
	}
}

// stringText returns the text of a string. Anything else yields "", which no
// parser of ours accepts.
func stringText(node ast.Node) (text string, ok bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.LiteralNode:
		return node.Value.Value, true
	}
	return "", false
}

// str accepts text. Empty text is refused like a missing value: it is what a
// template leaves of a variable that was not set, and nobody means it.
func (d decoder) str(node ast.Node, target reflect.Value) bool {
	text, _ := stringText(node)
	if text != "" {
		target.SetString(text)
	}
	return text != ""
}

func (d decoder) boolean(node ast.Node, target reflect.Value) bool {
	scalar, ok := node.(*ast.BoolNode)
	if ok {
		target.SetBool(scalar.Value)
	}
	return ok
}

// integer accepts plain decimal numbers. The other spellings of YAML ("010" is
// eight, "1_0" is ten) say something else than a reader sees.
func (d decoder) integer(node ast.Node, target reflect.Value) bool {
	scalar, ok := node.(*ast.IntegerNode)
	if !ok {
		return false
	}
	number, err := strconv.Atoi(scalar.Token.Value)
	if err != nil || strconv.Itoa(number) != scalar.Token.Value {
		return false
	}
	target.SetInt(int64(number))
	return true
}

// list decodes a sequence in place of the default list.
func (d decoder) list(node ast.Node, target reflect.Value, path string) bool {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		return false
	}
	list := reflect.MakeSlice(target.Type(), len(sequence.Values), len(sequence.Values))
	for i, value := range sequence.Values {
		at := entry(path, i)
		d.places[at] = place{line: lineOf(value.GetToken()), node: value}
		if target, ok := list.Index(i).Addr().Interface().(defaulter); ok {
			target.setDefaults()
		}
		d.value(value, list.Index(i), at)
	}
	target.Set(list)
	return true
}

// defaulter is implemented by list entries whose zero value is not their
// default.
type defaulter interface {
	setDefaults()
}

// mapping decodes a mapping key by key into the fields of target.
func (d decoder) mapping(node ast.Node, target reflect.Value, path string) bool {
	mapping, ok := node.(*ast.MappingNode)
	if !ok {
		return false
	}
	seen := map[string]int{}
	for _, pair := range mapping.Values {
		key, line := keyText(pair), lineOf(pair.Key.GetToken())
		at := join(path, key)
		if first, twice := seen[key]; twice {
			d.addAt(line, at, "the key a second time", fmt.Sprintf("it once; it stands on line %d already", first))
			continue
		}
		seen[key] = line
		d.places[at] = place{line: line, node: pair.Value}
		field, known := fieldByKey(target, key)
		if !known {
			d.add(at, "an unknown key", suggest(key, keysOf(target.Type())))
			continue
		}
		d.value(pair.Value, field, at)
	}
	return true
}

// keyText returns a key as it shall appear in a path. One that is too long or
// would make the path ambiguous is quoted, and so can be no field's key.
func keyText(pair *ast.MappingValueNode) string {
	text, ok := stringText(pair.Key)
	if !ok {
		text = pair.Key.GetToken().Value
	}
	if text == "" || len(text) > maxQuoted || strings.ContainsFunc(text, isOdd) || looksSecret(text) {
		return quote(text)
	}
	return text
}

// isOdd reports characters that would make a path ambiguous or unprintable.
func isOdd(c rune) bool {
	return !strconv.IsPrint(c) || strings.ContainsRune(`.[]" `, c)
}

// fieldByKey returns the field of target with the yaml tag key.
func fieldByKey(target reflect.Value, key string) (reflect.Value, bool) {
	for i := range target.NumField() {
		if tagOf(target.Type().Field(i)) == key {
			return target.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// keysOf returns the keys of a struct in the order of its fields.
func keysOf(t reflect.Type) []string {
	keys := make([]string, t.NumField())
	for i := range keys {
		keys[i] = tagOf(t.Field(i))
	}
	return keys
}

func tagOf(field reflect.StructField) string {
	return field.Tag.Get("yaml")
}

// describe says what a node is, for [Fault.Value].
func describe(node ast.Node) string {
	switch node := node.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias"
	case *ast.TagNode:
		return "a tag"
	case *ast.StringNode, *ast.LiteralNode:
		text, _ := stringText(node)
		return quote(text)
	}
	// Numbers and booleans are shown without quotes: that is how they differ.
	return strings.Trim(quote(node.GetToken().Value), `"`)
}
