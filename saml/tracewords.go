package saml

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/russellhaering/gosaml2/types"
)

// tell records a check in the trace, in words. A check that refused says why by its
// refusal; one that passed says what it saw.
func (j *judgement) tell(prefix, name string, err error) {
	t := j.want.Trace
	if t == nil {
		return
	}
	j.note(name, err)
	c := Check{Name: prefix + name}
	if describe := words[name]; describe != nil {
		c.Want, c.Got = describe(j)
	}
	refusal, refused := errors.AsType[*Refusal](err)
	if !refused {
		t.add(c)
		return
	}
	if at := blamed(name, refusal.Code); at != name {
		// The library verifies the signature and then looks at what was signed.
		t.add(c)
		c = Check{Name: at}
		if describe := words[at]; describe != nil {
			c.Want, _ = describe(j)
		}
	}
	c.Code, c.Got = refusal.Code, told(name, refusal)
	t.add(c)
}

// blamed is which check a refusal belongs to.
func blamed(name, code string) string {
	if name != "signature" {
		return name
	}
	switch code {
	case CodeIssuer:
		return "issuer"
	case CodeDestination:
		return "destination"
	case CodeRecipient:
		return "recipient"
	case CodeSubjectConfirmation:
		return "confirmation"
	case CodeExpired:
		return "confirmation times"
	}
	return name
}

// onlyInTheLog stands in a trace for a text that may have a value of a person in it.
const onlyInTheLog = "a value that only the log quotes"

// told is the text of a refusal, unless a value of a person may be in it: then that
// stays in the log.
func told(name string, r *Refusal) string {
	if name == "domain" || name == "identity" && r.Code != CodeUser && r.Code != CodeTransient {
		return onlyInTheLog
	}
	return r.Err.Error()
}

// note keeps what a trace has besides its checks.
func (j *judgement) note(name string, err error) {
	t := j.want.Trace
	switch {
	case name == "root" && j.root != nil && !j.opened:
		t.describe(j.root)
	case name == "encryption" && err == nil:
		t.Encrypted = j.sealed.describe()
	case name == "response signature" && err == nil:
		t.Certificate = fingerprint(j.verifier.cert.Raw)
	case name == "signature" && err == nil:
		t.Certificate = fingerprint(j.verifier.cert.Raw)
		t.Attributes = tracedAttributes(j.response.Assertions)
	}
}

// tracedAttributes are names and how many values each has.
func tracedAttributes(assertions []types.Assertion) []TracedAttribute {
	var all []TracedAttribute
	for _, a := range assertions {
		if a.AttributeStatement == nil {
			continue
		}
		for _, attribute := range a.AttributeStatement.Attributes {
			all = append(all, TracedAttribute{Name: quotable(attribute.Name), Values: len(attribute.Values)})
		}
	}
	return all
}

// description is what a check wants and what came.
type description func(*judgement) (want, got string)

// words say what each check wants, and what it got if it passed. They are asked for
// once the check was made, and only for a trace. A check without words is recorded
// by its name alone.
var words = map[string]description{
	"metadata": func(j *judgement) (string, string) {
		if j.sp.idp.validUntil.IsZero() {
			return "metadata of " + j.sp.idp.entityID + " in force", "no end"
		}
		return "metadata of " + j.sp.idp.entityID + " in force", "until " + stamp(j.sp.idp.validUntil)
	},
	"body": func(j *judgement) (string, string) {
		return fmt.Sprintf("base64 of XML, at most %d bytes", maxResponseSize), fmt.Sprintf("%d bytes", len(j.raw))
	},
	"stream": func(j *judgement) (string, string) {
		return "one well-formed element, within limits, without a comment or a document type", fmt.Sprintf("%d bytes", len(j.raw))
	},
	"root":           constant("a SAML 2.0 Response", "it is one"),
	"status":         constant(statusSuccess, "success"),
	"structure":      wordsOfStructure,
	"identifiers":    constant("every ID once", "so it is"),
	"version":        constant("version 2.0, with ID and IssueInstant", "so it is"),
	"issuer format":  constant("the format of an entity", "so it is"),
	"signature form": wordsOfSignatures,

	"response certificate": wordsOfCertificate,
	"response signature":   constant("to cover the response, before anything is decrypted", "verified"),
	"encryption": func(j *judgement) (string, string) {
		got := ""
		if j.sealed != nil {
			got = j.sealed.describe()
		}
		return "AES-GCM, or AES-CBC in a signed response; key by RSA-OAEP", got
	},
	"decryption": func(j *judgement) (string, string) {
		return "one of our keys to open it", "opened"
	},
	"certificate": wordsOfCertificate,
	"signature":   constant("to cover what is used", "verified"),

	"issuer":        func(j *judgement) (string, string) { return j.sp.idp.entityID, "" },
	"recipient":     func(j *judgement) (string, string) { return j.sp.acsURL, "" },
	"confirmation":  constant("bearer, without a NotBefore", "so it is"),
	"one assertion": constant("the one that was gated", "so it is"),
	"destination": func(j *judgement) (string, string) {
		if j.response == nil {
			return j.sp.acsURL, ""
		}
		return j.sp.acsURL, j.response.Destination
	},
	"request":            wordsOfRequest,
	"audience":           wordsOfAudience,
	"age":                wordsOfAge,
	"conditions":         wordsOfConditions,
	"confirmation times": wordsOfConfirmationTimes,
	"authentication":     wordsOfAuthentication,
	"identity":           wordsOfIdentity,
	"freshness":          wordsOfFreshness,
	"context":            wordsOfContext,
	"domain":             wordsOfDomain,
	"replay":             constant("an assertion not used before", "first use"),
}

