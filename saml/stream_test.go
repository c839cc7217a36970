package saml

import (
	"strings"
	"testing"
)

// TestCheckStream holds the gate by itself against what the parser behind it
// would refuse as well, and the two sets of limits against each other.
func TestCheckStream(t *testing.T) {
	for name, tt := range map[string]struct{ doc, response, metadata string }{
		"one element":                {doc: `<a/>`},
		"declaration in every form":  {doc: `<?xml version='1.0' encoding='utf-8' standalone="yes" ?><a/>`},
		"blanks around it":           {doc: "\n<a/>\r\n\t"},
		"element that ends as other": {doc: `<a></b>`, response: CodeXML, metadata: CodeXML},
		"prefix that ends as other":  {doc: `<p:a xmlns:p="urn:x" xmlns:q="urn:x"></q:a>`, response: CodeXML, metadata: CodeXML},
		"open at the end":            {doc: `<a><b></b>`, response: CodeXML, metadata: CodeXML},
		"empty":                      {doc: ``, response: CodeXML, metadata: CodeXML},
		"comment":                    {doc: `<!-- x --><a><!-- y --></a>`, response: CodeComment},
		"CDATA":                      {doc: `<a><![CDATA[x]]></a>`, response: CodeComment},
		"document type":              {doc: `<!DOCTYPE a><a/>`, response: CodeDoctype, metadata: CodeDoctype},
		"prefix with two meanings":   {doc: `<a><p:b xmlns:p="urn:x"/><p:b xmlns:p="urn:y"/></a>`, response: CodeXML},
		"default with two meanings":  {doc: `<a xmlns="urn:x"><b xmlns="urn:y"/></a>`},
		"inner prefix shadows":       {doc: `<p:a xmlns:p="urn:x"><p:b xmlns:p="urn:x"/></p:a>`},
		"xml:lang needs no prefix":   {doc: `<a xml:lang="en"/>`},
		"33 attributes":              {doc: `<a` + manyAttributes(33) + `/>`, response: CodeXMLLimit},
		"65 attributes":              {doc: `<a` + manyAttributes(65) + `/>`, response: CodeXMLLimit, metadata: CodeXMLLimit},
		"1,001 elements":             {doc: `<a>` + strings.Repeat("<b/>", 1000) + `</a>`, response: CodeXMLLimit},
		"deep":                       {doc: strings.Repeat("<a>", 33) + strings.Repeat("</a>", 33), response: CodeXMLLimit, metadata: CodeXMLLimit},
		"as deep as may be":          {doc: strings.Repeat("<a>", 32) + strings.Repeat("</a>", 32)},
		"scopes that end":            {doc: `<a>` + strings.Repeat(`<b xmlns="urn:x" xmlns:p="urn:y"/>`, 200) + `</a>`},
		"300 KB":                     {doc: `<a/>` + strings.Repeat(" ", 300<<10), response: CodeXMLLimit, metadata: CodeXMLLimit},
	} {
		if got := codeOf(t, checkStream([]byte(tt.doc), responseLimits())); got != tt.response {
			t.Errorf("%s in a response: %q, want %q", name, got, tt.response)
		}
		if got := codeOf(t, checkStream([]byte(tt.doc), metadataLimits())); got != tt.metadata {
			t.Errorf("%s in metadata: %q, want %q", name, got, tt.metadata)
		}
	}
}
