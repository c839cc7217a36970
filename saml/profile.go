package saml

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/russellhaering/gosaml2/types"
)

// profile holds a response with a verified signature against the profile
// (saml-profiles 4.1.4.3). The library has compared Issuer, Recipient and the
// confirmation method; of the rest it only warns, or says nothing.
//
// When only the assertion is signed, everything in the response around it is
// the browser's word. Nothing here lets anybody in because of that word.
var profile = []step{
	{name: "one assertion", run: (*judgement).checkOneAssertion},
	{name: "destination", run: (*judgement).checkDestination},
	{name: "request", run: (*judgement).checkInResponseTo},
	{name: "audience", run: (*judgement).checkAudience},
	{name: "age", run: (*judgement).checkIssueInstant},
	{name: "conditions", run: (*judgement).checkConditionTimes},
	{name: "confirmation times", run: (*judgement).checkConfirmationTimes},
	{name: "authentication", run: (*judgement).checkAuthnStatement},
	{name: "freshness", run: (*judgement).checkForced},
	{name: "context", run: (*judgement).checkAuthnContext},
}

// checkOneAssertion makes sure that what was verified is what was gated.
func (j *judgement) checkOneAssertion() error {
	if len(j.response.Assertions) != 1 {
		return refusef(CodeAssertions, "%d verified assertions, expected one", len(j.response.Assertions))
	}
	a := &j.response.Assertions[0]
	if a.ID != j.env.assertionID || (!a.SignatureValidated && !j.response.SignatureValidated) || j.response.SignatureValidated != j.env.responseSigned {
		return refusef(CodeInternal, "verified assertion %.100q, gated %.100q", a.ID, j.env.assertionID)
	}
	return nil
}

// checkDestination: a signed message must say where it goes (saml-bindings
// 3.5.5.2); the library has compared it if it is there.
func (j *judgement) checkDestination() error {
	if j.response.SignatureValidated && j.response.Destination == "" {
		return refusef(CodeDestination, "signed response without a Destination")
	}
	return nil
}

// checkInResponseTo reads the signed one. The response has one too: it must
// not say otherwise.
func (j *judgement) checkInResponseTo() error {
	if j.want.RequestID == "" {
		return j.checkUnsolicited()
	}
	confirmed := j.response.Assertions[0].Subject.SubjectConfirmation.SubjectConfirmationData.InResponseTo
	switch {
	case confirmed == "":
		return refusef(CodeInResponseTo, "unsolicited: the confirmation has no InResponseTo, expected %q", j.want.RequestID)
	case confirmed != j.want.RequestID:
		return refusef(CodeInResponseTo, "answers the request %.100q, this browser began %.100q", confirmed, j.want.RequestID)
	case j.response.InResponseTo != "" && j.response.InResponseTo != j.want.RequestID:
		return refusef(CodeInResponseTo, "response answers %.100q, its assertion %.100q", j.response.InResponseTo, confirmed)
	}
	return nil
}

// checkUnsolicited is for a browser that has begun no sign-on. An answer to a
// request is then somebody else's, whatever is allowed (saml-profiles 4.1.5).
func (j *judgement) checkUnsolicited() error {
	if !j.sp.unsolicited {
		return refusef(CodeInResponseTo, "this browser has begun no sign-on, and one that the identity provider began is not allowed")
	}
	for what, id := range map[string]string{
		"confirmation": j.response.Assertions[0].Subject.SubjectConfirmation.SubjectConfirmationData.InResponseTo, "response": j.response.InResponseTo,
	} {
		if id != "" {
			return refusef(CodeInResponseTo, "this browser has begun no sign-on, but the %s answers %.100q", what, id)
		}
	}
	return nil
}

// checkAudience wants at least one restriction, and ourselves in every one:
// restrictions are joined by "and", audiences in one by "or" (saml-core 2.5.1.4).
func (j *judgement) checkAudience() error {
	restrictions := j.response.Assertions[0].Conditions.AudienceRestrictions
	if len(restrictions) == 0 {
		return refusef(CodeAudience, "assertion for no audience")
	}
	for _, restriction := range restrictions {
		var named []string
		found := false
		for _, audience := range restriction.Audiences {
			named = append(named, audience.Value)
			found = found || audience.Value == j.sp.entityID
		}
		if !found {
			return refusef(CodeAudience, "assertion is for %.300q, expected %q", named, j.sp.entityID)
		}
	}
	return nil
}

// checkIssueInstant bounds the age, so that a response that was caught is soon
// worth nothing, and the replay memory may forget.
func (j *judgement) checkIssueInstant() error {
	issued := j.response.Assertions[0].IssueInstant
	if issued.After(j.now.Add(j.sp.skew)) {
		return refusef(CodeNotYetValid, "assertion issued at %s, %s ahead of our clock", stamp(issued), issued.Sub(j.now))
	}
	if age := j.now.Sub(issued); age > maxAssertionAge+j.sp.skew {
		return refusef(CodeExpired, "assertion issued at %s, %s ago, at most %s are allowed", stamp(issued), age, maxAssertionAge+j.sp.skew)
	}
	return nil
}

