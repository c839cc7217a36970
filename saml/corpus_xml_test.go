package saml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
)

// inRoot writes something behind the start tag of the response.
func inRoot(xml string) func(string) string {
	return func(s string) string { return strings.Replace(s, "<saml:Issuer>", xml+"<saml:Issuer>", 1) }
}

// onRoot writes something into the start tag of the response.
func onRoot(attributes string) func(string) string {
	return func(s string) string {
		return strings.Replace(s, "<samlp:Response ", "<samlp:Response "+attributes+" ", 1)
	}
}

func before(xml string) func(string) string { return func(s string) string { return xml + s } }
func behind(xml string) func(string) string { return func(s string) string { return s + xml } }

// documents are XML that parsers disagree about, or no XML.
func documents() []attack {
	return []attack{
		{id: "A25", name: "relative namespace", want: CodeXML, raw: inRoot(`<x:y xmlns:x="relative/uri"/>`)},
		{id: "A26", name: "undeclared prefix of an element", want: CodeXML, raw: inRoot(`<x:y/>`)},
		{id: "A26b", name: "undeclared prefix of an attribute", want: CodeXML, raw: onRoot(`x:y="z"`)},
		{id: "A26c", name: "prefix with two meanings", want: CodeXML, raw: inRoot(`<saml:y xmlns:saml="urn:x"/>`)},
		{id: "A26d", name: "one attribute under two prefixes", want: CodeXML, raw: onRoot(`xmlns:p="urn:x" xmlns:q="urn:x" p:a="1" q:a="2"`)},
		{id: "A26e", name: "prefix used outside of its element", want: CodeXML, raw: inRoot(`<x:y xmlns:x="urn:x"/><x:y/>`)},
		{id: "A27", name: "name of colons", want: CodeXML, raw: inRoot(`<::x/>`)},
		{id: "A27b", name: "attribute of colons", want: CodeXML, raw: onRoot(`::x="y"`)},
		{id: "A27c", name: "empty prefix", want: CodeXML, raw: inRoot(`<:x/>`)},
		{id: "A27d", name: "directive in a directive", want: CodeDoctype, raw: inRoot(`<!x<!-- -->y>`)},
		{id: "A28", name: "xml re-declared", want: CodeXML, raw: onRoot(`xmlns:xml="urn:x"`)},
		{id: "A28b", name: "xmlns re-declared", want: CodeXML, raw: onRoot(`xmlns:xmlns="urn:x"`)},
		{id: "A28c", name: "default namespace taken back", want: CodeElement, raw: inRoot(`<y xmlns=""/>`)},
		{id: "A28d", name: "prefix undeclared by an empty one", want: CodeXML, raw: inRoot(`<x:y xmlns:x=""/>`)},
		{id: "E1", name: "document type, inert", want: CodeDoctype, raw: before(`<!DOCTYPE samlp:Response>`)},
		{id: "E1b", name: "external entity", want: CodeDoctype, raw: before(`<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>`)},
		{id: "E1c", name: "billion laughs", want: CodeDoctype, raw: before(`<!DOCTYPE r [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>`)},
		{id: "E1d", name: "entity that nobody declared", want: CodeXML, raw: inRoot(`&x;`)},
		{id: "E2", name: "deflated", want: CodeEncoding, encode: func(raw []byte) string {
			var buf bytes.Buffer
			w, _ := flate.NewWriter(&buf, 9)
			_, _ = w.Write(raw)
			_ = w.Close()
			return encode(buf.Bytes())
		}},
		{id: "E9", name: "UTF-16 declared", want: CodeXML, raw: before(`<?xml version="1.0" encoding="UTF-16"?>`)},
		{id: "E9b", name: "ISO-8859-1 declared", want: CodeXML, raw: before(`<?xml version="1.0" encoding="ISO-8859-1"?>`)},
		{id: "E9c", name: "version 1.1", want: CodeXML, raw: before(`<?xml version="1.1"?>`)},
		{id: "E9d", name: "byte order mark", want: CodeEncoding, raw: before("\ufeff")},
		{id: "E9e", name: "UTF-16", want: CodeXML, encode: func(raw []byte) string {
			var out []byte
			for _, unit := range utf16.Encode([]rune(string(raw))) {
				out = append(out, byte(unit), byte(unit>>8))
			}
			return encode(out)
		}},
		{id: "E9f", name: "invalid UTF-8", want: CodeEncoding, raw: func(s string) string { return strings.Replace(s, "Alice", "Al\xffce", 1) }},
		{id: "E9g", name: "second declaration", want: CodeXML, raw: before(`<?xml version="1.0"?><?xml version="1.0"?>`)},
		{id: "E9h", name: "declaration behind a blank", want: CodeXML, raw: before(` <?xml version="1.0"?>`)},
		{id: "E9i", name: "stylesheet", want: CodeXML, raw: before(`<?xml-stylesheet href="x"?>`)},
		{id: "E10", name: "attribute twice", want: CodeXML, raw: onRoot(`ID="_x"`)},
		{id: "E10b", name: "declaration twice", want: CodeXML, raw: onRoot(`xmlns:samlp="` + nsProtocol + `"`)},
		{id: "E11", name: "text behind the root", want: CodeXML, raw: behind(`junk`)},
		{id: "E11b", name: "element behind the root", want: CodeXML, raw: behind(`<x/>`)},
		{id: "E11c", name: "element before the root", want: CodeXML, raw: before(`<x/>`)},
		{id: "E11d", name: "text before the root", want: CodeEncoding, raw: before(`junk`)},
		{id: "E11e", name: "cut off", want: CodeXML, raw: func(s string) string { return s[:len(s)-20] }},
		{id: "E11f", name: "wrong end", want: CodeXML, raw: func(s string) string { return strings.TrimSuffix(s, "</samlp:Response>") + "</saml:Response>" }},
		{id: "E11g", name: "end too many", want: CodeXML, raw: behind(`</x>`)},
		{id: "E11h", name: "nothing but a declaration", want: CodeXML, raw: func(string) string { return `<?xml version="1.0"?>` }},
		{id: "E12", name: "base64 with blanks", want: CodeEncoding, encode: func(raw []byte) string { s := encode(raw); return s[:40] + " " + s[40:] }},
		{id: "E12b", name: "base64 of the URL kind", want: CodeEncoding, encode: func(raw []byte) string {
			return base64.URLEncoding.EncodeToString(append(raw, "<!--\xff\xfe\xff-->"...))
		}},
		{id: "E12c", name: "junk behind the padding", want: CodeEncoding, encode: func(raw []byte) string { return encode(append(raw, make([]byte, 3-len(raw)%3+1)...)) + "x" }},
		{id: "E12d", name: "no padding", want: CodeEncoding, encode: func(raw []byte) string {
			for len(raw)%3 == 0 {
				raw = append(raw, ' ')
			}
			return strings.TrimRight(encode(raw), "=")
		}},
		{id: "E12e", name: "loose bits before the padding", want: CodeEncoding, encode: func([]byte) string { return "PHg+PC94PgB=" }},
		{id: "E12f", name: "empty", want: CodeEncoding, encode: func([]byte) string { return "" }},
		{id: "E12g", name: "XML that was not encoded", want: CodeEncoding, encode: func(raw []byte) string { return string(raw) }},
		{id: "E14", name: "NUL", want: CodeXML, raw: inRoot("\x00")},
		{id: "E14b", name: "reference to NUL", want: CodeXML, raw: inRoot("&#0;")},
		{id: "E14c", name: "reference to escape", want: CodeXML, raw: func(s string) string { return strings.Replace(s, "Alice Example", "&#27;[2J", 1) }},
		{id: "E15", name: "comment between elements", want: CodeComment, raw: inRoot("<!-- x -->")},
		{id: "E15b", name: "comment behind the root", want: CodeComment, raw: behind("<!-- x -->")},
	}
}