func constant(want, got string) description {
	return func(*judgement) (string, string) { return want, got }
}

func wordsOfStructure(j *judgement) (string, string) {
	want := "one assertion, in the clear"
	if len(j.sp.decryption) > 0 && !j.opened {
		want = "one assertion, in the clear or encrypted"
	}
	if j.encrypted != nil {
		return want, "an encrypted one"
	}
	return want, "one in the clear"
}

func wordsOfSignatures(j *judgement) (string, string) {
	want := "response, assertion or both signed, each in its place, with algorithms that are allowed"
	switch {
	case j.env == nil:
		return want, ""
	case j.vouched != nil && len(j.env.signatures) == 0:
		return want, "response signed, around the encrypted assertion"
	case j.vouched != nil:
		return want, "both signed"
	case len(j.env.signatures) == 0:
		return want, "none on the response"
	}
	return want, signedParts(j)
}

// signedParts says which of the two are signed, of a response with a signature.
func signedParts(j *judgement) string {
	switch {
	case !j.env.responseSigned:
		return "assertion signed"
	case len(j.env.signatures) == 1:
		return "response signed"
	}
	return "both signed"
}

func wordsOfCertificate(j *judgement) (string, string) {
	var known []string
	for _, v := range j.sp.verifiers {
		known = append(known, fingerprint(v.cert.Raw)[:16])
	}
	want := "one of the metadata's: " + strings.Join(known, ", ")
	if j.verifier == nil {
		return want, ""
	}
	return want, fingerprint(j.verifier.cert.Raw)[:16]
}

// first is the verified assertion; nil if there is none yet.
func (j *judgement) first() *types.Assertion {
	if j.response == nil || len(j.response.Assertions) == 0 {
		return nil
	}
	return &j.response.Assertions[0]
}

func wordsOfRequest(j *judgement) (string, string) {
	want := "an answer to " + j.want.RequestID
	if j.want.RequestID == "" {
		want = "an answer to no request"
	}
	return want, j.first().Subject.SubjectConfirmation.SubjectConfirmationData.InResponseTo
}

func wordsOfAudience(j *judgement) (string, string) {
	var named []string
	for _, restriction := range j.first().Conditions.AudienceRestrictions {
		for _, audience := range restriction.Audiences {
			named = append(named, audience.Value)
		}
	}
	return j.sp.entityID, strings.Join(slices.Compact(named), ", ")
}

func wordsOfAge(j *judgement) (string, string) {
	issued := j.first().IssueInstant
	return fmt.Sprintf("issued at most %s ago, with a skew of %s", maxAssertionAge, j.sp.skew),
		fmt.Sprintf("%s, %s ago", stamp(issued), j.now.Sub(issued).Round(time.Second))
}

func wordsOfConditions(j *judgement) (string, string) {
	c := j.first().Conditions
	return "to hold at " + stamp(j.now), fmt.Sprintf("from %s to %s", orNone(c.NotBefore), orNone(c.NotOnOrAfter))
}

func wordsOfConfirmationTimes(j *judgement) (string, string) {
	want := "to hold at " + stamp(j.now)
	if j.first() == nil {
		return want, ""
	}
	return want, "to " + j.first().Subject.SubjectConfirmation.SubjectConfirmationData.NotOnOrAfter
}

func wordsOfAuthentication(j *judgement) (string, string) {
	want := "an authentication in the past, of a session that goes on"
	if most := j.authnAge(); most != 0 {
		want = fmt.Sprintf("an authentication at most %s ago, of a session that goes on", most)
	}
	s := j.first().AuthnStatement
	if s == nil || s.AuthnInstant == nil {
		return want, "none"
	}
	got := fmt.Sprintf("%s, %s ago", stamp(*s.AuthnInstant), j.now.Sub(*s.AuthnInstant).Round(time.Second))
	if s.SessionNotOnOrAfter != nil {
		got += ", session to " + stamp(*s.SessionNotOnOrAfter)
	}
	return want, got
}

// wordsOfIdentity says too why there is no e-mail address, if there are several.
func wordsOfIdentity(j *judgement) (string, string) {
	want := "user name in one of " + strings.Join(j.sp.attributes.User, ", ")
	if j.principal == nil {
		return want, "found"
	}
	source := attributeSource{p: j.principal, values: mergeAttributes(j.first().AttributeStatement)}
	if from, values, err := source.first(j.sp.attributes.Email); err == nil && len(values) > 1 {
		return want, fmt.Sprintf("found, without an e-mail address: %q has %d values", from, len(values))
	}
	return want, "found"
}

func wordsOfFreshness(j *judgement) (string, string) {
	want := "no new authentication was asked for"
	if j.want.SignOn.ForceAuthn {
		want = "an authentication since the request at " + stamp(j.want.RequestedAt)
	}
	s := j.first().AuthnStatement
	if s == nil || s.AuthnInstant == nil {
		return want, "none"
	}
	return want, stamp(*s.AuthnInstant)
}

func wordsOfContext(j *judgement) (string, string) {
	want := "no way of authentication was asked for"
	if c := j.want.SignOn.AuthnContext.or(j.sp.authnContext); c.demands() {
		want = "one of " + strings.Join(c.Classes, ", ")
	}
	return want, orNone(authnContextClass(j.first().AuthnStatement))
}

func wordsOfDomain(j *judgement) (string, string) {
	if j.sp.userDomains == nil {
		return "any domain", "no matter"
	}
	return "user name and e-mail address in one of " + strings.Join(j.sp.userDomains, ", "), "so they are"
}

func orNone(s string) string { return cmp.Or(s, "none") }
