package saml

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/beevik/etree"
)

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

// checkMetadata comes first: keys of metadata that has ended verify nothing.
func (j *logoutJudgement) checkMetadata() error {
	j.found = finding{want: "metadata of " + j.sp.idp.entityID + " in force"}
	if err := j.sp.checkFresh(j.now); err != nil {
		return refusef(CodeIdPMetadataExpired, "judging a logout message: %w", err)
	}
	return nil
}

// checkRoot reads the message, which has passed the stream gate.
func (j *logoutJudgement) checkRoot() (err error) {
	j.found = finding{want: "a SAML 2.0 " + j.shape().tag}
	if j.root, err = readRoot(j.raw, j.shape()); err == nil {
		j.trace.describe(j.root)
	}
	return err
}

// checkStructure lets one plain message through.
func (j *logoutJudgement) checkStructure() error {
	j.found = finding{want: "one plain message, every ID once"}
	if err := j.shape().check(j.root); err != nil {
		return err
	}
	return checkIDs(j.root)
}

// checkHead wants what every message has, and its Issuer first.
func (j *logoutJudgement) checkHead() error {
	j.found = finding{want: "version 2.0, with ID, IssueInstant and Issuer"}
	if err := checkHead(j.root); err != nil {
		return err
	}
	if j.root.SelectAttr("IssueInstant") == nil {
		return refusef(CodeMissing, "%s without an IssueInstant", j.root.Tag)
	}
	return checkIssuerForm(j.root)
}

// checkSignature verifies the one signature that the message must have: over
// the query if it came in one, else in the message. From here on, the message is
// what was signed.
func (j *logoutJudgement) checkSignature() error {
	if j.query != nil {
		return j.checkQuerySignature()
	}
	j.found = finding{want: "the message signed by a key of the metadata"}
	el := childOf(j.root, nsDsig, "Signature")
	if el == nil {
		return refusef(CodeUnsigned, "%s is not signed", j.root.Tag)
	}
	if err := checkSignature(j.root, el); err != nil {
		return err
	}
	s, err := readSignature(el)
	if err != nil {
		return refusef(CodeSignatureShape, "reading the signature of the %s: %w", j.root.Tag, err)
	}
	signer, err := j.signerOf(s)
	if err != nil {
		return err
	}
	signed, err := signer.validate(j.root)
	if err != nil {
		return libraryRefusal(err)
	}
	if err := j.checkSignedElement(signed); err != nil {
		return err
	}
	j.root, j.found.got = signed, s.algorithm.String()
	return nil
}

// checkQuerySignature is for HTTP-Redirect, where a message has no signature in it:
// saml-bindings 3.4.4.1 takes it out.
func (j *logoutJudgement) checkQuerySignature() error {
	j.found = finding{want: "the query signed by a key of the metadata"}
	if childOf(j.root, nsDsig, "Signature") != nil {
		return refusef(CodeSignatureShape, "%s in a query with a signature in it", j.root.Tag)
	}
	if _, err := j.signerOf(j.query.signature); err != nil {
		return err
	}
	j.found.got = j.query.signature.algorithm.String()
	return nil
}

// signerOf returns the certificate whose key made a signature.
func (j *logoutJudgement) signerOf(s signature) (*verifier, error) {
	v, err := j.sp.chooseVerifier(&envelope{signatures: []signature{s}}, j.now)
	if err == nil && j.trace != nil {
		j.trace.Certificate = fingerprint(v.cert.Raw)
	}
	return v, err
}

// checkSignedElement makes sure that what was verified is what was gated.
func (j *logoutJudgement) checkSignedElement(signed *etree.Element) error {
	if signed == nil || !j.shape().matches(signed) || signed.SelectAttrValue("ID", "") != j.root.SelectAttrValue("ID", "") {
		return refusef(CodeInternal, "another element was verified than the %s that was gated", j.root.Tag)
	}
	return j.shape().check(signed)
}

// checkIssuer compares byte for byte.
func (j *logoutJudgement) checkIssuer() error {
	issuer := textOf(childOf(j.root, nsAssertion, "Issuer"))
	j.found = finding{want: j.sp.idp.entityID, got: issuer}
	if issuer != j.sp.idp.entityID {
		return refusef(CodeIssuer, "%s by %.300q, expected %q", j.root.Tag, issuer, j.sp.idp.entityID)
	}
	return nil
}

// checkDestination: a signed message must say where it goes (saml-bindings
// 3.4.5.2 and 3.5.5.2), or it could be taken to another service of the same person.
func (j *logoutJudgement) checkDestination() error {
	destination := j.root.SelectAttrValue("Destination", "")
	j.found = finding{want: cmp.Or(j.sp.sloURL, "no logout message at all"), got: destination}
	if destination == "" || destination != j.sp.sloURL {
		return refusef(CodeDestination, "%s for %.300q, expected %q", j.root.Tag, destination, j.sp.sloURL)
	}
	return nil
}

