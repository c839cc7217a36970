package saml

import (
	"bytes"
	"cmp"
	"compress/flate"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/russellhaering/gosaml2/types"
)

// ResponseInspection is what a captured response is held against. The zero value
// holds it against what it says itself.
type ResponseInspection struct {
	// IdPMetadata, if not nil, verifies the signatures. IdPEntityID chooses one
	// identity provider of several in it.
	IdPMetadata []byte
	IdPEntityID string
	// EntityID and ACSURL are ours; empty takes what the response says for right.
	EntityID, ACSURL string
	// Decryption are keys to open an encrypted assertion with.
	Decryption []DecryptionKey
	// KeysElsewhere says that the keys are where nobody can use them now, as those of a
	// gateway are: an encrypted assertion is no problem then, and what is in it is not
	// checked. It counts only without Decryption.
	KeysElsewhere bool
	// Now is when the response is judged; zero takes its own IssueInstant, so that one
	// captured last week is not simply too old.
	Now time.Time
	// ClockSkew is as in [Config.ClockSkew].
	ClockSkew time.Duration
	// Values shows the values of a person: the subject and the attributes. Without it
	// there are names and numbers alone.
	Values bool
}

// InspectResponse explains a captured response: the value of SAMLResponse in
// base64, a form body with such a field, or the XML itself. Which one it is shows
// by itself. It asks nobody, keeps nothing and remembers no assertion.
//
// Unlike [ServiceProvider.Verify] it goes on behind a check that refuses, as far as
// the document can be read, to say everything that is wrong at once. So nothing in
// the explanation has been verified unless it says so.
func InspectResponse(raw []byte, opt ResponseInspection) (inspection Inspection) {
	defer func() {
		if p := recover(); p != nil {
			inspection.section("Fault of ours").add(MarkProblem, CodeInternal, "panic: %.150v", p)
		}
	}()
	i := &responseInspector{opt: opt, out: &inspection}
	document, ok := i.findDocument(raw)
	if !ok {
		return inspection
	}
	i.prepare(document)
	i.explainHead()
	i.explainChecks()
	i.explainSignatures()
	i.explainContents()
	if inspection.Problems() > 0 {
		inspection.section("What to do").add(MarkInfo, "", "docs/saml-refusals.md has a line for each code")
	}
	return inspection
}

// responseInspector is one inspection on its way.
type responseInspector struct {
	opt   ResponseInspection
	out   *Inspection
	j     *judgement
	head  *etree.Element // of what can be read without any check but the stream's
	trace Trace
	known error // why the metadata is of no use; nil if it is, or there is none
}

// findDocument finds the XML in what was captured.
func (i *responseInspector) findDocument(raw []byte) ([]byte, bool) {
	s := i.out.section("What was captured")
	if len(raw) > 4*maxBodySize {
		s.add(MarkProblem, "size", "%d bytes, more than any response", len(raw))
		return nil, false
	}
	trimmed := bytes.TrimSpace(raw)
	if bytes.HasPrefix(trimmed, []byte("<")) {
		s.add(MarkInfo, "form", "XML of %d bytes", len(trimmed))
		return trimmed, true
	}
	value := string(trimmed)
	if _, query, found := strings.Cut(value, "SAMLResponse="); found {
		value, _, _ = strings.Cut(query, "&")
		s.add(MarkInfo, "form", "form with a SAMLResponse")
	}
	if strings.Contains(value, "%") {
		if unescaped, err := url.PathUnescape(value); err == nil {
			value = unescaped
		}
	}
	document, err := decodeBase64(value)
	if err != nil {
		s.add(MarkProblem, "form", "neither XML nor base64 nor a form with a SAMLResponse: %s", err)
		return nil, false
	}
	s.add(MarkInfo, "encoding", "base64 of %d bytes", len(document))
	return i.inflate(s, document)
}

