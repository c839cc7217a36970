package secrets

import (
	"reflect"
	"strings"
	"text/template/parse"
)

// walk visits node and what is below it, in the order of the text, until visit returns
// false for a node, which leaves out what is below that one.
func walk(node parse.Node, visit func(parse.Node) bool) {
	if node == nil || reflect.ValueOf(node).IsNil() || !visit(node) {
		return
	}
	for _, child := range children(node) {
		walk(child, visit)
	}
}

// children are the nodes below a node.
func children(node parse.Node) []parse.Node {
	switch n := node.(type) {
	case *parse.ListNode:
		return n.Nodes
	case *parse.ActionNode:
		return []parse.Node{n.Pipe}
	case *parse.PipeNode:
		var nodes []parse.Node
		for _, command := range n.Cmds {
			nodes = append(nodes, command)
		}
		return nodes
	case *parse.CommandNode:
		return n.Args
	case *parse.ChainNode:
		return []parse.Node{n.Node}
	case *parse.TemplateNode:
		return []parse.Node{n.Pipe}
	case *parse.IfNode:
		return []parse.Node{n.Pipe, n.List, n.ElseList}
	case *parse.RangeNode:
		return []parse.Node{n.Pipe, n.List, n.ElseList}
	case *parse.WithNode:
		return []parse.Node{n.Pipe, n.List, n.ElseList}
	}
	return nil
}

// pathAt returns the path of the secret that the expression at a position, LINE:COLUMN, is
// about: that of the with or range around it, of the variable in it, or else the last that
// was asked for.
func (s *source) pathAt(position string) string {
	for _, tree := range s.trees {
		f := &finder{tree: tree, position: ":" + position, variables: map[string]string{}}
		f.visit(tree.Root, "")
		if f.found != "" {
			return f.found
		}
	}
	return s.run.last
}

// finder looks for the node at a position, and knows which secret the dot and each variable
// stand for.
type finder struct {
	tree      *parse.Tree
	position  string
	variables map[string]string
	found     string
}

// visit looks at node, in which the dot is of the secret at path.
func (f *finder) visit(node parse.Node, path string) {
	if node == nil || reflect.ValueOf(node).IsNil() || f.found != "" {
		return
	}
	if location, _ := f.tree.ErrorContext(node); strings.HasSuffix(location, f.position) {
		if of := f.pathOf(node, path); of != "" {
			f.found = of
			return
		}
	}
	var pipe *parse.PipeNode
	var list, otherwise *parse.ListNode
	switch n := node.(type) {
	case *parse.WithNode:
		pipe, list, otherwise = n.Pipe, n.List, n.ElseList
	case *parse.RangeNode:
		pipe, list, otherwise = n.Pipe, n.List, n.ElseList
	default:
		if p, isPipe := node.(*parse.PipeNode); isPipe {
			f.declare(p, path)
		}
		for _, child := range children(node) {
			f.visit(child, path)
		}
		return
	}
	f.visit(pipe, path)
	f.visit(list, f.pathOf(pipe, path))
	f.visit(otherwise, path)
}

// declare remembers what the variables of a pipe stand for.
func (f *finder) declare(pipe *parse.PipeNode, path string) {
	for _, variable := range pipe.Decl {
		f.variables[variable.Ident[0]] = f.pathOf(pipe, path)
	}
}

// pathOf is the path of the secret that an expression begins with.
func (f *finder) pathOf(node parse.Node, path string) (of string) {
	of = path
	walk(node, func(node parse.Node) bool {
		switch n := node.(type) {
		case *parse.VariableNode:
			if known := f.variables[n.Ident[0]]; known != "" {
				of = known
			}
		case *parse.CommandNode:
			if id, isID := n.Args[0].(*parse.IdentifierNode); isID && len(n.Args) > 1 && (id.Ident == "secret" || id.Ident == "pkiCert") {
				if text, isText := n.Args[1].(*parse.StringNode); isText {
					of = strings.Trim(strings.TrimSpace(text.Text), "/")
				}
			}
		}
		return true
	})
	return of
}
