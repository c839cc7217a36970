package saml

import (
	"strings"

	"github.com/beevik/etree"
)

const statusPrefix = "urn:oasis:names:tc:SAML:2.0:status:"

const (
	statusSuccess   = statusPrefix + "Success"
	statusNoPassive = statusPrefix + "NoPassive"
)

// statusAdvice says what an operator can do about the second-level codes that
// identity providers send in answer to a sign-on (saml-core 3.2.2.2).
var statusAdvice = map[string]string{
	statusNoPassive:                      "the person has no session there and was not to be asked: begin a sign-on that is not passive",
	statusPrefix + "AuthnFailed":         "the person did not prove who they are, or left: let them try again",
	statusPrefix + "InvalidNameIDPolicy": "it cannot make a NameID of the format that we ask for: ask for another one, or for none",
	statusPrefix + "NoAuthnContext":      "it cannot authenticate in the way that we ask for: ask for a context that it knows, or turn that way on there for the person",
	statusPrefix + "RequestDenied":       "it does not serve us or this person: assign the person to this service there",
	statusPrefix + "UnknownPrincipal":    "it does not know the person: add them to the directory there",
	statusPrefix + "RequestUnsupported":  "it does not understand the request: store our current metadata there",
	statusPrefix + "UnsupportedBinding":  "it cannot answer by HTTP-POST: turn that binding on for this service there",
}

// defaultAdvice is for all other codes.
const defaultAdvice = "its own log has the reason; often our metadata there is old"

// statusRefusal reports a failure in the identity provider's own words. NoPassive
// has a code of its own, because the answer to it is another request.
func statusRefusal(status, code *etree.Element) *Refusal {
	first, second := valueOf(code), valueOf(childOf(code, nsProtocol, "StatusCode"))
	refusal := CodeStatus
	if first == statusNoPassive || second == statusNoPassive {
		refusal, second = CodeNoPassive, statusNoPassive
	}
	advice, ok := statusAdvice[second]
	if !ok {
		advice = defaultAdvice
	}
	return refusef(refusal, "identity provider reports %.200q, %.200q, message %.200q: %s",
		strings.TrimPrefix(first, statusPrefix), strings.TrimPrefix(second, statusPrefix),
		textOf(childOf(status, nsProtocol, "StatusMessage")), advice)
}