// inflate undoes what the HTTP-Redirect binding does, which must not be there.
func (i *responseInspector) inflate(s *Section, document []byte) ([]byte, bool) {
	if bytes.HasPrefix(bytes.TrimLeft(document, " \t\r\n"), []byte("<")) {
		return document, true
	}
	inflated, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(document)), maxResponseSize))
	if err != nil || len(inflated) == 0 {
		s.add(MarkProblem, "document", "it begins with %.20q, expected XML", document)
		return nil, false
	}
	s.add(MarkProblem, "deflated", "a response comes by HTTP-POST, where nothing is deflated: correct the binding at the identity provider")
	return inflated, true
}

// prepare makes the service provider that the response would have been sent to.
func (i *responseInspector) prepare(document []byte) {
	if checkStream(document, responseLimits()) == nil {
		doc := etree.NewDocument()
		if err := doc.ReadFromBytes(document); err == nil {
			i.head = doc.Root()
		}
	}
	now := i.opt.Now
	if now.IsZero() {
		now = i.issued()
	}
	sp := &ServiceProvider{
		entityID: cmp.Or(i.opt.EntityID, i.text("Audience"), i.attribute("EncryptedKey", "Recipient")),
		acsURL:   cmp.Or(i.opt.ACSURL, i.attribute("SubjectConfirmationData", "Recipient")),
		idp:      &identityProvider{entityID: i.text("Issuer")}, decryption: i.opt.Decryption,
		skew: i.opt.ClockSkew, now: func() time.Time { return now },
	}
	if i.sealed() {
		sp.decryption = make([]DecryptionKey, 1) // for the structure alone: nothing is opened
	}
	if i.opt.IdPMetadata != nil {
		cfg := Config{IdPMetadata: i.opt.IdPMetadata, IdPEntityID: i.opt.IdPEntityID, Now: sp.now}
		var idp *identityProvider
		if idp, i.known = cfg.identityProvider(); i.known == nil {
			sp.idp = idp
		}
	}
	for _, cert := range sp.idp.certificates {
		sp.verifiers = append(sp.verifiers, sp.newVerifier(cert))
	}
	i.trace.begin("Response", now)
	i.j = &judgement{sp: sp, now: now, post: Post{Response: base64.StdEncoding.EncodeToString(document)}, want: Expectation{Trace: &i.trace}}
}

// issued is the IssueInstant, or else the time of day.
func (i *responseInspector) issued() time.Time {
	issued, err := time.Parse(time.RFC3339, i.attribute("", "IssueInstant"))
	if err != nil {
		return time.Now()
	}
	return issued
}

// find returns the first element of that name in the response, nil if it cannot be
// read so far; the empty name is the response itself.
func (i *responseInspector) find(tag string) *etree.Element {
	root := i.head
	if i.j != nil && i.j.root != nil {
		root = i.j.root
	}
	if root == nil || tag == "" {
		return root
	}
	return root.FindElement(".//" + tag)
}

func (i *responseInspector) text(tag string) string { return textOf(i.find(tag)) }

func (i *responseInspector) attribute(tag, key string) string {
	el := i.find(tag)
	if el == nil {
		return ""
	}
	return el.SelectAttrValue(key, "")
}

// explainHead says what the response says about itself.
func (i *responseInspector) explainHead() {
	if i.head == nil {
		return
	}
	s := i.out.section("What it says about itself")
	s.say("element", i.head.Tag)
	s.say("ID", i.attribute("", "ID"))
	s.say("issued", i.attribute("", "IssueInstant"))
	s.say("issuer", i.text("Issuer"))
	s.say("destination", i.attribute("", "Destination"))
	s.say("answers", i.attribute("", "InResponseTo"))
	s.say("status", strings.TrimPrefix(i.attribute("StatusCode", "Value"), statusPrefix))
	s.say("status message", i.text("StatusMessage"))
}

