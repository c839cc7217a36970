package saml

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"
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

// checkLogoutMetadata comes first: keys of metadata that has ended verify nothing.
func (sp *ServiceProvider) checkLogoutMetadata(j *logoutJudgement) (finding, error) {
	found := finding{want: "metadata of " + sp.idp.entityID + " in force"}
	if err := sp.checkFresh(j.now); err != nil {
		return found, refusef(CodeIdPMetadataExpired, "judging a logout message: %w", err)
	}
	return found, nil
}

// checkLogoutRoot parses the message, which has passed the stream gate.
func (sp *ServiceProvider) checkLogoutRoot(j *logoutJudgement) (finding, error) {
	found := finding{want: "a SAML 2.0 " + j.shape().tag}
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(j.raw); err != nil {
		return found, refusef(CodeXML, "parsing XML: %s", quotable(err.Error()))
	}
	if j.root = doc.Root(); j.root == nil || !j.shape().matches(j.root) {
		return found, refusef(CodeRoot, "root element is not a SAML 2.0 %s", j.shape().tag)
	}
	if j.trace != nil {
		j.trace.ID, j.trace.Issued = quotable(j.root.SelectAttrValue("ID", "")), instantOf(j.root, "IssueInstant")
	}
	return found, nil
}

// checkLogoutStructure lets one plain message through.
func (sp *ServiceProvider) checkLogoutStructure(j *logoutJudgement) (finding, error) {
	found := finding{want: "one plain message, every ID once"}
	if err := j.shape().check(j.root); err != nil {
		return found, err
	}
	return found, checkIDs(j.root)
}

// checkLogoutHead wants what every message has, and its Issuer first.
func (sp *ServiceProvider) checkLogoutHead(j *logoutJudgement) (finding, error) {
	found := finding{want: "version 2.0, with ID, IssueInstant and Issuer"}
	if err := checkHead(j.root); err != nil {
		return found, err
	}
	if j.root.SelectAttr("IssueInstant") == nil {
		return found, refusef(CodeMissing, "%s without an IssueInstant", j.root.Tag)
	}
	return found, checkIssuerForm(j.root)
}

// checkLogoutSignature verifies the one signature that the message must have: over
// the query if it came in one, else in the message. From here on, the message is
// what was signed.
func (sp *ServiceProvider) checkLogoutSignature(j *logoutJudgement) (finding, error) {
	if j.query != nil {
		return sp.checkQuerySignature(j)
	}
	found := finding{want: "the message signed by a key of the metadata"}
	el := childOf(j.root, nsDsig, "Signature")
	if el == nil {
		return found, refusef(CodeUnsigned, "%s is not signed", j.root.Tag)
	}
	if err := checkSignature(j.root, el); err != nil {
		return found, err
	}
	s, err := readSignature(el)
	if err != nil {
		return found, refusef(CodeSignatureShape, "reading the signature of the %s: %w", j.root.Tag, err)
	}
	signer, err := sp.signerOf(j, s)
	if err != nil {
		return found, err
	}
	signed, err := signer.validate(j.root)
	if err != nil {
		return found, libraryRefusal(err)
	}
	if err := checkSignedElement(j, signed); err != nil {
		return found, err
	}
	j.root, found.got = signed, s.algorithm.String()
	return found, nil
}

// checkQuerySignature is for HTTP-Redirect, where a message has no signature in it:
// saml-bindings 3.4.4.1 takes it out.
func (sp *ServiceProvider) checkQuerySignature(j *logoutJudgement) (finding, error) {
	found := finding{want: "the query signed by a key of the metadata"}
	if childOf(j.root, nsDsig, "Signature") != nil {
		return found, refusef(CodeSignatureShape, "%s in a query with a signature in it", j.root.Tag)
	}
	if _, err := sp.signerOf(j, j.query.signature); err != nil {
		return found, err
	}
	found.got = j.query.signature.algorithm.String()
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
	found := finding{want: sp.idp.entityID, got: issuer}
	if issuer != sp.idp.entityID {
		return found, refusef(CodeIssuer, "%s by %.300q, expected %q", j.root.Tag, issuer, sp.idp.entityID)
	}
	return found, nil
}

// checkLogoutDestination: a signed message must say where it goes (saml-bindings
// 3.4.5.2 and 3.5.5.2), or it could be taken to another service of the same person.
func (sp *ServiceProvider) checkLogoutDestination(j *logoutJudgement) (finding, error) {
	destination := j.root.SelectAttrValue("Destination", "")
	found := finding{want: cmp.Or(sp.sloURL, "no logout message at all"), got: destination}
	if destination == "" || destination != sp.sloURL {
		return found, refusef(CodeDestination, "%s for %.300q, expected %q", j.root.Tag, destination, sp.sloURL)
	}
	return found, nil
}

// checkLogoutAge bounds the age, as for an assertion.
func (sp *ServiceProvider) checkLogoutAge(j *logoutJudgement) (finding, error) {
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
	found := finding{want: "none, or later than " + stamp(j.now)}
	if end.IsZero() {
		return found, nil
	}
	found.got = stamp(end)
	if !j.now.Add(-sp.skew).Before(end) {
		return found, refusef(CodeExpired, "%s ended at %s, %s ago", j.root.Tag, stamp(end), j.now.Sub(end))
	}
	return found, nil
}

// checkLogoutInResponseTo: nothing is an answer that this browser did not ask for.
func (sp *ServiceProvider) checkLogoutInResponseTo(j *logoutJudgement) (finding, error) {
	answers := j.root.SelectAttrValue("InResponseTo", "")
	found := finding{want: cmp.Or(j.requestID, "no answer: this browser has begun no logout"), got: answers}
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
	found := finding{want: "a NameID that can be shown"}
	el := childOf(j.root, nsAssertion, "NameID")
	s := Subject{
		NameID: textOf(el), Format: el.SelectAttrValue("Format", ""),
		NameQualifier: el.SelectAttrValue("NameQualifier", ""), SPNameQualifier: el.SelectAttrValue("SPNameQualifier", ""),
	}
	if s.NameID == "" {
		return found, refusef(CodeValue, "empty NameID")
	}
	if err := s.check(); err != nil {
		return found, err
	}
	j.request = LogoutRequest{ID: j.root.SelectAttrValue("ID", ""), RelayState: j.RelayState, Subject: s}
	return found, nil
}

// takeSessionIndexes reads which sessions are to end. An empty index would be one of
// which nobody knows whether it stands for all.
func (sp *ServiceProvider) takeSessionIndexes(j *logoutJudgement) (finding, error) {
	found := finding{want: "session indexes that can be shown, or none for all"}
	for _, el := range childrenOf(j.root, nsProtocol, "SessionIndex") {
		index := textOf(el)
		if index == "" {
			return found, refusef(CodeValue, "empty SessionIndex")
		}
		if err := checkValue(index); err != nil {
			return found, refusef(CodeValue, "reading the SessionIndex: %w", err)
		}
		j.request.SessionIndexes = append(j.request.SessionIndexes, index)
	}
	found.got = fmt.Sprintf("%d of them", len(j.request.SessionIndexes))
	return found, nil
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
	return finding{want: statusSuccess, got: strings.TrimSpace(code + " " + detail)}, nil
}

// instantOf reads a point in time, which the shape gate has let through; zero if
// there is none.
func instantOf(el *etree.Element, name string) time.Time {
	t, _ := time.Parse(time.RFC3339, el.SelectAttrValue(name, ""))
	return t
}
