package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// judge decides whether somebody may open rt: first whether they may at all, then
// whether they have signed in as the route demands. Whoever may not is never sent to
// prove more.
func (g *Gateway) judge(rt *place, s *session.State) policy.Decision {
	decision := rt.allows(s)
	if decision.Verdict != policy.Allow {
		return decision
	}
	if lacking := rt.StepUp.Satisfied(time.Unix(s.AuthnAt, 0), s.AuthnContext, g.cfg.Now()); lacking.Verdict != policy.Allow {
		lacking.Rule = decision.Rule
		return lacking
	}
	return decision
}

// askToStepUp sends a navigation to the door, which has the person prove what decision
// says is lacking; keeps a form until then; and tells everything else.
func (g *Gateway) askToStepUp(ex *exchange, r *http.Request, rt *place, s *session.State, decision policy.Decision) {
	ex.Record.StepUp = accesslog.StepUpAsked
	switch {
	case navigates(r):
		ex.Note(accesslog.ActionSignInBegin, decision.Verdict.String(), decision.Reason)
		g.toDoor(ex, r, rt, session.Absence(decision.Reason))
	case wantsPage(r):
		g.holdUntilStepUp(ex, r, rt, s, decision.Reason)
	default:
		writeJSON(ex, http.StatusUnauthorized, map[string]string{
			"error": decision.Reason, "message": "sign in again, as this tool demands", "request_id": ex.Record.RequestID, "signin": rt.url(),
		})
	}
}

// holdUntilStepUp answers a form of somebody who has to prove more. Pages of other
// origins have nothing kept.
func (g *Gateway) holdUntilStepUp(ex *exchange, r *http.Request, rt *place, s *session.State, reason string) {
	err := g.crossSite.Check(r)
	switch {
	case r.Body == nil: // an ingress has the form, if there is one
		ex.Record.Reason = reason
		g.refuseUnsent(ex, r, rt, "")
	case err != nil && !rt.UnsafeCrossOrigin:
		ex.Record.Decision = accesslog.DecisionDeny
		g.refuse(ex, r, *crossOrigin(err))
	case err != nil:
		g.refuseUnsent(ex, r, rt, "")
	default:
		ex.Note(accesslog.ActionFormKept, accesslog.DecisionStepUp, reason)
		g.holdForm(ex, r, rt, s)
	}
}

// stepUp begins another sign-on for somebody whose session at the door is not good
// enough for p.Host, and reports whether it did.
func (g *Gateway) stepUp(ex *exchange, r *http.Request, s *session.State, p session.Pending) bool {
	decision := g.judge(g.placeFor(p.Aim), s)
	if decision.Verdict != policy.Again {
		return false
	}
	ex.Note(accesslog.ActionSignInBegin, decision.Verdict.String(), decision.Reason)
	ex.Record.StepUp = accesslog.StepUpAsked
	p.Forced = decision.Reason == policy.ReasonTooOld
	g.beginAgain(ex, r, s, p)
	return true
}

// beginAgain has s vouched for anew by the identity provider that has done so before,
// if anybody can sign in there now.
func (g *Gateway) beginAgain(ex *exchange, r *http.Request, s *session.State, p session.Pending) {
	idp := g.idps.entity[s.IdP]
	if idp == nil {
		g.refuseNoIdP(ex, r)
		return
	}
	g.beginWith(ex, r, idp, p)
}

// demands is what the identity provider is asked for on behalf of p.Host.
func (g *Gateway) demands(p session.Pending) saml.SignOn {
	rt := g.placeFor(p.Aim)
	if rt == nil {
		return saml.SignOn{}
	}
	return saml.SignOn{
		ForceAuthn:   p.Forced,
		AuthnContext: saml.AuthnContext{Classes: rt.StepUp.Contexts, Minimum: rt.StepUp.Minimum},
	}
}

// expectation is what the answer to p has to live up to. What the route demands by
// now counts, and not what it did when the person was sent away.
func (g *Gateway) expectation(p session.Pending) saml.Expectation {
	want := saml.Expectation{RequestID: p.RequestID, SignOn: g.demands(p)}
	if p.RequestedAt != 0 {
		want.RequestedAt = time.Unix(p.RequestedAt, 0)
	}
	if rt := g.placeFor(p.Aim); rt != nil && p.Forced {
		want.MaxAge = rt.StepUp.MaxAge
	}
	return want
}

// authenticatedAt is when somebody proved who they are, by our own clock as far as can
// be known: the identity provider's may be a little off. It was not later than now; and
// not before the request, if that forced it and the answer was held to it.
func (g *Gateway) authenticatedAt(instant time.Time, p session.Pending) time.Time {
	if asked := time.Unix(p.RequestedAt, 0); p.Forced && instant.Before(asked) {
		instant = asked
	}
	if now := g.cfg.Now(); instant.After(now) {
		return now
	}
	return instant
}

