package proxy

import (
	"fmt"
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
)

// maxRounds is how many sign-ons in a row may be delivered to one host within
// a minute, each asked for after the one before had been delivered. Nobody does
// that by hand, and tabs that open together make three at most (see
// session.Manager.Round).
const maxRounds = 5

// goesInCircles reports whether a browser that is about to be sent back is being
// sent to and fro, and then ends that with a page: what the door delivers is not
// there, or does not count, when the browser arrives. What the host found in its
// place, which it told the door, says why.
func (g *Gateway) goesInCircles(ex *exchange, r *http.Request, p session.Pending) bool {
	rounds := g.cfg.Sessions.Round(ex, r, p.Host, p.Begun)
	if rounds <= maxRounds {
		return false
	}
	g.cfg.Sessions.ForgetRounds(ex) // whoever tries again may
	ex.Record.Decision, ex.Record.Reason = accesslog.DecisionDeny, "signin_loop"
	cause := fmt.Errorf("%d sign-ons in a row came to nothing at %s, the last for %q: %s", maxRounds, p.Host, p.Why, circleCause(p.Why))
	ex.Fail(cause)
	if g.alarms.due("signin_loop", g.cfg.Now()) {
		g.cfg.Log.Warn("a browser was sent to sign in again and again",
			"event", "signin_loop", "host", p.Host, "found", string(p.Why), "request_id", ex.Record.RequestID, "cause", circleCause(p.Why))
	}
	name := "the door"
	link := g.door + "/"
	if rt := g.placeFor(p.Aim); rt != nil {
		name, link = rt.Title, rt.url()
	}
	g.notice(ex, portal.Notice{
		Status: http.StatusConflict, Title: "Signing in goes in circles",
		Message: "You were signed in several times, and each time " + name + " did not find that. " + circleAdvice(p.Why),
		Reason:  "signin_loop", RequestID: ex.Record.RequestID, Link: link, LinkText: "Try again",
	})
	return true
}

// circleCause is the probable cause, for operators.
func circleCause(why session.Absence) string {
	switch why {
	case session.AbsentCookie:
		return "the browser does not keep the host's session cookie, or something in between takes it away"
	case session.AbsentTwice:
		return "the browser sends the session cookie twice"
	case session.AbsentForged:
		return "the replicas have different session keys, or know different hosts"
	case session.AbsentIdle, session.AbsentExpired:
		return "the clocks of the replicas differ, or the identity provider's own session ends sooner than the sign-on arrives"
	case session.AbsentRevoked:
		return "one replica knows of a sign-out that another does not"
	case absentIdP, absentOther:
		return "the replicas have different identity providers or routes"
	case policy.ReasonTooOld, policy.ReasonContext:
		return "the clocks of the replicas differ, or what they know of the route's step_up"
	}
	return "unknown"
}

// circleAdvice is what the person can do.
func circleAdvice(why session.Absence) string {
	switch why {
	case session.AbsentCookie:
		return "Most likely your browser, or an extension of it, does not keep cookies for that address. Allow them, and try again."
	case session.AbsentTwice:
		return "Delete the cookies of that address in your browser, and try again."
	}
	return "This is not your fault. Give the request number below to your help desk."
}