// checkConditionTimes: either end may be missing (saml-core 2.5.1.2), the age and
// the confirmation bound it then.
func (j *judgement) checkConditionTimes() error {
	a := &j.response.Assertions[0]
	if v := a.Conditions.NotBefore; v != "" {
		notBefore, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return refusef(CodeInstant, "reading NotBefore: %w", err)
		}
		if j.now.Add(j.sp.skew).Before(notBefore) {
			return refusef(CodeNotYetValid, "conditions hold from %s, %s ahead of our clock", stamp(notBefore), notBefore.Sub(j.now))
		}
	}
	if v := a.Conditions.NotOnOrAfter; v != "" {
		return j.checkEnd("conditions", v)
	}
	return nil
}

// checkConfirmationTimes: this end must be there, the library has seen to that.
func (j *judgement) checkConfirmationTimes() error {
	return j.checkEnd("confirmation", j.response.Assertions[0].Subject.SubjectConfirmation.SubjectConfirmationData.NotOnOrAfter)
}

// checkEnd: at the instant itself it is over. An end that is far away is an
// assertion that works for whoever finds it.
func (j *judgement) checkEnd(what, value string) error {
	end, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return refusef(CodeInstant, "reading NotOnOrAfter: %w", err)
	}
	if !j.now.Add(-j.sp.skew).Before(end) {
		return refusef(CodeExpired, "%s ended at %s, %s ago", what, stamp(end), j.now.Sub(end))
	}
	if lifetime := end.Sub(j.response.Assertions[0].IssueInstant); lifetime > maxAssertionLifetime {
		return refusef(CodeLifetime, "%s valid for %s, at most %s are allowed", what, lifetime, maxAssertionLifetime)
	}
	return nil
}

// checkAuthnStatement holds the session at the identity provider against the
// clock.
func (j *judgement) checkAuthnStatement() error {
	s := j.response.Assertions[0].AuthnStatement
	if s == nil || s.AuthnInstant == nil {
		return refusef(CodeAuthnStatement, "checking it: %w", errors.New("no AuthnInstant"))
	}
	if s.AuthnInstant.After(j.now.Add(j.sp.skew)) {
		return refusef(CodeNotYetValid, "AuthnInstant is %s, %s ahead of our clock", stamp(*s.AuthnInstant), s.AuthnInstant.Sub(j.now))
	}
	if age, most := j.now.Sub(*s.AuthnInstant), j.authnAge(); most != 0 && age > most+j.sp.skew {
		return refusef(CodeAuthnAge, "AuthnInstant is %s, %s ago, at most %s are allowed", stamp(*s.AuthnInstant), age, most)
	}
	if end := s.SessionNotOnOrAfter; end != nil && !j.now.Add(-j.sp.skew).Before(*end) {
		return refusef(CodeSessionExpired, "session at the identity provider ended at %s", stamp(*end))
	}
	return nil
}

// authnAge is how long ago the person may have proved who they are: the smaller
// of what is configured and what is expected of this sign-on. Zero is no bound.
func (j *judgement) authnAge() time.Duration {
	if j.sp.maxAge == 0 || (j.want.MaxAge != 0 && j.want.MaxAge < j.sp.maxAge) {
		return j.want.MaxAge
	}
	return j.sp.maxAge
}

// checkForced: an identity provider that does not know ForceAuthn, or passes it
// over, answers from the session that it has. Requests are stamped to the second,
// and so are most answers.
func (j *judgement) checkForced() error {
	if !j.want.SignOn.ForceAuthn {
		return nil
	}
	if j.want.RequestedAt.IsZero() {
		return refusef(CodeInternal, "a forced sign-on whose beginning is not known")
	}
	began := j.want.RequestedAt.Truncate(time.Second)
	if instant := *j.response.Assertions[0].AuthnStatement.AuthnInstant; instant.Before(began.Add(-j.sp.skew)) {
		return refusef(CodeAuthnNotFresh, "AuthnInstant is %s, expected one since the request at %s, less %s for the clocks: the identity provider did not ask the person again",
			stamp(instant), stamp(began), j.sp.skew)
	}
	return nil
}

// checkAuthnContext wants one of the classes, letter by letter. What was asked for
// went through the browser, who may have asked for less.
func (j *judgement) checkAuthnContext() error {
	want := j.want.SignOn.AuthnContext.or(j.sp.authnContext)
	if !want.demands() {
		return nil
	}
	if got := authnContextClass(j.response.Assertions[0].AuthnStatement); !slices.Contains(want.Classes, got) {
		return refusef(CodeAuthnContext, "the person was authenticated by %.200q, expected one of %.100q", got, want.Classes)
	}
	return nil
}

// authnContextClass returns the class, or "" for none. It is the one place where
// white space goes: xs:anyURI collapses it.
func authnContextClass(s *types.AuthnStatement) string {
	if s == nil || s.AuthnContext == nil || s.AuthnContext.AuthnContextClassRef == nil {
		return ""
	}
	return strings.TrimSpace(s.AuthnContext.AuthnContextClassRef.Value)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
