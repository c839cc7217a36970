package saml

import (
	"cmp"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Namespaces and the few well-known values that the profile is made of.
const (
	nsProtocol  = "urn:oasis:names:tc:SAML:2.0:protocol"
	nsAssertion = "urn:oasis:names:tc:SAML:2.0:assertion"
	nsDsig      = "http://www.w3.org/2000/09/xmldsig#"
	nsExcC14N   = "http://www.w3.org/2001/10/xml-exc-c14n#"
	nsXMLEnc    = "http://www.w3.org/2001/04/xmlenc#"
	nsXMLEnc11  = "http://www.w3.org/2009/xmlenc11#"

	formatEntity    = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	formatTransient = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
)

// content is what may stand inside an element.
type content int

const (
	structure content = iota // the listed children, and white space
	text                     // text alone
	value                    // text alone, or one NameID alone
	opaque                   // anything that is not SAML, signature or encryption
	ignored                  // anything: nobody reads it
)

// shape is an element as the profile wants it. The tables below are the whole
// of what is let through to the library: it merges repeated elements, skips
// unknown ones and drops elements inside text, so none of these may reach it.
type shape struct {
	ns, tag  string
	min, max int // how often in its parent
	content  content
	code     string // for whatever is wrong inside; empty: by the kind of fault
	count    string // for a wrong number of it; empty: missing or duplicate
	children []shape
}

const many = 1000 // as many as the stream gate lets through

// responseShape holds the assertion in the clear, encryptedResponseShape an
// encrypted one in its place: it is the one or the other, never both.
var responseShape = shape{ns: nsProtocol, tag: "Response", children: []shape{
	{ns: nsAssertion, tag: "Issuer", max: 1, content: text},
	signatureShape,
	{ns: nsProtocol, tag: "Extensions", max: 1, content: opaque},
	statusShape,
	assertionShape,
}}

var encryptedResponseShape = shape{ns: nsProtocol, tag: "Response", children: []shape{
	{ns: nsAssertion, tag: "Issuer", max: 1, content: text},
	signatureShape,
	{ns: nsProtocol, tag: "Extensions", max: 1, content: opaque},
	statusShape,
	encryptedAssertionShape,
}}

// readRoot reads a message with the parser that the library uses, and returns its
// root if it is of that shape's name.
func readRoot(raw []byte, want *shape) (*etree.Element, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		return nil, refusef(CodeXML, "parsing XML: %s", quotable(err.Error()))
	}
	root := doc.Root()
	if root == nil || !want.matches(root) {
		return nil, refusef(CodeRoot, "root element is not a SAML 2.0 %s", want.tag)
	}
	return root, nil
}

var statusShape = shape{ns: nsProtocol, tag: "Status", min: 1, max: 1, children: []shape{
	{ns: nsProtocol, tag: "StatusCode", min: 1, max: 1, children: []shape{
		{ns: nsProtocol, tag: "StatusCode", max: 1},
	}},
	{ns: nsProtocol, tag: "StatusMessage", max: 1, content: text},
	{ns: nsProtocol, tag: "StatusDetail", max: 1, content: opaque},
}}

var assertionShape = shape{ns: nsAssertion, tag: "Assertion", min: 1, max: 1, count: CodeAssertions, children: []shape{
	{ns: nsAssertion, tag: "Issuer", min: 1, max: 1, content: text},
	signatureShape,
	subjectShape,
	conditionsShape,
	{ns: nsAssertion, tag: "Advice", max: 1, content: opaque},
	authnStatementShape,
	attributeStatementShape,
}}

var subjectShape = shape{ns: nsAssertion, tag: "Subject", min: 1, max: 1, children: []shape{
	{ns: nsAssertion, tag: "NameID", max: 1, content: text},
	// A second confirmation is legal, but the library would merge the two
	// into one that neither the identity provider nor anybody else wrote.
	{ns: nsAssertion, tag: "SubjectConfirmation", min: 1, max: 1, code: CodeSubjectConfirmation, children: []shape{
		{ns: nsAssertion, tag: "SubjectConfirmationData", min: 1, max: 1, code: CodeSubjectConfirmation},
	}},
}}

