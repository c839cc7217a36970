package saml

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"
)

const (
	maxInspected = 50                  // entities that an inspection lists
	soon         = 30 * 24 * time.Hour // what ends within it is worth a line
)

// InspectMetadata explains a metadata document as of now: its entities, their roles,
// addresses and certificates, and what we would refuse, each with what to do about
// it. It asks nobody. A signature in the document is described, not verified.
func InspectMetadata(raw []byte, now time.Time) (inspection Inspection) {
	defer func() {
		if p := recover(); p != nil {
			inspection.section("Fault of ours").add(MarkProblem, CodeInternal, "panic: %.150v", p)
		}
	}()
	s := inspection.section("Document")
	s.add(MarkInfo, "size", "%d bytes", len(raw))
	if err := checkStream(raw, metadataLimits()); err != nil {
		s.add(MarkProblem, "XML", "%s: fetch the document again, from the identity provider itself", errors.Unwrap(err))
		return inspection
	}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(raw); err != nil {
		s.add(MarkProblem, "XML", "%s", err)
		return inspection
	}
	i := &metadataInspector{out: &inspection, now: now}
	i.explainRoot(s, doc.Root())
	entities := entitiesIn(doc.Root())
	for _, entity := range entities[:min(len(entities), maxInspected)] {
		i.explainEntity(entity)
	}
	if len(entities) > maxInspected {
		inspection.section("More").add(MarkInfo, "", "%d entities that are not listed", len(entities)-maxInspected)
	}
	i.explainVerdict(doc.Root())
	return inspection
}

// metadataInspector is one inspection on its way.
type metadataInspector struct {
	out *Inspection
	now time.Time
}

// entitiesIn are the entities of a document, in its order.
func entitiesIn(root *etree.Element) []*etree.Element {
	if root.Tag == "EntityDescriptor" && root.NamespaceURI() == nsMetadata {
		return []*etree.Element{root}
	}
	var entities []*etree.Element
	for _, child := range root.ChildElements() {
		if child.NamespaceURI() == nsMetadata && (child.Tag == "EntityDescriptor" || child.Tag == "EntitiesDescriptor") {
			entities = append(entities, entitiesIn(child)...)
		}
	}
	return entities
}

// explainRoot says what holds for the document as a whole.
func (i *metadataInspector) explainRoot(s *Section, root *etree.Element) {
	s.say("element", root.Tag)
	s.add(MarkInfo, "entities", "%d", len(entitiesIn(root)))
	i.explainTimes(s, root)
	sig := childOf(root, nsDsig, "Signature")
	if sig == nil {
		s.add(MarkInfo, "signature", "none: the document must come by a way that is trusted")
		return
	}
	method, digest := sig.FindElement("./SignedInfo/SignatureMethod"), sig.FindElement("./SignedInfo/Reference/DigestMethod")
	if method != nil && digest != nil {
		s.add(MarkInfo, "signature", "%s, digest %s", shortAlgorithm(algorithmOf(method)), shortAlgorithm(algorithmOf(digest)))
	}
	s.explainCertificate(sig.FindElement(".//X509Certificate"))
	if err := checkMetadataSignature(root); err != nil {
		s.add(MarkProblem, "signature", "cannot be verified by us: %s", err)
	}
}

// explainTimes says how long an element holds.
func (i *metadataInspector) explainTimes(s *Section, el *etree.Element) {
	s.say("cache for", el.SelectAttrValue("cacheDuration", ""))
	v := el.SelectAttrValue("validUntil", "")
	if v == "" {
		return
	}
	until, err := time.Parse(time.RFC3339, v)
	switch {
	case err != nil:
		s.add(MarkProblem, "valid until", "%s, expected a date and time with a zone: let the identity provider write it so", v)
	case !i.now.Before(until):
		s.add(MarkProblem, "valid until", "%s, which has passed: fetch current metadata", v)
	case until.Sub(i.now) < soon:
		s.add(MarkInfo, "valid until", "%s, in %s: it must be fetched again before", v, inDays(until.Sub(i.now)))
	default:
		s.say("valid until", v)
	}
}