// resources are documents that would cost much.
func resources() []attack {
	return []attack{
		{id: "E3", name: "300 KB of XML", want: CodeXMLLimit, raw: behind(strings.Repeat(" ", 300<<10))},
		{id: "E3b", name: "600 KB of base64", want: CodeXMLLimit, encode: func([]byte) string { return strings.Repeat("AAAA", 150<<10) }},
		{id: "E4", name: "2,000 empty elements", want: CodeXMLLimit, raw: inRoot(strings.Repeat("<x/>", 2000))},
		{id: "E5", name: "20,000 namespace declarations", want: CodeXMLLimit, encode: func([]byte) string { return encode(xmlnsBomb(20_000)) }},
		{id: "E5b", name: "24 namespaces in scope besides the two of the response", want: CodeXMLLimit, raw: inRoot(nested(24))},
		{id: "E5c", name: "22 namespaces in scope besides the two of the response", want: CodeElement, raw: inRoot(nested(22))},
		{id: "E6", name: "nesting of 10,000", want: CodeXMLLimit, raw: inRoot(strings.Repeat("<x>", 10_000))},
		{id: "E6b", name: "nesting of 33", want: CodeXMLLimit, raw: inRoot(strings.Repeat("<x>", 32) + strings.Repeat("</x>", 32))},
		{id: "E7", name: "10,000 attributes", want: CodeXMLLimit, raw: onRoot(manyAttributes(10_000))},
		{id: "E7b", name: "33 attributes", want: CodeXMLLimit, raw: onRoot(manyAttributes(27))},
		{id: "E7c", name: "4,000 attributes in all", want: CodeXMLLimit, raw: inRoot(strings.Repeat(`<x`+manyAttributes(8)+`/>`, 500))},
		{id: "E8", name: "300 signatures", want: CodeSignatureShape, raw: inRoot(strings.Repeat(`<ds:Signature/>`, 300)), after: func(_ testing.TB, m *message) {
			m.root.CreateAttr("xmlns:ds", nsDsig)
		}},
		{id: "E16", name: "text of 70 KB", want: CodeXMLLimit, raw: func(s string) string {
			return strings.Replace(s, "Alice Example", strings.Repeat("A", 70<<10), 1)
		}},
		{id: "E16b", name: "attribute of 70 KB", want: CodeXMLLimit, raw: onRoot(`Consent="` + strings.Repeat("A", 70<<10) + `"`)},
		{id: "E17", name: "ID of 300 characters", want: CodeID, edit: func(_ testing.TB, m *message) { m.assertion.CreateAttr("ID", "_"+strings.Repeat("a", 300)) }},
		{id: "E17b", name: "ID that is not a name", want: CodeID, edit: func(_ testing.TB, m *message) { m.assertion.CreateAttr("ID", "1 or 2") }},
	}
}

// xmlnsBomb is a small document that costs goxmldsig half a minute.
func xmlnsBomb(n int) []byte {
	var b strings.Builder
	b.WriteString(`<samlp:Response xmlns:samlp="` + nsProtocol + `"`)
	for i := range n {
		fmt.Fprintf(&b, ` xmlns:a%x="u:"`, i)
	}
	b.WriteString(`></samlp:Response>`)
	return []byte(b.String())
}

// nested are n elements in each other, each with a namespace of its own.
func nested(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `<x xmlns:n%d="urn:n%d">`, i, i)
	}
	return b.String() + strings.Repeat("</x>", n)
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` a%d="1"`, i)
	}
	return b.String()
}

func manyGroups(n int) func(testing.TB, *message) {
	return func(_ testing.TB, m *message) {
		groups := m.root.FindElement(".//Attribute[@Name='groups']")
		for i := range n {
			groups.CreateElement("saml:AttributeValue").SetText(fmt.Sprintf("group-%d", i))
		}
	}
}