// explainChecks makes the checks of [ServiceProvider.Verify], in their order.
func (i *responseInspector) explainChecks() {
	s := i.out.section("Checks as of " + stamp(i.j.now))
	i.explainAssumptions(s)
	i.makeChecks()
	i.checkProfile()
	for _, c := range i.trace.Checks {
		s.addCheck(c)
	}
	i.explainSkipped(s)
}

// makeChecks makes those before the profile, as far as they can be made here. What
// refuses is in the trace, here and below.
func (i *responseInspector) makeChecks() {
	if err := i.j.run(partOf(order, stepBody, stepOpening)...); err != nil || !i.verifiable() {
		return
	}
	end := stepComparison
	if i.sealed() && i.j.isEncrypted() {
		end = stepDecryption
	}
	_ = i.j.run(partOf(order, stepOpening, end)...)
}

// explainSkipped says which checks could not be made.
func (i *responseInspector) explainSkipped(s *Section) {
	if !i.verifiable() {
		s.add(MarkSkipped, "signature", "needs the identity provider's metadata")
	}
	switch {
	case !i.j.isEncrypted() || i.j.isOpened():
	case i.sealed():
		s.add(MarkSkipped, "decryption", "only the gateway has the key: its trace of this sign-on has the checks of what is inside")
	case !i.verifiable():
		s.add(MarkSkipped, "decryption", "needs the identity provider's metadata, and a key that opens it")
	}
}

// explainAssumptions says what was taken for right because nobody said otherwise.
func (i *responseInspector) explainAssumptions(s *Section) {
	if i.known != nil {
		s.add(MarkProblem, "metadata", "%s", i.known)
	}
	if i.opt.EntityID == "" && !i.isSealed() {
		s.add(MarkInfo, "taken for ours", "the audience %s", orNone(i.j.sp.entityID))
	}
	if i.opt.ACSURL == "" && !i.isSealed() {
		s.add(MarkInfo, "taken for ours", "the address %s", orNone(i.j.sp.acsURL))
	}
}

// sealed reports whether encrypted assertions are to stay so.
func (i *responseInspector) sealed() bool { return i.opt.KeysElsewhere && len(i.opt.Decryption) == 0 }

// isSealed reports whether this response has an assertion that stays encrypted.
func (i *responseInspector) isSealed() bool {
	return i.sealed() && i.find("EncryptedAssertion") != nil
}

func (i *responseInspector) verifiable() bool { return len(i.j.sp.verifiers) > 0 }

// checkProfile makes every check of the profile, whatever the others say, if the
// response has the structure that they rely on. Whom it answers nobody knows here.
func (i *responseInspector) checkProfile() {
	j := i.j
	if j.response == nil && !i.readUnverified() {
		return
	}
	j.want.RequestID = j.response.Assertions[0].Subject.SubjectConfirmation.SubjectConfirmationData.InResponseTo
	for _, p := range partOf(order, stepProfile, stepIdentity) {
		for _, s := range p.steps {
			if !slices.ContainsFunc(i.trace.Checks, func(c Check) bool { return c.Name == s.name }) {
				_ = j.run(phase{steps: []step{s}})
			}
		}
	}
}

// readUnverified reads a response of the right structure without its signature
// being verified.
func (i *responseInspector) readUnverified() bool {
	j := i.j
	structured := slices.ContainsFunc(i.trace.Checks, func(c Check) bool { return strings.HasSuffix(c.Name, "structure") && c.Code == "" })
	if !structured || j.assertion == nil {
		return false
	}
	response := &types.Response{}
	if err := xml.Unmarshal(j.raw, response); err != nil || len(response.Assertions) != 1 {
		return false
	}
	response.SignatureValidated = childOf(j.root, nsDsig, "Signature") != nil || j.vouched != nil
	j.response = response
	return true
}

// addCheck adds a check of a trace.
func (s *Section) addCheck(c Check) {
	if c.Code == "" {
		s.add(MarkPassed, c.Name, "%s", c.Got)
		return
	}
	s.add(MarkProblem, c.Name, "%s: %s", c.Code, c.Got) // the code first, as what is long is cut
	if c.Want != "" {
		s.add(MarkInfo, "", "expected %s", c.Want)
	}
}

