package saml

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/russellhaering/gosaml2/types"
)

// occasion is what a response is judged against besides our configuration.
type occasion struct {
	now  time.Time
	want Expectation
	env  *envelope
}

// profile holds a response with a verified signature against the profile
// (saml-profiles 4.1.4.3). The library has compared Issuer, Recipient and the
// confirmation method; of the rest it only warns, or says nothing.
//
// When only the assertion is signed, everything in the response around it is
// the browser's word. Nothing here lets anybody in because of that word.
var profile = []step{
	{name: "one assertion", run: profiled((*ServiceProvider).checkOneAssertion)},
	{name: "destination", run: profiled((*ServiceProvider).checkDestination)},
	{name: "request", run: profiled((*ServiceProvider).checkInResponseTo)},
	{name: "audience", run: profiled((*ServiceProvider).checkAudience)},
	{name: "age", run: profiled((*ServiceProvider).checkIssueInstant)},
	{name: "conditions", run: profiled((*ServiceProvider).checkConditionTimes)},
	{name: "confirmation times", run: profiled((*ServiceProvider).checkConfirmationTimes)},
	{name: "authentication", run: profiled((*ServiceProvider).checkAuthnStatement)},
	{name: "freshness", run: profiled((*ServiceProvider).checkForced)},
	{name: "context", run: profiled((*ServiceProvider).checkAuthnContext)},
}

// profiled makes a step of a check that looks at what was verified.
func profiled(check func(*ServiceProvider, *types.Response, *occasion) error) func(*judgement) error {
	return func(j *judgement) error {
		return check(j.sp, j.response, &occasion{now: j.now, want: j.want, env: j.env})
	}
}

// checkOneAssertion makes sure that what was verified is what was gated.
func (sp *ServiceProvider) checkOneAssertion(r *types.Response, o *occasion) error {
	if len(r.Assertions) != 1 {
		return refusef(CodeAssertions, "%d verified assertions, expected one", len(r.Assertions))
	}
	a := &r.Assertions[0]
	if a.ID != o.env.assertionID || (!a.SignatureValidated && !r.SignatureValidated) || r.SignatureValidated != o.env.responseSigned {
		return refusef(CodeInternal, "verified assertion %.100q, gated %.100q", a.ID, o.env.assertionID)
	}
	return nil
}

// checkDestination: a signed message must say where it goes (saml-bindings
// 3.5.5.2); the library has compared it if it is there.
func (sp *ServiceProvider) checkDestination(r *types.Response, _ *occasion) error {
	if r.SignatureValidated && r.Destination == "" {
		return refusef(CodeDestination, "signed response without a Destination")
	}
	return nil
}

// checkInResponseTo reads the signed one. The response has one too: it must
// not say otherwise.
func (sp *ServiceProvider) checkInResponseTo(r *types.Response, o *occasion) error {
	if o.want.RequestID == "" {
		return sp.checkUnsolicited(r)
	}
	confirmed := r.Assertions[0].Subject.SubjectConfirmation.SubjectConfirmationData.InResponseTo
	switch {
	case confirmed == "":
		return refusef(CodeInResponseTo, "unsolicited: the confirmation has no InResponseTo, expected %q", o.want.RequestID)
	case confirmed != o.want.RequestID:
		return refusef(CodeInResponseTo, "answers the request %.100q, this browser began %.100q", confirmed, o.want.RequestID)
	case r.InResponseTo != "" && r.InResponseTo != o.want.RequestID:
		return refusef(CodeInResponseTo, "response answers %.100q, its assertion %.100q", r.InResponseTo, confirmed)
	}
	return nil
}

// checkUnsolicited is for a browser that has begun no sign-on. An answer to a
// request is then somebody else's, whatever is allowed (saml-profiles 4.1.5).
func (sp *ServiceProvider) checkUnsolicited(r *types.Response) error {
	if !sp.unsolicited {
		return refusef(CodeInResponseTo, "this browser has begun no sign-on, and one that the identity provider began is not allowed")
	}
	for what, id := range map[string]string{
		"confirmation": r.Assertions[0].Subject.SubjectConfirmation.SubjectConfirmationData.InResponseTo, "response": r.InResponseTo,
	} {
		if id != "" {
			return refusef(CodeInResponseTo, "this browser has begun no sign-on, but the %s answers %.100q", what, id)
		}
	}
	return nil
}

// checkAudience wants at least one restriction, and ourselves in every one:
// restrictions are joined by "and", audiences in one by "or" (saml-core 2.5.1.4).
func (sp *ServiceProvider) checkAudience(r *types.Response, _ *occasion) error {
	restrictions := r.Assertions[0].Conditions.AudienceRestrictions
	if len(restrictions) == 0 {
		return refusef(CodeAudience, "assertion for no audience")
	}
	for _, restriction := range restrictions {
		var named []string
		found := false
		for _, audience := range restriction.Audiences {
			named = append(named, audience.Value)
			found = found || audience.Value == sp.entityID
		}
		if !found {
			return refusef(CodeAudience, "assertion is for %.300q, expected %q", named, sp.entityID)
		}
	}
	return nil
}

