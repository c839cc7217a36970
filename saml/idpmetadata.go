package saml

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const (
	nsMetadata      = "urn:oasis:names:tc:SAML:2.0:metadata"
	bindingRedirect = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	bindingPost     = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
)

// identityProvider is what we believe about the other side.
type identityProvider struct {
	entityID     string
	ssoURL       string // by HTTP-Redirect, as written
	certificates []*x509.Certificate
	validUntil   time.Time // zero: not said
}

// parseIdPMetadata reads an EntityDescriptor, or an EntitiesDescriptor with one
// identity provider in it. All or nothing: metadata with one unusable signing
// key is refused, so that a mistake shows when it is made.
func parseIdPMetadata(raw []byte, now time.Time) (*identityProvider, error) {
	if err := checkStream(raw, metadataLimits()); err != nil {
		return nil, fmt.Errorf("reading the document: %w", errors.Unwrap(err))
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	role, err := findIdP(doc.Root())
	if err != nil {
		return nil, err
	}
	idp := &identityProvider{entityID: role.Parent().SelectAttrValue("entityID", "")}
	if err := checkEntityID(idp.entityID); err != nil {
		return nil, err
	}
	if idp.validUntil, err = validUntil(role, now); err != nil {
		return nil, err
	}
	if idp.ssoURL, err = ssoURL(role); err != nil {
		return nil, err
	}
	if idp.certificates, err = signingCertificates(role); err != nil {
		return nil, err
	}
	return idp, nil
}

// findIdP returns the one role of an identity provider for SAML 2.0.
func findIdP(root *etree.Element) (*etree.Element, error) {
	if root.NamespaceURI() != nsMetadata || (root.Tag != "EntityDescriptor" && root.Tag != "EntitiesDescriptor") {
		return nil, fmt.Errorf("root element %.100q, expected an EntityDescriptor of SAML 2.0 metadata", root.Tag)
	}
	roles := idpRoles(root)
	if len(roles) != 1 {
		return nil, fmt.Errorf("%d IDPSSODescriptor elements for SAML 2.0, expected exactly one", len(roles))
	}
	return roles[0], nil
}

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

// checkEntityID is for theirs and ours: both are compared byte for byte.
func checkEntityID(id string) error {
	if id == "" || len(id) > 1024 {
		return fmt.Errorf("entityID of %d characters, expected 1 to 1024", len(id))
	}
	if id != strings.TrimSpace(id) {
		return fmt.Errorf("entityID %.100q begins or ends with white space", id)
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

// ssoURL returns the first address for HTTP-Redirect, which must be usable.
func ssoURL(role *etree.Element) (string, error) {
	for _, endpoint := range childrenOf(role, nsMetadata, "SingleSignOnService") {
		if endpoint.SelectAttrValue("Binding", "") != bindingRedirect {
			continue
		}
		location := endpoint.SelectAttrValue("Location", "")
		if err := checkEndpoint(location); err != nil {
			return "", fmt.Errorf("SingleSignOnService %.200q: %w", location, err)
		}
		return location, nil
	}
	return "", errors.New("no SingleSignOnService with the HTTP-Redirect binding")
}

// checkEndpoint wants an address that a browser may be sent to with a request
// of ours in the query.
func checkEndpoint(location string) error {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		return errors.New("not a URL")
	case u.Scheme != "https":
		return fmt.Errorf("scheme %q, expected https", u.Scheme)
	case u.User != nil:
		return errors.New("it has user information")
	case u.Hostname() == "":
		return errors.New("it has no host")
	case strings.Contains(location, "#"):
		return errors.New("it has a fragment")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("its query cannot be read")
	}
	for _, ours := range []string{"SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature", "SAMLEncoding"} {
		if query.Has(ours) {
			return fmt.Errorf("its query has a %s of its own", ours)
		}
	}
	return nil
}

// signingCertificates collects the certificates whose keys may sign. Of several
// in one X509Data the first is the signer's; the rest is its chain, which must
// not be able to sign for it.
func signingCertificates(role *etree.Element) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for _, descriptor := range childrenOf(role, nsMetadata, "KeyDescriptor") {
		if use := descriptor.SelectAttrValue("use", "signing"); use != "signing" {
			continue
		}
		for _, info := range childrenOf(descriptor, nsDsig, "KeyInfo") {
			for _, data := range childrenOf(info, nsDsig, "X509Data") {
				cert, err := metadataCertificate(data)
				if err != nil {
					return nil, fmt.Errorf("signing certificate %d: %w", len(certs)+1, err)
				}
				if cert != nil && !slices.ContainsFunc(certs, cert.Equal) {
					certs = append(certs, cert)
				}
			}
		}
	}
	if len(certs) == 0 || len(certs) > maxIdPCertificates {
		return nil, fmt.Errorf("%d signing certificates, expected 1 to %d", len(certs), maxIdPCertificates)
	}
	return certs, nil
}

// metadataCertificate returns nil if there is none in it: an X509Data may name a
// key in other ways, which say nothing that could be trusted.
func metadataCertificate(data *etree.Element) (*x509.Certificate, error) {
	el := childOf(data, nsDsig, "X509Certificate")
	if el == nil {
		return nil, nil
	}
	der, err := decodeBase64(el.Text())
	if err != nil {
		return nil, fmt.Errorf("decoding base64: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing X.509: %w", err)
	}
	if err := checkStrength(cert.PublicKey); err != nil {
		return nil, err
	}
	return cert, nil
}

// checkFresh refuses metadata whose time ran out while it was in use.
func (idp *identityProvider) checkFresh(now time.Time) error {
	if !idp.validUntil.IsZero() && !now.Before(idp.validUntil) {
		return fmt.Errorf("the identity provider's metadata expired at %s", idp.validUntil.Format(time.RFC3339))
	}
	return nil
}

// info says it for the caller.
func (idp *identityProvider) info() IdPInfo {
	info := IdPInfo{EntityID: idp.entityID, SSOURL: idp.ssoURL, ValidUntil: idp.validUntil}
	for _, cert := range idp.certificates {
		info.Certificates = append(info.Certificates, IdPCertificate{
			Fingerprint: fingerprint(cert.Raw), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		})
	}
	return info
}

// fingerprint is how we name a certificate to people.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
