package saml

import (
	"strings"

	"github.com/beevik/etree"
)

// checkRoot reads the response.
func (j *judgement) checkRoot() (err error) {
	j.root, err = readRoot(j.raw, &responseShape)
	return err
}

// checkStructure lets only one plain response through. An encrypted assertion is
// one of the possible structures if we have a key for it; what came out of it is
// not encrypted once more.
func (j *judgement) checkStructure() error {
	j.assertion, j.encrypted = nil, nil
	structure := &responseShape
	if len(j.sp.decryption) > 0 && !j.opened && childOf(j.root, nsAssertion, "EncryptedAssertion") != nil {
		structure = &encryptedResponseShape
	}
	if err := structure.check(j.root); err != nil {
		return err
	}
	j.assertion = childOf(j.root, nsAssertion, "Assertion")
	j.encrypted = childOf(j.root, nsAssertion, "EncryptedAssertion")
	return nil
}

// statements are the elements that have an issuer and may have a signature: the
// response, and the assertion once it can be read.
func (j *judgement) statements() []*etree.Element {
	if j.assertion == nil {
		return []*etree.Element{j.root}
	}
	return []*etree.Element{j.root, j.assertion}
}

// checkStatus comes before the rest of the shape: an error report has no
// assertion, and its own words are what the operator needs. They are not
// verified, and nothing but the log depends on them.
func (j *judgement) checkStatus() error {
	for _, status := range childrenOf(j.root, nsProtocol, "Status") {
		for _, code := range childrenOf(status, nsProtocol, "StatusCode") {
			if valueOf(code) != statusSuccess {
				return statusRefusal(status, code)
			}
		}
	}
	return nil
}

// checkHeads wants the attributes that every message and assertion has.
func (j *judgement) checkHeads() error {
	for _, el := range j.statements() {
		if err := checkHead(el); err != nil {
			return err
		}
	}
	if j.assertion != nil && j.assertion.SelectAttr("IssueInstant") == nil {
		return refusef(CodeMissing, "assertion without an IssueInstant")
	}
	return nil
}

func checkHead(el *etree.Element) error {
	if v := el.SelectAttrValue("Version", ""); v != "2.0" {
		return refusef(CodeVersion, "%s of version %.100q, expected 2.0", el.Tag, v)
	}
	if el.SelectAttrValue("ID", "") == "" {
		return refusef(CodeID, "%s without an ID", el.Tag)
	}
	return nil
}

// checkIssuers holds the Format to the profile (saml-profiles 4.1.4.2); the
// value is compared after the signature was verified.
func (j *judgement) checkIssuers() error {
	for _, el := range j.statements() {
		if err := checkIssuerForm(el); err != nil {
			return err
		}
	}
	return nil
}

func checkIssuerForm(el *etree.Element) error {
	issuer := childOf(el, nsAssertion, "Issuer")
	if issuer == nil {
		return nil
	}
	if issuer != el.ChildElements()[0] {
		return refusef(CodeElement, "Issuer is not the first element of the %s", el.Tag)
	}
	if f := issuer.SelectAttrValue("Format", formatEntity); f != formatEntity {
		return refusef(CodeIssuer, "issuer of the %s has the format %.100q, expected an entity", el.Tag, f)
	}
	return nil
}

// checkConfirmation refuses NotBefore, which the profile forbids and which the
// library does not see.
func (j *judgement) checkConfirmation() error {
	if j.assertion == nil {
		return nil
	}
	confirmation := childOf(childOf(j.assertion, nsAssertion, "Subject"), nsAssertion, "SubjectConfirmation")
	if childOf(confirmation, nsAssertion, "SubjectConfirmationData").SelectAttr("NotBefore") != nil {
		return refusef(CodeSubjectConfirmation, "bearer confirmation with a NotBefore")
	}
	return nil
}

// checkIDs judges the IDs of the response.
func (j *judgement) checkIDs() error { return checkIDs(j.root) }

// checkIDs holds every attribute that anybody could take for an ID, wherever
// it is, to the form of one, and to being there once.
func checkIDs(root *etree.Element) error {
	seen := map[string]bool{}
	var walk func(el *etree.Element) error
	walk = func(el *etree.Element) error {
		for _, a := range el.Attr {
			if a.Space == "xmlns" || !strings.EqualFold(a.Key, "id") {
				continue
			}
			if len(a.Value) > maxIDLength || !ncName.MatchString(a.Value) {
				return refusef(CodeID, "%s of %.100q is %.100q, expected an XML name of at most %d bytes", a.Key, el.Tag, a.Value, maxIDLength)
			}
			if seen[a.Value] {
				return refusef(CodeID, "two elements with the ID %.100q", a.Value)
			}
			seen[a.Value] = true
		}
		for _, child := range el.ChildElements() {
			if err := walk(child); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(root)
}