// inDays is a time to come in days, or in hours if there are few.
func inDays(d time.Duration) string {
	if d < 72*time.Hour {
		return d.Round(time.Hour).String()
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// explainEntity says what an entity is and where it can be reached.
func (i *metadataInspector) explainEntity(entity *etree.Element) {
	id := entity.SelectAttrValue("entityID", "")
	s := i.out.section("Entity " + quotable(id))
	if err := checkEntityID(id); err != nil {
		s.add(MarkProblem, "entityID", "%s", err)
	}
	if entity.Parent() != nil && entity.Parent().Parent() != nil {
		i.explainTimes(s, entity) // those of the root stand with the document
	}
	for _, name := range entity.FindElements(".//DisplayName") {
		s.say("name", strings.TrimSpace(name.Text()))
	}
	for _, role := range entity.ChildElements() {
		if strings.HasSuffix(role.Tag, "Descriptor") && role.NamespaceURI() == nsMetadata {
			i.explainRole(s, role)
		}
	}
}

// explainRole lists addresses, name formats and certificates of a role.
func (i *metadataInspector) explainRole(s *Section, role *etree.Element) {
	s.say("role", role.Tag)
	if !strings.Contains(" "+role.SelectAttrValue("protocolSupportEnumeration", "")+" ", " "+nsProtocol+" ") {
		s.add(MarkProblem, "protocol", "not SAML 2.0: choose SAML 2.0 at the other side")
	}
	for _, key := range []string{"WantAuthnRequestsSigned", "WantAssertionsSigned", "AuthnRequestsSigned"} {
		s.say(key, role.SelectAttrValue(key, ""))
	}
	if address := role.SelectAttrValue("errorURL", ""); address != "" {
		s.say("help for people", address)
		if err := checkWebAddress(address); err != nil {
			s.add(MarkInfo, "help for people", "%s; no page leads there", err)
		}
	}
	for _, el := range role.ChildElements() {
		switch el.Tag {
		case "KeyDescriptor":
			i.explainKey(s, el)
		case "NameIDFormat":
			s.say("name format", strings.TrimSpace(el.Text()))
		default:
			s.explainAddress(el)
		}
	}
}

// explainAddress says where a role can be reached, if that is what an element is.
func (s *Section) explainAddress(el *etree.Element) {
	location := el.SelectAttrValue("Location", "")
	if location == "" {
		return
	}
	binding := el.SelectAttrValue("Binding", "")
	s.add(MarkInfo, el.Tag, "%s %s", binding[strings.LastIndex(binding, ":")+1:], location)
	if err := checkEndpoint(location); err != nil {
		s.add(MarkProblem, el.Tag, "%.80s: %s; no browser is sent there", location, err)
	}
}

// explainKey says what a key is for, and how to name it.
func (i *metadataInspector) explainKey(s *Section, descriptor *etree.Element) {
	use := cmp.Or(descriptor.SelectAttrValue("use", ""), "signing and encryption")
	found := descriptor.FindElements(".//X509Certificate")
	if len(found) == 0 {
		s.add(MarkProblem, "key for "+use, "no certificate: we know keys by certificates alone")
	}
	for _, el := range found {
		i.explainKeyCertificate(s, "key for "+use, el)
	}
}

func (i *metadataInspector) explainKeyCertificate(s *Section, name string, el *etree.Element) {
	cert, err := readCertificate(el)
	if err != nil {
		s.add(MarkProblem, name, "%s", err)
		return
	}
	s.say(name, describeCertificate(cert))
	s.say("fingerprint", fingerprint(cert.Raw))
	s.say("key hash, to pin", keyHash(cert))
	if err := checkStrength(cert.PublicKey); err != nil {
		s.add(MarkProblem, name, "%s: the other side must make a stronger one", err)
	}
	switch {
	case i.now.Before(cert.NotBefore):
		s.add(MarkProblem, name, "not valid yet: check the clocks")
	case i.now.After(cert.NotAfter):
		s.add(MarkProblem, name, "it ended: fetch metadata with a current certificate, or pin the key")
	case cert.NotAfter.Sub(i.now) < soon:
		s.add(MarkInfo, name, "ends in %s: the other side must renew it", inDays(cert.NotAfter.Sub(i.now)))
	}
}

// explainVerdict says whether we would take the document as it is.
func (i *metadataInspector) explainVerdict(root *etree.Element) {
	s := i.out.section("As an identity provider's metadata")
	roles := idpRoles(root)
	if len(roles) > 1 {
		s.add(MarkInfo, "choice", "%d identity providers: the configuration must name one", len(roles))
		for _, role := range roles[:min(len(roles), maxInspected)] {
			i.verdict(s, root, role.Parent().SelectAttrValue("entityID", ""))
		}
		return
	}
	i.verdict(s, root, "")
}

func (i *metadataInspector) verdict(s *Section, root *etree.Element, entityID string) {
	if _, err := readIdP(root, metadataChoice{entityID: entityID, now: i.now}); err != nil {
		s.add(MarkProblem, entityID, "refused: %s", err)
		return
	}
	s.add(MarkPassed, entityID, "would be taken")
}

// describeCertificate is which key it is for, and when.
func describeCertificate(cert *x509.Certificate) string {
	return fmt.Sprintf("%s, from %s to %s", keyKind(cert.PublicKey), stamp(cert.NotBefore), stamp(cert.NotAfter))
}

// keyKind is the kind and the size of a public key.
func keyKind(key any) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	}
	return fmt.Sprintf("%T", key)
}

// shortAlgorithm is what stands behind the '#' of an algorithm's name.
func shortAlgorithm(uri string) string { return uri[strings.LastIndex(uri, "#")+1:] }
