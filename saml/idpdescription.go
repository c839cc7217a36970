package saml

import (
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const nsMDUI = "urn:oasis:names:tc:SAML:metadata:ui"

// displayName is what people call an identity provider: in mdui:UIInfo
// (sstc-saml-metadata-ui 2.1), or else in its Organization. One that may not be
// shown is passed over: nobody shall be locked out by a name.
func displayName(role *etree.Element) string {
	var candidates []*etree.Element
	for _, extensions := range childrenOf(role, nsMetadata, "Extensions") {
		for _, info := range childrenOf(extensions, nsMDUI, "UIInfo") {
			candidates = append(candidates, englishFirst(childrenOf(info, nsMDUI, "DisplayName"))...)
		}
	}
	for _, el := range []*etree.Element{role, role.Parent()} {
		for _, organization := range childrenOf(el, nsMetadata, "Organization") {
			candidates = append(candidates, englishFirst(childrenOf(organization, nsMetadata, "OrganizationDisplayName"))...)
		}
	}
	for _, el := range candidates {
		// Documents are indented, so white space is not the name's own.
		name := strings.Join(strings.Fields(el.Text()), " ")
		if name != "" && checkValue(name) == nil {
			return name
		}
	}
	return ""
}

// errorURL is where a person can ask an identity provider for help (saml-metadata
// 2.4.1). Like a name, one that nobody may be shown is passed over.
func errorURL(role *etree.Element) string {
	address := role.SelectAttrValue("errorURL", "")
	if checkWebAddress(address) != nil {
		return ""
	}
	return address
}

// englishFirst sorts names by xml:lang and keeps their order besides.
func englishFirst(names []*etree.Element) []*etree.Element {
	var english, others []*etree.Element
	for _, el := range names {
		language := strings.ToLower(el.SelectAttrValue("xml:lang", ""))
		if language == "en" || strings.HasPrefix(language, "en-") {
			english = append(english, el)
		} else {
			others = append(others, el)
		}
	}
	return append(english, others...)
}

// cacheDuration returns the shortest cacheDuration around and on a role.
func cacheDuration(role *etree.Element) (time.Duration, error) {
	var shortest time.Duration
	for el := role; el != nil; el = el.Parent() {
		v := el.SelectAttr("cacheDuration")
		if v == nil {
			continue
		}
		d, err := parseDuration(v.Value)
		if err != nil {
			return 0, fmt.Errorf("cacheDuration of %s: %w", el.Tag, err)
		}
		if shortest == 0 || d < shortest {
			shortest = d
		}
	}
	return shortest, nil
}
