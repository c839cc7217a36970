package saml

import (
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const statusPartialLogout = "urn:oasis:names:tc:SAML:2.0:status:PartialLogout"

// An encrypted name or a BaseID is refused: we could tell nobody's session by it.
var logoutRequestShape = shape{ns: nsProtocol, tag: "LogoutRequest", children: []shape{
	{ns: nsAssertion, tag: "Issuer", min: 1, max: 1, content: text},
	signatureShape,
	{ns: nsProtocol, tag: "Extensions", max: 1, content: opaque},
	{ns: nsAssertion, tag: "NameID", min: 1, max: 1, content: text},
	{ns: nsProtocol, tag: "SessionIndex", max: maxSessionIndexes, content: text, count: CodeXMLLimit},
}}

var logoutResponseShape = shape{ns: nsProtocol, tag: "LogoutResponse", children: []shape{
	{ns: nsAssertion, tag: "Issuer", min: 1, max: 1, content: text},
	signatureShape,
	{ns: nsProtocol, tag: "Extensions", max: 1, content: opaque},
	statusShape,
}}

// checkMetadataIsFresh comes first: keys of metadata that has ended verify nothing.
func (sp *ServiceProvider) checkMetadataIsFresh(j *logoutJudgement) (finding, error) {
	if err := sp.idp.checkFresh(j.now); err != nil {
		return finding{}, refusef(CodeIdPMetadataExpired, "judging a logout message: %w", err)
	}
	return finding{}, nil
}

// checkLogoutShape parses the message, which has passed the stream gate.
func (sp *ServiceProvider) checkLogoutShape(j *logoutJudgement) (finding, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(j.raw); err != nil {
		return finding{}, refusef(CodeXML, "parsing XML: %w", err)
	}
	j.root = doc.Root()
	found := finding{want: j.shape().tag}
	if j.root == nil || !j.shape().matches(j.root) {
		return found, refusef(CodeRoot, "root element is not a SAML 2.0 %s", j.shape().tag)
	}
	found.got = j.root.Tag
	for _, check := range []func(*etree.Element) error{j.shape().check, checkIDs, checkLogoutHead} {
		if err := check(j.root); err != nil {
			return found, err
		}
	}
	if j.trace != nil {
		j.trace.ID, j.trace.Issued = j.root.SelectAttrValue("ID", ""), instantOf(j.root, "IssueInstant")
	}
	return found, nil
}

// checkLogoutHead wants what every message has, and its Issuer first.
func checkLogoutHead(root *etree.Element) error {
	issuer := root.ChildElements()[0]
	switch v := root.SelectAttrValue("Version", ""); {
	case v != "2.0":
		return refusef(CodeVersion, "%s of version %.100q, expected 2.0", root.Tag, v)
	case root.SelectAttrValue("ID", "") == "":
		return refusef(CodeID, "%s without an ID", root.Tag)
	case root.SelectAttr("IssueInstant") == nil:
		return refusef(CodeMissing, "%s without an IssueInstant", root.Tag)
	case issuer.Tag != "Issuer":
		return refusef(CodeElement, "Issuer is not the first element of the %s", root.Tag)
	}
	if f := issuer.SelectAttrValue("Format", formatEntity); f != formatEntity {
		return refusef(CodeIssuer, "issuer of the %s has the format %.100q, expected an entity", root.Tag, f)
	}
	return nil
}

// checkLogoutSignature verifies the one signature that the message must have: over
// the query if it came in one, else in the message. From here on, the message is
// what was signed.
func (sp *ServiceProvider) checkLogoutSignature(j *logoutJudgement) (finding, error) {
	el := childOf(j.root, nsDsig, "Signature")
	if j.query != nil {
		if el != nil { // saml-bindings 3.4.4.1 takes it out
			return finding{}, refusef(CodeSignatureShape, "%s in a query with a signature in it", j.root.Tag)
		}
		_, err := sp.signerOf(j, j.query.signature)
		return finding{got: j.query.algorithm}, err
	}
	if el == nil {
		return finding{}, refusef(CodeUnsigned, "%s is not signed", j.root.Tag)
	}
	if err := checkSignature(j.root, el); err != nil {
		return finding{}, err
	}
	found := finding{got: algorithmOf(childOf(childOf(el, nsDsig, "SignedInfo"), nsDsig, "SignatureMethod"))}
	s, err := readSignature(el)
	if err != nil {
		return found, refusef(CodeSignatureShape, "reading the signature of the %s: %w", j.root.Tag, err)
	}
	signer, err := sp.signerOf(j, s)
	if err != nil {
		return found, err
	}
	signed, err := signer.signedElement(j.root)
	if err != nil {
		return found, err
	}
	if err := checkSignedElement(j, signed); err != nil {
		return found, err
	}
	j.root = signed
	return found, nil
}

// signerOf returns the certificate whose key made a signature.
func (sp *ServiceProvider) signerOf(j *logoutJudgement, s signature) (*verifier, error) {
	v, err := sp.chooseVerifier(&envelope{signatures: []signature{s}}, j.now)
	if err == nil && j.trace != nil {
		j.trace.Certificate = fingerprint(v.cert.Raw)
	}
	return v, err
}

// signedElement has the library verify the signature in an element, and returns the
// element as it was read back from the bytes that were signed.
func (v *verifier) signedElement(el *etree.Element) (*etree.Element, error) {
	ctx := dsig.NewDefaultValidationContext(v.sp.IDPCertificateStore)
	ctx.Clock = v.sp.Clock
	signed, err := ctx.Validate(el)
	if err != nil {
		return nil, libraryRefusal(err)
	}
	return signed, nil
}

// checkSignedElement makes sure that what was verified is what was gated.
func checkSignedElement(j *logoutJudgement, signed *etree.Element) error {
	if signed == nil || !j.shape().matches(signed) || signed.SelectAttrValue("ID", "") != j.root.SelectAttrValue("ID", "") {
		return refusef(CodeInternal, "another element was verified than the %s that was gated", j.root.Tag)
	}
	return j.shape().check(signed)
}

// checkLogoutIssuer compares byte for byte.
func (sp *ServiceProvider) checkLogoutIssuer(j *logoutJudgement) (finding, error) {
	issuer := textOf(childOf(j.root, nsAssertion, "Issuer"))
	found := finding{want: sp.idp.entityID, got: shorten(issuer)}
	if issuer != sp.idp.entityID {
		return found, refusef(CodeIssuer, "%s by %.300q, expected %q", j.root.Tag, issuer, sp.idp.entityID)
	}
	return found, nil
}

// checkLogoutDestination: a signed message must say where it goes (saml-bindings
// 3.4.5.2 and 3.5.5.2), or it could be taken to another service of the same person.
func (sp *ServiceProvider) checkLogoutDestination(j *logoutJudgement) (finding, error) {
	destination := j.root.SelectAttrValue("Destination", "")
	found := finding{want: sp.sloURL, got: shorten(destination)}
	if destination == "" || destination != sp.sloURL {
		return found, refusef(CodeDestination, "%s for %.300q, expected %q", j.root.Tag, destination, sp.sloURL)
	}
	return found, nil
}

// checkLogoutIssueInstant bounds the age, as for an assertion.
func (sp *ServiceProvider) checkLogoutIssueInstant(j *logoutJudgement) (finding, error) {
	issued := instantOf(j.root, "IssueInstant")
	found := finding{want: fmt.Sprintf("%s, at most %s ago", stamp(j.now), maxLogoutAge), got: stamp(issued)}
	if issued.After(j.now.Add(sp.skew)) {
		return found, refusef(CodeNotYetValid, "%s issued at %s, %s ahead of our clock", j.root.Tag, stamp(issued), issued.Sub(j.now))
	}
	if age := j.now.Sub(issued); age > maxLogoutAge+sp.skew {
		return found, refusef(CodeExpired, "%s issued at %s, %s ago, at most %s are allowed", j.root.Tag, stamp(issued), age, maxLogoutAge+sp.skew)
	}
	return found, nil
}

// checkLogoutEnd: a request may say when it ends (saml-core 3.7.1).
func (sp *ServiceProvider) checkLogoutEnd(j *logoutJudgement) (finding, error) {
	end := instantOf(j.root, "NotOnOrAfter")
	if end.IsZero() {
		return finding{}, nil
	}
	found := finding{want: "later than " + stamp(j.now), got: stamp(end)}
	if !j.now.Add(-sp.skew).Before(end) {
		return found, refusef(CodeExpired, "%s ended at %s, %s ago", j.root.Tag, stamp(end), j.now.Sub(end))
	}
	return found, nil
}

// checkLogoutInResponseTo: nothing is an answer that this browser did not ask for.
func (sp *ServiceProvider) checkLogoutInResponseTo(j *logoutJudgement) (finding, error) {
	answers := j.root.SelectAttrValue("InResponseTo", "")
	found := finding{want: j.requestID, got: shorten(answers)}
	switch {
	case j.requestID == "":
		return found, refusef(CodeInResponseTo, "this browser has begun no logout")
	case answers != j.requestID:
		return found, refusef(CodeInResponseTo, "answers the request %.100q, this browser began %.100q", answers, j.requestID)
	}
	return found, nil
}

// takeLogoutSubject reads the name by the rule for every name: what we would not
// have let sign on, we have no session of.
func (sp *ServiceProvider) takeLogoutSubject(j *logoutJudgement) (finding, error) {
	el := childOf(j.root, nsAssertion, "NameID")
	s := Subject{
		NameID: textOf(el), Format: el.SelectAttrValue("Format", ""),
		NameQualifier: el.SelectAttrValue("NameQualifier", ""), SPNameQualifier: el.SelectAttrValue("SPNameQualifier", ""),
	}
	if s.NameID == "" {
		return finding{}, refusef(CodeValue, "empty NameID")
	}
	if err := s.check(); err != nil {
		return finding{}, err
	}
	j.request = LogoutRequest{ID: j.root.SelectAttrValue("ID", ""), RelayState: j.RelayState, Subject: s}
	return finding{}, nil
}

// takeSessionIndexes reads which sessions are to end. An empty index would be one of
// which nobody knows whether it stands for all.
func (sp *ServiceProvider) takeSessionIndexes(j *logoutJudgement) (finding, error) {
	for _, el := range childrenOf(j.root, nsProtocol, "SessionIndex") {
		index := textOf(el)
		if index == "" {
			return finding{}, refusef(CodeValue, "empty SessionIndex")
		}
		if err := checkValue(index); err != nil {
			return finding{}, refusef(CodeValue, "reading the SessionIndex: %w", err)
		}
		j.request.SessionIndexes = append(j.request.SessionIndexes, index)
	}
	return finding{got: fmt.Sprintf("%d of them", len(j.request.SessionIndexes))}, nil
}

// takeLogoutStatus refuses nothing: an answer that says no is an answer. That some
// participant was not reached stands at the second level (saml-core 3.2.2.2).
func (sp *ServiceProvider) takeLogoutStatus(j *logoutJudgement) (finding, error) {
	status := childOf(j.root, nsProtocol, "Status")
	top := childOf(status, nsProtocol, "StatusCode")
	code, detail := valueOf(top), valueOf(childOf(top, nsProtocol, "StatusCode"))
	j.response.Failed = code != statusSuccess
	j.response.Partial = code == statusPartialLogout || detail == statusPartialLogout
	if j.response.Failed || j.response.Partial {
		j.response.Status = fmt.Sprintf("%.200q, %.200q, message %.200q", code, detail, textOf(childOf(status, nsProtocol, "StatusMessage")))
	}
	return finding{want: statusSuccess, got: strings.TrimSpace(shorten(code) + " " + shorten(detail))}, nil
}

// instantOf reads a point in time, which the shape gate has let through; zero if
// there is none.
func instantOf(el *etree.Element, name string) time.Time {
	t, _ := time.Parse(time.RFC3339, el.SelectAttrValue(name, ""))
	return t
}

// shorten bounds what a stranger wrote, for a trace.
func shorten(s string) string {
	const most = 300
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