// arrive goes on after a sign-on for a tool. When the person turns out to have proved
// who they are too long ago, they have to do it anew, once: an identity provider that
// was not forced to may have asked nothing. If the answer is still not good enough it
// ends here, and not in a circle.
func (g *Gateway) arrive(ex *exchange, r *http.Request, s *session.State, p session.Pending) {
	decision := g.judge(g.placeFor(p.Aim), s)
	switch {
	case decision.Verdict != policy.Again:
		if steppedUp(p) {
			ex.Record.StepUp = accesslog.StepUpDone
		}
		g.deliver(ex, r, s, p)
	case decision.Reason == policy.ReasonTooOld && !p.Forced:
		ex.Note(accesslog.ActionSignIn, decision.Verdict.String(), decision.Reason)
		ex.Record.StepUp = accesslog.StepUpAsked
		p.Forced = true
		g.beginAgain(ex, r, s, p)
	default:
		g.refuseWeak(ex, r, p, decision.Reason, nil)
	}
}

// steppedUp reports whether a sign-on was begun since an earlier one was not enough.
func steppedUp(p session.Pending) bool {
	return p.Forced || p.Why == session.Absence(policy.ReasonTooOld) || p.Why == session.Absence(policy.ReasonContext)
}

// weakAnswers are the codes of answers that are good but for how the person has signed
// in, and what policy calls the same.
var weakAnswers = map[string]string{
	saml.CodeAuthnAge:       policy.ReasonTooOld,
	saml.CodeAuthnNotFresh:  policy.ReasonTooOld,
	saml.CodeAuthnContext:   policy.ReasonContext,
	saml.CodeNoAuthnContext: policy.ReasonContext,
}

// refusedStepUp answers for a sign-on that was refused since it was weaker than the
// route demands, and reports whether it was.
func (g *Gateway) refusedStepUp(ex *exchange, r *http.Request, p session.Pending, err error) bool {
	refused, ok := errors.AsType[*saml.Refusal](err)
	rt := g.placeFor(p.Aim)
	if !ok || rt == nil {
		return false
	}
	reason := weakAnswers[refused.Code]
	asked := g.demands(p)
	if reason == "" || !asked.ForceAuthn && len(asked.AuthnContext.Classes) == 0 {
		return false
	}
	ex.Record.Route = rt.Name
	g.refuseWeak(ex, r, p, reason, err)
	return true
}

// refuseWeak tells the person, and the operators, that the identity provider did not
// do what the route demands.
func (g *Gateway) refuseWeak(ex *exchange, r *http.Request, p session.Pending, reason string, cause error) {
	rt := g.placeFor(p.Aim)
	ex.Note(accesslog.ActionSignIn, accesslog.DecisionDeny, reason)
	ex.Record.StepUp = accesslog.StepUpRefused
	if g.alarms.due("step_up_refused "+rt.Name, g.cfg.Now()) {
		g.cfg.Log.Warn("identity provider did not sign somebody in as the route demands", "event", "step_up_refused",
			"route", rt.Name, "idp", p.IdP, "reason", reason, "request_id", ex.Record.RequestID)
	}
	message := fmt.Sprintf("%s needs a stronger sign-in, such as a second factor. Your identity provider was asked for it, and has not done it.", rt.Title)
	if reason == policy.ReasonTooOld {
		message = fmt.Sprintf("%s wants you to have signed in within the last %s. Your identity provider was asked to sign you in anew, and has not done it in time.", rt.Title, inWords(rt.StepUp.MaxAge))
	}
	g.refuse(ex, r, refusal{
		status: http.StatusForbidden, reason: reason, title: "This sign-in is not enough", cause: cause,
		message: message + " If it stays like this, give the request number below to your help desk.",
		link:    g.door + "/", text: "Your tools",
	})
}

// errAuthnAge is the cause with which a connection ends that a route lets in for some
// time after a sign-on only.
var errAuthnAge = errors.New("sign-on has become too old for the route")

// boundByAge returns a context that ends when s is too old for rt: an upgraded
// connection then, since all that the person does goes over it; anything else as much
// later as a request may go on that would not be let in any more.
func (g *Gateway) boundByAge(ctx context.Context, r *http.Request, rt *place, s *session.State) (bound context.Context, stop func()) {
	if rt.StepUp.MaxAge <= 0 {
		return ctx, func() {}
	}
	left := time.Unix(s.AuthnAt, 0).Add(rt.StepUp.MaxAge).Sub(g.cfg.Now())
	if relay.Upgrade(r) == "" {
		left += withdrawAfter
	}
	return context.WithTimeoutCause(ctx, left, errAuthnAge)
}

// inWords is a duration as people say it, such as "5 minutes".
func inWords(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		switch n := d / unit.size; {
		case n == 1 && d%unit.size == 0:
			return unit.name
		case n > 1 && d%unit.size == 0:
			return fmt.Sprintf("%d %ss", n, unit.name)
		}
	}
	return d.String()
}
