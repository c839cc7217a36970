package saml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"
	// nsNone stands for "no prefix was declared so": distinct from the empty
	// namespace, which is what an undeclared default prefix means.
	nsNone = "\x00"
)

var (
	// xmlDeclaration is what may stand in <?xml …?>. A declared encoding other
	// than UTF-8 is where two parsers start to see two documents.
	xmlDeclaration = regexp.MustCompile(`(?i)^version=["']1\.0["'](\s+encoding=["']utf-8["'])?(\s+standalone=["'](yes|no)["'])?\s*$`)
	ncName         = regexp.MustCompile(`^[\pL_][\pL\pN\pM._\-·]*$`)
	absoluteURI    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.\-]*:`)
	cdataStart     = []byte("<![CDATA[")
)

// binding is one namespace declaration that is in scope.
type binding struct{ prefix, uri string }

// frame is one open element.
type frame struct {
	name  xml.Name // Space is the prefix, not the namespace
	scope int      // how many bindings are in scope around it
}

// streamGate reads a document token by token and builds nothing. It exists
// because every later step, ours and the library's, walks a tree whose size
// and ambiguity it cannot bound.
type streamGate struct {
	limits   streamLimits
	raw      []byte
	dec      *xml.Decoder
	stack    []frame
	scope    []binding
	uris     map[string]string // prefix -> the one namespace that it ever had
	elements int
	attrs    int
	rooted   bool // the root element has begun
	started  bool // a token was read
}

// tooMuch refuses a document that is too large in some way. If it is full of attribute
// values, that is the code: somebody is in very many groups, and can be told so. Nothing
// is verified yet, and nothing but a page and a line in the log depends on it.
func tooMuch(raw []byte, format string, args ...any) error {
	code := CodeXMLLimit
	if bytes.Count(raw, valueEnd) > manyValues {
		code = CodeTooManyValues
	}
	return refusef(code, format, args...)
}

// valueEnd is the end of a value's tag, whatever its prefix is; manyValues is how many
// of them nobody has who is not in hundreds of groups.
var valueEnd = []byte("AttributeValue>")

const manyValues = 400

// checkStream refuses what is not one well-formed, namespace-well-formed
// element within limits, with nothing around it but an XML declaration.
func checkStream(raw []byte, limits streamLimits) error { return checkStreamIn(raw, limits, nil) }

// checkStreamIn is checkStream for an element that shall stand inside of another,
// in the scope of its namespaces.
func checkStreamIn(raw []byte, limits streamLimits, scope []binding) error {
	if len(raw) > limits.size {
		return tooMuch(raw, "document of %d bytes, at most %d are allowed", len(raw), limits.size)
	}
	if !utf8.Valid(raw) {
		return refusef(CodeEncoding, "document is not valid UTF-8")
	}
	if !limits.comments && bytes.Contains(raw, cdataStart) {
		return refusef(CodeComment, "CDATA section")
	}
	g := &streamGate{limits: limits, raw: raw, dec: xml.NewDecoder(bytes.NewReader(raw)), uris: map[string]string{}, scope: scope}
	for {
		token, err := g.dec.RawToken()
		if errors.Is(err, io.EOF) {
			return g.end()
		}
		if err != nil {
			return refusef(CodeXML, "reading XML: %s", quotable(err.Error()))
		}
		if err := g.token(token); err != nil {
			return err
		}
		g.started = true
	}
}

// end judges the end of the input.
func (g *streamGate) end() error {
	if len(g.stack) > 0 {
		return refusef(CodeXML, "document ends inside element %.100q", g.stack[len(g.stack)-1].name.Local)
	}
	if !g.rooted {
		return refusef(CodeXML, "document without an element")
	}
	return nil
}

// token judges one token.
func (g *streamGate) token(token xml.Token) error {
	switch t := token.(type) {
	case xml.StartElement:
		return g.open(t)
	case xml.EndElement:
		return g.close(t)
	case xml.CharData:
		return g.text(t)
	case xml.Comment:
		if !g.limits.comments {
			return refusef(CodeComment, "comment at offset %d", g.dec.InputOffset())
		}
		return nil
	case xml.Directive:
		return refusef(CodeDoctype, "directive at offset %d", g.dec.InputOffset())
	case xml.ProcInst:
		return g.instruction(t)
	}
	return refusef(CodeXML, "unexpected %T", token)
}

// instruction lets an XML declaration through, as the very first thing.
func (g *streamGate) instruction(t xml.ProcInst) error {
	if g.started || t.Target != "xml" {
		return refusef(CodeXML, "processing instruction %.100q", t.Target)
	}
	if !xmlDeclaration.Match(t.Inst) {
		return refusef(CodeXML, "XML declaration %.100q, expected version 1.0 in UTF-8", t.Inst)
	}
	return nil
}

// text lets white space stand around the root; what text is good for inside is
// the shape gate's to say.
func (g *streamGate) text(t xml.CharData) error {
	if limit := g.textLimit(); len(t) > limit {
		return refusef(CodeXMLLimit, "text of %d bytes, at most %d are allowed", len(t), limit)
	}
	if len(g.stack) == 0 && len(bytes.TrimSpace(t)) > 0 {
		return refusef(CodeXML, "text outside the root element: %.100q", t)
	}
	return nil
}

// textLimit is wider for what is encrypted: that is a whole assertion in one text.
func (g *streamGate) textLimit() int {
	if len(g.stack) > 0 && g.stack[len(g.stack)-1].name.Local == "CipherValue" {
		return max(g.limits.text, g.limits.cipher)
	}
	return g.limits.text
}

// open judges a start tag: the counts first, because they are cheap, then the
// names, which need the declarations on the element itself.
func (g *streamGate) open(t xml.StartElement) error {
	if len(g.stack) == 0 && g.rooted {
		return refusef(CodeXML, "second root element %.100q", t.Name.Local)
	}
	g.rooted = true
	if g.elements++; g.elements > g.limits.elements {
		return tooMuch(g.raw, "more than %d elements", g.limits.elements)
	}
	if len(g.stack) >= g.limits.depth {
		return refusef(CodeXMLLimit, "elements nested deeper than %d", g.limits.depth)
	}
	if len(t.Attr) > g.limits.attributes {
		return refusef(CodeXMLLimit, "%d attributes on one element, at most %d are allowed", len(t.Attr), g.limits.attributes)
	}
	if g.attrs += len(t.Attr); g.attrs > g.limits.allAttributes {
		return tooMuch(g.raw, "more than %d attributes", g.limits.allAttributes)
	}
	g.stack = append(g.stack, frame{name: t.Name, scope: len(g.scope)})
	for _, a := range t.Attr {
		if err := g.declare(a); err != nil {
			return err
		}
	}
	if err := g.checkName(t.Name, "element"); err != nil {
		return err
	}
	return g.checkAttributes(t.Attr)
}

// close matches an end tag with its start: RawToken does not.
func (g *streamGate) close(t xml.EndElement) error {
	if len(g.stack) == 0 {
		return refusef(CodeXML, "end of element %.100q, which is not open", t.Name.Local)
	}
	top := g.stack[len(g.stack)-1]
	if top.name != t.Name {
		return refusef(CodeXML, "element %.100q ends as %.100q", top.name.Local, t.Name.Local)
	}
	g.stack, g.scope = g.stack[:len(g.stack)-1], g.scope[:top.scope]
	return nil
}

// declare takes a namespace declaration into scope; other attributes pass.
func (g *streamGate) declare(a xml.Attr) error {
	prefix, ok := declaredPrefix(a.Name)
	if !ok {
		return nil
	}
	if len(g.scope) >= g.limits.scope {
		return refusef(CodeXMLLimit, "more than %d namespace declarations in force at once", g.limits.scope)
	}
	if err := g.checkDeclaration(prefix, a.Value); err != nil {
		return err
	}
	g.scope = append(g.scope, binding{prefix, a.Value})
	return nil
}

// declaredPrefix tells whether an attribute declares a namespace, and for
// which prefix ("" is the default one).
func declaredPrefix(n xml.Name) (string, bool) {
	switch {
	case n.Space == "xmlns":
		return n.Local, true
	case n.Space == "" && n.Local == "xmlns":
		return "", true
	}
	return "", false
}

// checkDeclaration refuses declarations that some parsers honour and others
// do not: reserved names, relative URIs (canonicalisation is undefined for
// them), and in responses a prefix that changes its meaning half-way.
func (g *streamGate) checkDeclaration(prefix, uri string) error {
	if prefix == "xml" || prefix == "xmlns" || uri == nsXML || uri == nsXMLNS {
		return refusef(CodeXML, "declaration of a reserved namespace: %.100q", prefix+"="+uri)
	}
	if prefix == "" && uri == "" {
		return nil
	}
	if !absoluteURI.MatchString(uri) {
		return refusef(CodeXML, "namespace %.100q is not an absolute URI", uri)
	}
	if prefix == "" || g.limits.rebinding {
		return nil
	}
	if before, ok := g.uris[prefix]; ok && before != uri {
		return refusef(CodeXML, "prefix %.100q stands for two namespaces", prefix)
	}
	g.uris[prefix] = uri
	return nil
}

// resolve returns the namespace of a prefix, nsNone if it has none.
func (g *streamGate) resolve(prefix string) string {
	for i := len(g.scope) - 1; i >= 0; i-- {
		if g.scope[i].prefix == prefix {
			return g.scope[i].uri
		}
	}
	switch prefix {
	case "":
		return ""
	case "xml":
		return nsXML
	}
	return nsNone
}

// checkName wants an XML name with a declared prefix or none. Go's decoder lets
// names through that begin with colons, and writes them differently.
func (g *streamGate) checkName(n xml.Name, what string) error {
	if !ncName.MatchString(n.Local) || (n.Space != "" && !ncName.MatchString(n.Space)) {
		return refusef(CodeXML, "%s with the malformed name %.100q", what, n.Space+":"+n.Local)
	}
	if g.resolve(n.Space) == nsNone {
		return refusef(CodeXML, "%s %.100q with an undeclared prefix", what, n.Space+":"+n.Local)
	}
	return nil
}

// checkAttributes refuses an attribute twice, by its name as written or by its
// expanded name: etree keeps the last one, other parsers the first.
func (g *streamGate) checkAttributes(attrs []xml.Attr) error {
	seen := make(map[xml.Name]bool, len(attrs))
	for _, a := range attrs {
		if len(a.Value) > g.limits.text {
			return refusef(CodeXMLLimit, "attribute value of %d bytes, at most %d are allowed", len(a.Value), g.limits.text)
		}
		name := a.Name
		if _, declaration := declaredPrefix(name); !declaration {
			if err := g.checkName(name, "attribute"); err != nil {
				return err
			}
			if name.Space != "" {
				name.Space = g.resolve(name.Space)
			}
		}
		if seen[name] {
			return refusef(CodeXML, "attribute %.100q twice", strings.TrimPrefix(a.Name.Space+":"+a.Name.Local, ":"))
		}
		seen[name] = true
	}
	return nil
}