// checkIssueInstant bounds the age, so that a response that was caught is soon
// worth nothing, and the replay memory may forget.
func (sp *ServiceProvider) checkIssueInstant(r *types.Response, o *occasion) error {
	issued := r.Assertions[0].IssueInstant
	if issued.After(o.now.Add(sp.skew)) {
		return refusef(CodeNotYetValid, "assertion issued at %s, %s ahead of our clock", stamp(issued), issued.Sub(o.now))
	}
	if age := o.now.Sub(issued); age > maxAssertionAge+sp.skew {
		return refusef(CodeExpired, "assertion issued at %s, %s ago, at most %s are allowed", stamp(issued), age, maxAssertionAge+sp.skew)
	}
	return nil
}

// checkConditionTimes: either end may be missing (saml-core 2.5.1.2), the age and
// the confirmation bound it then.
func (sp *ServiceProvider) checkConditionTimes(r *types.Response, o *occasion) error {
	a := &r.Assertions[0]
	if v := a.Conditions.NotBefore; v != "" {
		notBefore, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return refusef(CodeInstant, "reading NotBefore: %w", err)
		}
		if o.now.Add(sp.skew).Before(notBefore) {
			return refusef(CodeNotYetValid, "conditions hold from %s, %s ahead of our clock", stamp(notBefore), notBefore.Sub(o.now))
		}
	}
	if v := a.Conditions.NotOnOrAfter; v != "" {
		return sp.checkEnd("conditions", v, a.IssueInstant, o.now)
	}
	return nil
}

// checkConfirmationTimes: this end must be there, the library has seen to that.
func (sp *ServiceProvider) checkConfirmationTimes(r *types.Response, o *occasion) error {
	a := &r.Assertions[0]
	return sp.checkEnd("confirmation", a.Subject.SubjectConfirmation.SubjectConfirmationData.NotOnOrAfter, a.IssueInstant, o.now)
}

// checkEnd: at the instant itself it is over. An end that is far away is an
// assertion that works for whoever finds it.
func (sp *ServiceProvider) checkEnd(what, value string, issued, now time.Time) error {
	end, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return refusef(CodeInstant, "reading NotOnOrAfter: %w", err)
	}
	if !now.Add(-sp.skew).Before(end) {
		return refusef(CodeExpired, "%s ended at %s, %s ago", what, stamp(end), now.Sub(end))
	}
	if lifetime := end.Sub(issued); lifetime > maxAssertionLifetime {
		return refusef(CodeLifetime, "%s valid for %s, at most %s are allowed", what, lifetime, maxAssertionLifetime)
	}
	return nil
}

// checkAuthnStatement holds the session at the identity provider against the
// clock.
func (sp *ServiceProvider) checkAuthnStatement(r *types.Response, o *occasion) error {
	s := r.Assertions[0].AuthnStatement
	if s == nil || s.AuthnInstant == nil {
		return refusef(CodeAuthnStatement, "checking it: %w", errors.New("no AuthnInstant"))
	}
	if s.AuthnInstant.After(o.now.Add(sp.skew)) {
		return refusef(CodeNotYetValid, "AuthnInstant is %s, %s ahead of our clock", stamp(*s.AuthnInstant), s.AuthnInstant.Sub(o.now))
	}
	if age, most := o.now.Sub(*s.AuthnInstant), sp.authnAge(o.want); most != 0 && age > most+sp.skew {
		return refusef(CodeAuthnAge, "AuthnInstant is %s, %s ago, at most %s are allowed", stamp(*s.AuthnInstant), age, most)
	}
	if end := s.SessionNotOnOrAfter; end != nil && !o.now.Add(-sp.skew).Before(*end) {
		return refusef(CodeSessionExpired, "session at the identity provider ended at %s", stamp(*end))
	}
	return nil
}

// authnAge is how long ago the person may have proved who they are: the smaller
// of what is configured and what is expected of this sign-on. Zero is no bound.
func (sp *ServiceProvider) authnAge(want Expectation) time.Duration {
	if sp.maxAge == 0 || (want.MaxAge != 0 && want.MaxAge < sp.maxAge) {
		return want.MaxAge
	}
	return sp.maxAge
}

// checkForced: an identity provider that does not know ForceAuthn, or passes it
// over, answers from the session that it has. Requests are stamped to the second,
// and so are most answers.
func (sp *ServiceProvider) checkForced(r *types.Response, o *occasion) error {
	if !o.want.SignOn.ForceAuthn {
		return nil
	}
	if o.want.RequestedAt.IsZero() {
		return refusef(CodeInternal, "a forced sign-on whose beginning is not known")
	}
	began := o.want.RequestedAt.Truncate(time.Second)
	if instant := *r.Assertions[0].AuthnStatement.AuthnInstant; instant.Before(began.Add(-sp.skew)) {
		return refusef(CodeAuthnNotFresh, "AuthnInstant is %s, expected one since the request at %s, less %s for the clocks: the identity provider did not ask the person again",
			stamp(instant), stamp(began), sp.skew)
	}
	return nil
}

// checkAuthnContext wants one of the classes, letter by letter. What was asked for
// went through the browser, who may have asked for less.
func (sp *ServiceProvider) checkAuthnContext(r *types.Response, o *occasion) error {
	want := o.want.SignOn.AuthnContext.or(sp.authnContext)
	if !want.demands() {
		return nil
	}
	if got := authnContextClass(r.Assertions[0].AuthnStatement); !slices.Contains(want.Classes, got) {
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