// checkAge bounds the age, as for an assertion.
func (j *logoutJudgement) checkAge() error {
	issued := instantOf(j.root, "IssueInstant")
	j.found = finding{want: fmt.Sprintf("%s, at most %s ago", stamp(j.now), maxLogoutAge), got: stamp(issued)}
	if issued.After(j.now.Add(j.sp.skew)) {
		return refusef(CodeNotYetValid, "%s issued at %s, %s ahead of our clock", j.root.Tag, stamp(issued), issued.Sub(j.now))
	}
	if age := j.now.Sub(issued); age > maxLogoutAge+j.sp.skew {
		return refusef(CodeExpired, "%s issued at %s, %s ago, at most %s are allowed", j.root.Tag, stamp(issued), age, maxLogoutAge+j.sp.skew)
	}
	return nil
}

// checkEnd: a request may say when it ends (saml-core 3.7.1).
func (j *logoutJudgement) checkEnd() error {
	end := instantOf(j.root, "NotOnOrAfter")
	j.found = finding{want: "none, or later than " + stamp(j.now)}
	if end.IsZero() {
		return nil
	}
	j.found.got = stamp(end)
	if !j.now.Add(-j.sp.skew).Before(end) {
		return refusef(CodeExpired, "%s ended at %s, %s ago", j.root.Tag, stamp(end), j.now.Sub(end))
	}
	return nil
}

// checkInResponseTo: nothing is an answer that this browser did not ask for.
func (j *logoutJudgement) checkInResponseTo() error {
	answers := j.root.SelectAttrValue("InResponseTo", "")
	j.found = finding{want: cmp.Or(j.requestID, "no answer: this browser has begun no logout"), got: answers}
	switch {
	case j.requestID == "":
		return refusef(CodeInResponseTo, "this browser has begun no logout")
	case answers != j.requestID:
		return refusef(CodeInResponseTo, "answers the request %.100q, this browser began %.100q", answers, j.requestID)
	}
	return nil
}

// takeSubject reads the name by the rule for every name: what we would not
// have let sign on, we have no session of.
func (j *logoutJudgement) takeSubject() error {
	j.found = finding{want: "a NameID that can be shown"}
	el := childOf(j.root, nsAssertion, "NameID")
	s := Subject{
		NameID: textOf(el), Format: el.SelectAttrValue("Format", ""),
		NameQualifier: el.SelectAttrValue("NameQualifier", ""), SPNameQualifier: el.SelectAttrValue("SPNameQualifier", ""),
	}
	if s.NameID == "" {
		return refusef(CodeValue, "empty NameID")
	}
	if err := s.check(); err != nil {
		return err
	}
	j.request = LogoutRequest{ID: j.root.SelectAttrValue("ID", ""), RelayState: j.RelayState, Subject: s}
	return nil
}

// takeSessionIndexes reads which sessions are to end. An empty index would be one of
// which nobody knows whether it stands for all.
func (j *logoutJudgement) takeSessionIndexes() error {
	j.found = finding{want: "session indexes that can be shown, or none for all"}
	for _, el := range childrenOf(j.root, nsProtocol, "SessionIndex") {
		index := textOf(el)
		if index == "" {
			return refusef(CodeValue, "empty SessionIndex")
		}
		if err := checkValue(index); err != nil {
			return refusef(CodeValue, "reading the SessionIndex: %w", err)
		}
		j.request.SessionIndexes = append(j.request.SessionIndexes, index)
	}
	j.found.got = fmt.Sprintf("%d of them", len(j.request.SessionIndexes))
	return nil
}

// takeStatus refuses nothing: an answer that says no is an answer. That some
// participant was not reached stands at the second level (saml-core 3.2.2.2).
func (j *logoutJudgement) takeStatus() error {
	status := childOf(j.root, nsProtocol, "Status")
	top := childOf(status, nsProtocol, "StatusCode")
	code, detail := valueOf(top), valueOf(childOf(top, nsProtocol, "StatusCode"))
	j.response.Failed = code != statusSuccess
	j.response.Partial = code == statusPartialLogout || detail == statusPartialLogout
	if j.response.Failed || j.response.Partial {
		j.response.Status = fmt.Sprintf("%.200q, %.200q, message %.200q", code, detail, textOf(childOf(status, nsProtocol, "StatusMessage")))
	}
	j.found = finding{want: statusSuccess, got: strings.TrimSpace(code + " " + detail)}
	return nil
}
