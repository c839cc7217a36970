package saml

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/beevik/etree"
)

const (
	nsMetadata      = "urn:oasis:names:tc:SAML:2.0:metadata"
	bindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	bindingPost     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

// identityProvider is what we believe about the other side. That it says
// WantAuthnRequestsSigned or not is all the same: we sign every request.
type identityProvider struct {
	entityID      string
	displayName   string  // empty: none that could be shown
	errorURL      string  // empty: none that a person could be sent to
	ssoBinding    Binding // how requests go to ssoURL; never BindingAny
	ssoURL        string  // as written
	slo           map[Binding]endpoint
	certificates  []*x509.Certificate
	pins          map[string]bool // hashes of keys, whether they are in the metadata or not
	validUntil    time.Time       // zero: not said
	cacheDuration time.Duration   // zero: not said
}

// endpoint is where a service takes messages, as written; both are https.
type endpoint struct {
	location         string // of requests
	responseLocation string // of responses: location, unless the metadata has another
}

// metadataChoice is what we take of a metadata document.
type metadataChoice struct {
	entityID string  // empty: the only identity provider
	binding  Binding // of requests
	pins     map[string]bool
	now      time.Time // less the clock skew: a document has ended once it has by the slowest clock
}

// parseIdPMetadata reads an EntityDescriptor, or an EntitiesDescriptor and in it
// the entity that was chosen, or else the only identity provider. All or nothing:
// metadata with one unusable signing key is refused, so that a mistake shows when
// it is made.
func parseIdPMetadata(raw []byte, choice metadataChoice) (*identityProvider, error) {
	if err := checkStream(raw, metadataLimits()); err != nil {
		return nil, fmt.Errorf("reading the document: %w", errors.Unwrap(err))
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	return readIdP(doc.Root(), choice)
}

// readIdP is parseIdPMetadata for a document that was parsed.
func readIdP(root *etree.Element, choice metadataChoice) (*identityProvider, error) {
	role, err := findIdP(root, choice.entityID)
	if err != nil {
		return nil, err
	}
	idp := &identityProvider{entityID: entityIDOf(role), displayName: displayName(role), errorURL: errorURL(role), pins: choice.pins}
	if err := checkEntityID(idp.entityID); err != nil {
		return nil, err
	}
	if idp.validUntil, err = validUntil(role, choice.now); err != nil {
		return nil, err
	}
	if idp.cacheDuration, err = cacheDuration(role); err != nil {
		return nil, err
	}
	if idp.ssoBinding, idp.ssoURL, err = singleSignOn(role, choice.binding); err != nil {
		return nil, err
	}
	if idp.slo, err = singleLogout(role); err != nil {
		return nil, err
	}
	if idp.certificates, err = signingCertificates(role); err != nil {
		return nil, err
	}
	return idp, nil
}

// findIdP returns the role of an identity provider for SAML 2.0: of the entity
// with that ID, or of the only one if it is empty. A name that stands for two
// entities, or an entity with two such roles, stands for none.
func findIdP(root *etree.Element, entityID string) (*etree.Element, error) {
	if root.NamespaceURI() != nsMetadata || (root.Tag != "EntityDescriptor" && root.Tag != "EntitiesDescriptor") {
		return nil, fmt.Errorf("root element %.100q, expected an EntityDescriptor of SAML 2.0 metadata", root.Tag)
	}
	all := idpRoles(root)
	roles := all
	if entityID != "" {
		roles = slices.DeleteFunc(slices.Clone(all), func(role *etree.Element) bool { return entityIDOf(role) != entityID })
	}
	switch {
	case len(roles) == 1:
		return roles[0], nil
	case entityID != "" && len(roles) == 0:
		return nil, fmt.Errorf("no identity provider %.200q in it, it has %s", entityID, listIdPs(all))
	case entityID != "":
		return nil, fmt.Errorf("%d IDPSSODescriptor elements for SAML 2.0 of the entity %.200q, expected exactly one", len(roles), entityID)
	case len(roles) == 0:
		return nil, fmt.Errorf("0 IDPSSODescriptor elements for SAML 2.0, expected exactly one%s", butService(root))
	}
	return nil, fmt.Errorf("%d IDPSSODescriptor elements for SAML 2.0, expected exactly one: choose one of %s by its entity ID", len(roles), listIdPs(roles))
}

// butService says that a document is about the other side, such as our own, which is
// easily taken for the identity provider's.
func butService(root *etree.Element) string {
	if root.FindElement(".//SPSSODescriptor") == nil {
		return ""
	}
	return "; this is the metadata of a service provider, such as our own: give that to the identity provider, and take its own"
}

// maxListed is how many entities an error names.
const maxListed = 5

// listIdPs names whom an operator may choose from.
func listIdPs(roles []*etree.Element) string {
	if len(roles) == 0 {
		return "none"
	}
	var names []string
	for _, role := range roles[:min(len(roles), maxListed)] {
		names = append(names, fmt.Sprintf("%.200q", entityIDOf(role)))
	}
	list := strings.Join(names, ", ")
	if more := len(roles) - len(names); more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

func entityIDOf(role *etree.Element) string { return role.Parent().SelectAttrValue("entityID", "") }

// idpRoles finds the roles in an entity, or in all entities of an aggregate.
func idpRoles(el *etree.Element) []*etree.Element {
	if el.Tag == "EntityDescriptor" {
		return slices.DeleteFunc(childrenOf(el, nsMetadata, "IDPSSODescriptor"), func(role *etree.Element) bool {
			protocols := strings.Fields(role.SelectAttrValue("protocolSupportEnumeration", ""))
			return !slices.Contains(protocols, nsProtocol)
		})
	}
	var roles []*etree.Element
	for _, tag := range []string{"EntityDescriptor", "EntitiesDescriptor"} {
		for _, child := range childrenOf(el, nsMetadata, tag) {
			roles = append(roles, idpRoles(child)...)
		}
	}
	return roles
}

// checkEntityID is for theirs and ours: both are compared byte for byte, and shown to
// operators on terminals, so nothing may stand in it that cannot be seen.
func checkEntityID(id string) error {
	if id == "" || len(id) > maxEntityID {
		return fmt.Errorf("entityID of %d characters, expected 1 to %d", len(id), maxEntityID)
	}
	if id != strings.TrimSpace(id) {
		return fmt.Errorf("entityID %.100q begins or ends with white space", id)
	}
	if strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) || invisible(r) }) {
		return fmt.Errorf("entityID %.100q has a character that cannot be seen", id)
	}
	return nil
}

// validUntil returns the earliest validUntil around and on a role, and refuses
// one that has passed.
func validUntil(role *etree.Element, now time.Time) (time.Time, error) {
	var earliest time.Time
	for el := role; el != nil; el = el.Parent() {
		v := el.SelectAttr("validUntil")
		if v == nil {
			continue
		}
		until, err := time.Parse(time.RFC3339, v.Value)
		if err != nil {
			return earliest, fmt.Errorf("validUntil %.100q of %s, expected a date and time with a zone", v.Value, el.Tag)
		}
		if !now.Before(until) {
			return earliest, fmt.Errorf("the metadata expired: validUntil of %s is %s", el.Tag, v.Value)
		}
		if earliest.IsZero() || until.Before(earliest) {
			earliest = until
		}
	}
	return earliest, nil
}

// checkFresh refuses metadata whose time ran out while it was in use, by a clock
// that may be off by the skew (saml2int SDP-G01).
func (sp *ServiceProvider) checkFresh(now time.Time) error {
	if until := sp.idp.validUntil; !until.IsZero() && !now.Add(-sp.skew).Before(until) {
		return fmt.Errorf("the identity provider's metadata expired at %s", until.Format(time.RFC3339))
	}
	return nil
}
