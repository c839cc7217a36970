package saml

import (
	"slices"

	"github.com/beevik/etree"
)

const nsEntityAttributes = "urn:oasis:names:tc:SAML:metadata:attribute"

// The subject identifiers: attributes with one value each, such as
// 7f3a@example.org, that stay somebody's own for ever (saml-subject-id-attr 3.3 and
// 3.4). The pairwise one is another at each service provider.
const (
	subjectID  = "urn:oasis:names:tc:SAML:attribute:subject-id"
	pairwiseID = "urn:oasis:names:tc:SAML:attribute:pairwise-id"
)

// addRequirement writes which subject identifier we want, for identity providers that
// release what is asked for (saml-subject-id-attr 4; saml2int SDP-SP16): those that
// may become a user name.
func (a Attributes) addRequirement(root *etree.Element) {
	attributes := root.CreateElement("md:Extensions").CreateElement("mdattr:EntityAttributes")
	attributes.CreateAttr("xmlns:mdattr", nsEntityAttributes)
	attribute := attributes.CreateElement("saml:Attribute")
	attribute.CreateAttr("xmlns:saml", nsAssertion)
	attribute.CreateAttr("Name", "urn:oasis:names:tc:SAML:profiles:subject-id:req")
	attribute.CreateAttr("NameFormat", "urn:oasis:names:tc:SAML:2.0:attrname-format:uri")
	attribute.CreateElement("saml:AttributeValue").SetText(a.requirement())
}

// requirement is one of the four words that there are.
func (a Attributes) requirement() string {
	subject, pairwise := slices.Contains(a.User, subjectID), slices.Contains(a.User, pairwiseID)
	switch {
	case subject && pairwise:
		return "any"
	case subject:
		return "subject-id"
	case pairwise:
		return "pairwise-id"
	}
	return "none"
}