// explainSignatures says who signed what, as the response has it.
func (i *responseInspector) explainSignatures() {
	if i.head == nil {
		return
	}
	s := i.out.section("Signatures")
	found := i.head.FindElements(".//Signature")
	if i.j.opened && i.j.assertion != nil {
		found = append(found, i.j.assertion.FindElements("./Signature")...)
	}
	for _, sig := range found[:min(len(found), 4)] {
		of := sig.Parent().Tag
		if method := sig.FindElement("./SignedInfo/SignatureMethod"); method != nil {
			s.say(of, "signed with "+shortAlgorithm(algorithmOf(method)))
		}
		if method := sig.FindElement("./SignedInfo/Reference/DigestMethod"); method != nil {
			s.say("", "digest "+shortAlgorithm(algorithmOf(method)))
		}
		s.explainCertificate(sig.FindElement(".//X509Certificate"))
	}
	if len(found) == 0 {
		s.add(MarkInfo, "", "none that can be seen")
	}
	if i.trace.Certificate != "" {
		s.add(MarkPassed, "verified", "by the metadata's certificate %s", i.trace.Certificate)
	}
	s.say("encrypted", i.trace.Encrypted)
}

// explainCertificate says what a certificate in a document is.
func (s *Section) explainCertificate(el *etree.Element) {
	if el == nil {
		s.say("", "no certificate in it")
		return
	}
	cert, err := readCertificate(el)
	if err != nil {
		s.add(MarkProblem, "certificate", "%s", err)
		return
	}
	s.say("certificate", fingerprint(cert.Raw))
	s.say("", describeCertificate(cert))
}

// explainContents says what the assertion is about: names and numbers, and values
// if they were asked for.
func (i *responseInspector) explainContents() {
	if i.head == nil {
		return
	}
	s := i.out.section("The assertion")
	if i.find("Assertion") == nil {
		s.add(MarkInfo, "", "%s", i.withoutAssertion())
		return
	}
	s.say("audience", i.text("Audience"))
	s.say("recipient", i.attribute("SubjectConfirmationData", "Recipient"))
	s.say("answers", i.attribute("SubjectConfirmationData", "InResponseTo"))
	s.say("holds", fmt.Sprintf("from %s to %s", orNone(i.attribute("Conditions", "NotBefore")), orNone(i.attribute("Conditions", "NotOnOrAfter"))))
	s.say("confirmation", "to "+orNone(i.attribute("SubjectConfirmationData", "NotOnOrAfter")))
	s.say("authenticated", i.attribute("AuthnStatement", "AuthnInstant"))
	s.say("session to", i.attribute("AuthnStatement", "SessionNotOnOrAfter"))
	s.say("context", i.text("AuthnContextClassRef"))
	s.say("NameID format", cmp.Or(i.attribute("NameID", "Format"), "not said"))
	if i.opt.Values {
		s.say("NameID", i.text("NameID"))
	}
	for _, attribute := range i.find("").FindElements(".//AttributeStatement/Attribute") {
		i.explainAttribute(s, attribute)
	}
}

// withoutAssertion says why there is none to be read.
func (i *responseInspector) withoutAssertion() string {
	if i.isSealed() {
		return "encrypted, as it should be if the gateway has the key: nobody else can read it"
	}
	return "none in the clear"
}

func (i *responseInspector) explainAttribute(s *Section, attribute *etree.Element) {
	values := attribute.SelectElements("AttributeValue")
	s.add(MarkInfo, "attribute", "%s: %d values", attribute.SelectAttrValue("Name", ""), len(values))
	if !i.opt.Values {
		return
	}
	for _, value := range values {
		s.add(MarkInfo, "", "%s", value.Text())
	}
}