// A condition that we do not know makes the assertion's validity undecided,
// which is no (saml-core 2.5.1). ProxyRestriction is one of these: what the
// backends get from us is an assertion of our own, based on this one.
var conditionsShape = shape{ns: nsAssertion, tag: "Conditions", min: 1, max: 1, count: CodeConditions, code: CodeConditions, children: []shape{
	{ns: nsAssertion, tag: "AudienceRestriction", max: many, children: []shape{
		{ns: nsAssertion, tag: "Audience", min: 1, max: many, content: text},
	}},
	{ns: nsAssertion, tag: "OneTimeUse", max: 1}, // what the replay memory is for
}}

var authnStatementShape = shape{ns: nsAssertion, tag: "AuthnStatement", min: 1, max: 1, count: CodeAuthnStatement, children: []shape{
	{ns: nsAssertion, tag: "SubjectLocality", max: 1},
	{ns: nsAssertion, tag: "AuthnContext", min: 1, max: 1, children: []shape{
		{ns: nsAssertion, tag: "AuthnContextClassRef", max: 1, content: text},
		{ns: nsAssertion, tag: "AuthnContextDecl", max: 1, content: opaque},
		{ns: nsAssertion, tag: "AuthnContextDeclRef", max: 1, content: text},
		{ns: nsAssertion, tag: "AuthenticatingAuthority", max: many, content: text},
	}},
}}

var attributeStatementShape = shape{ns: nsAssertion, tag: "AttributeStatement", max: 1, children: []shape{
	{ns: nsAssertion, tag: "Attribute", max: many, children: []shape{
		{ns: nsAssertion, tag: "AttributeValue", max: many, content: value, children: []shape{
			{ns: nsAssertion, tag: "NameID", max: 1, content: text},
		}},
	}},
}}

// imitable are the attributes that the library reads. It matches them by local
// name alone, so x:InResponseTo would count as InResponseTo.
var imitable = map[string]bool{
	"ID": true, "Version": true, "IssueInstant": true, "InResponseTo": true, "Destination": true,
	"NotBefore": true, "NotOnOrAfter": true, "Recipient": true, "Method": true, "Value": true,
	"Name": true, "NameFormat": true, "FriendlyName": true, "Format": true, "NameQualifier": true,
	"SPNameQualifier": true, "SessionIndex": true, "AuthnInstant": true, "SessionNotOnOrAfter": true,
	"Count": true, "Algorithm": true, "URI": true, "PrefixList": true, "xmlns": true,
}

// instants are the attributes that hold a point in time.
var instants = map[string]bool{
	"IssueInstant": true, "NotBefore": true, "NotOnOrAfter": true,
	"AuthnInstant": true, "SessionNotOnOrAfter": true,
}

// matches compares the expanded name.
func (s *shape) matches(el *etree.Element) bool {
	return el.Tag == s.tag && el.NamespaceURI() == s.ns
}

// check holds an element and everything in it against its shape.
func (s *shape) check(el *etree.Element) error {
	if err := s.checkAttributes(el); err != nil {
		return err
	}
	switch s.content {
	case text:
		return s.checkText(el)
	case value:
		// eduPersonTargetedID has a NameID in it, and comes along unasked. The library
		// reads it as blanks, which say nothing about anybody.
		if childOf(el, nsAssertion, "NameID") == nil {
			return s.checkText(el)
		}
	case opaque:
		return checkOpaque(el)
	case ignored:
		return nil
	}
	counts := make([]int, len(s.children))
	for _, token := range el.Child {
		child, ok := token.(*etree.Element)
		if !ok {
			if blank, ok := token.(*etree.CharData); ok && blank.IsWhitespace() {
				continue
			}
			return refusef(s.fault(CodeText), "text between the elements of %s", s.tag)
		}
		if err := s.checkChild(child, counts); err != nil {
			return err
		}
	}
	for i, c := range s.children {
		if counts[i] < c.min {
			return refusef(s.fault(cmp.Or(c.count, CodeMissing)), "%s without %s", s.tag, c.tag)
		}
	}
	return nil
}

// checkChild finds the shape of a child, counts it and holds it against it.
func (s *shape) checkChild(child *etree.Element, counts []int) error {
	for i := range s.children {
		c := &s.children[i]
		if !c.matches(child) {
			continue
		}
		if counts[i]++; counts[i] > c.max {
			return refusef(s.fault(cmp.Or(c.count, CodeDuplicate)), "%s with more than %d %s", s.tag, c.max, c.tag)
		}
		return c.check(child)
	}
	return refusef(s.fault(unexpectedCode(child)), "unexpected element %.100q in %s", child.Tag, s.tag)
}

