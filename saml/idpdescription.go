package saml

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const nsMDUI = "urn:oasis:names:tc:SAML:metadata:ui"

// IdPInfo describes the identity provider as its metadata does.
type IdPInfo struct {
	EntityID    string
	DisplayName string // from mdui:UIInfo or Organization, English first; may be empty
	// ErrorURL is a page of its own for people whom it could not sign in so that they
	// are of use here (saml-metadata 2.4.1, errorURL): https; empty if it has none.
	// ERRORURL_RP in it is replaced by our entity ID; what happened is for the caller to
	// fill in, in place of ERRORURL_CODE, _TS, _TID and _CTX (REFEDS errorURL 1.0).
	ErrorURL     string
	SSOURL       string
	SLO          bool             // whether it can be sent logout messages
	Certificates []IdPCertificate // as in the metadata, expired ones included
	ValidUntil   time.Time        // of the metadata; zero if not said
	// CacheDuration is how long the metadata may be used without being fetched
	// again; zero if not said.
	CacheDuration time.Duration
	// UnusedPins are those of [Config.PinnedKeys] that no signing certificate has.
	// That is no error: the metadata may drop an old key at any time, or bring a new
	// one, and must not be refused because a pin was there before or is there still.
	// But it may be a mistake in writing, so it is worth a warning.
	UnusedPins []string
}

// IdPCertificate is one signing certificate of the identity provider. Responses
// signed with one that is outside its validity are refused unless it is pinned, so
// it is worth a warning long before NotAfter.
type IdPCertificate struct {
	Fingerprint         string // SHA-256 of the certificate, in hex
	KeyHash             string // as in [Config.PinnedKeys]
	Pinned              bool   // its end does not matter
	NotBefore, NotAfter time.Time
}

// info says it for the caller.
func (idp *identityProvider) info() IdPInfo {
	info := IdPInfo{
		EntityID: idp.entityID, DisplayName: idp.displayName, ErrorURL: idp.errorURL, SSOURL: idp.ssoURL, SLO: len(idp.slo) > 0,
		ValidUntil: idp.validUntil, CacheDuration: idp.cacheDuration,
	}
	unused := maps.Clone(idp.pins)
	for _, cert := range idp.certificates {
		info.Certificates = append(info.Certificates, IdPCertificate{
			Fingerprint: fingerprint(cert.Raw), KeyHash: keyHash(cert), Pinned: idp.pinned(cert),
			NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		})
		delete(unused, keyHash(cert))
	}
	info.UnusedPins = slices.Sorted(maps.Keys(unused))
	return info
}

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