// fault picks the code of a fault: the shape's own, if it has one, unless the
// fault is that something is encrypted where nothing may be.
func (s *shape) fault(code string) string {
	if s.code == "" || (code == CodeEncrypted && s.code != CodeEncryptionShape) {
		return code
	}
	return s.code
}

// unexpectedCode names the two unexpected elements that matter by what they
// are attempts at.
func unexpectedCode(el *etree.Element) string {
	switch ns := el.NamespaceURI(); {
	case ns == nsXMLEnc, ns == nsXMLEnc11, ns == nsAssertion && strings.HasPrefix(el.Tag, "Encrypted"):
		return CodeEncrypted
	case ns == nsAssertion && el.Tag == "Assertion":
		return CodeAssertions
	case ns == nsDsig:
		return CodeSignatureShape
	}
	return CodeElement
}

// checkText: the library would drop an element in text and join the halves.
func (s *shape) checkText(el *etree.Element) error {
	for _, token := range el.Child {
		if child, ok := token.(*etree.Element); ok && unexpectedCode(child) == CodeEncrypted {
			return refusef(CodeEncrypted, "element %.100q inside %s", child.Tag, s.tag)
		}
		if _, ok := token.(*etree.CharData); !ok {
			return refusef(s.fault(CodeText), "%s holds something other than text", s.tag)
		}
	}
	return nil
}

// checkOpaque lets an extension be what it likes, except anything that a
// verifier or an XPath could take for the real thing.
func checkOpaque(el *etree.Element) error {
	for _, child := range el.ChildElements() {
		switch child.NamespaceURI() {
		case nsProtocol, nsAssertion, nsDsig, nsXMLEnc, nsXMLEnc11:
			return refusef(unexpectedCode(child), "element %.100q inside %s", child.Tag, el.Tag)
		}
		if err := checkOpaque(child); err != nil {
			return err
		}
	}
	return nil
}

// checkAttributes looks for imitations and for times that cannot be read. An
// attribute that nobody reads may be there.
func (s *shape) checkAttributes(el *etree.Element) error {
	for _, a := range el.Attr {
		if err := s.checkKnown(a); err != nil {
			return err
		}
		if a.Space != "" && a.Space != "xmlns" && imitable[a.Key] {
			return refusef(CodeAttribute, "attribute %.100q on %s", a.FullKey(), s.tag)
		}
		if a.Space != "" || !instants[a.Key] {
			continue
		}
		if _, err := time.Parse(time.RFC3339, a.Value); err != nil {
			return refusef(CodeInstant, "%s of %s is %.100q, expected a date and time with a zone", a.Key, s.tag, a.Value)
		}
	}
	return nil
}

// checkKnown wants no attribute on a signature or on something encrypted but those
// that their specifications have.
func (s *shape) checkKnown(a etree.Attr) error {
	switch {
	case isDeclaration(a):
	case s.ns == nsDsig && !signatureAttributes[a.FullKey()]:
		return refusef(s.fault(CodeSignatureShape), "attribute %.100q on %s", a.FullKey(), s.tag)
	case (s.ns == nsXMLEnc || s.ns == nsXMLEnc11) && !encryptionAttributes[a.FullKey()]:
		return refusef(CodeEncryptionShape, "attribute %.100q on %s", a.FullKey(), s.tag)
	}
	return nil
}

func isDeclaration(a etree.Attr) bool { return a.Space == "xmlns" || a.FullKey() == "xmlns" }

func childrenOf(el *etree.Element, ns, tag string) []*etree.Element {
	var found []*etree.Element
	for _, child := range el.ChildElements() {
		if child.Tag == tag && child.NamespaceURI() == ns {
			found = append(found, child)
		}
	}
	return found
}

// childOf returns the first such child, or nil.
func childOf(el *etree.Element, ns, tag string) *etree.Element {
	if found := childrenOf(el, ns, tag); len(found) > 0 {
		return found[0]
	}
	return nil
}

func valueOf(el *etree.Element) string {
	if el == nil {
		return ""
	}
	return el.SelectAttrValue("Value", "")
}

func textOf(el *etree.Element) string {
	if el == nil {
		return ""
	}
	return el.Text()
}

// instantOf reads a point in time; zero if there is none, or none that can be read,
// which the shape gate lets through nowhere.
func instantOf(el *etree.Element, name string) time.Time {
	t, _ := time.Parse(time.RFC3339, el.SelectAttrValue(name, ""))
	return t
}
