package proxy

import (
	"net/http"

	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/saml"
)

// refuseAnswer is refuseSignIn for an answer of an identity provider. It wakes the
// operators for what nobody else can mend.
func (g *Gateway) refuseAnswer(ex *exchange, a *answer, err error) {
	g.refuseSignIn(ex, err)
	if ex.Record.Reason == saml.CodeTooManyValues && g.alarms.due("too_many_values", g.cfg.Now()) {
		name := ""
		if a.idp != nil {
			name = a.idp.Name
		}
		g.cfg.Log.Warn("somebody cannot sign in: the identity provider sends too many attribute values",
			"event", "too_many_values", "idp", name, "request_id", ex.Record.RequestID, "cause", ex.Record.Cause)
	}
}

// refuseSignIn answers with a page that tells nothing of what was wrong: the
// details are for the log. It says more only where that is no news to an attacker,
// and the person can do something.
func (g *Gateway) refuseSignIn(ex *exchange, err error) {
	reason := refusalCode(err)
	ex.Record.Decision, ex.Record.Reason = "deny", reason
	ex.Fail(err)
	notice := refusedSignOn(reason)
	notice.RequestID = ex.Record.RequestID
	switch {
	case reason != saml.CodeTooManyValues:
		notice.Link, notice.LinkText = g.startAgain(), "Try again"
	case len(g.idps.order) > 1: // which may say less
		notice.Link, notice.LinkText = g.startAgain(), "Sign in another way"
	}
	if reason == saml.CodeBusy {
		ex.Header().Set("Connection", "close") // else net/http waits for the rest of the body before it answers
	}
	if err := g.pages.WriteNotice(ex, notice); err != nil {
		g.cfg.Log.Debug("page not sent", "error", err, "request_id", ex.Record.RequestID)
	}
}

// refusedSignOn is the page for a reason.
func refusedSignOn(reason string) portal.Notice {
	n := portal.Notice{Status: http.StatusForbidden, Title: "Signing in did not work"}
	switch reason {
	case saml.CodeBusy:
		n.Status, n.Title = http.StatusServiceUnavailable, "Too many people are signing in"
		n.Message = "Sallyport has its hands full at this moment. Try again in a few seconds."
	case codeNoPending, "signin_used":
		n.Title = "This sign-in is over"
		n.Message = "It took longer than ten minutes, was finished before, was begun in another browser, or your browser keeps no cookies for this address. Begin again here, and stay in this browser."
	case string(absentIdP):
		n.Title = "This way to sign in is closed"
		n.Message = "Your identity provider is not used here any more. Sign in with another one, or ask your help desk."
	case saml.CodeStatus:
		n.Title = "Your identity provider did not let you in"
		n.Message = "It answered that it does not sign you in here. You may have cancelled, or not be assigned to this service. Try again; if it stays like this, give the request number below to your help desk."
	case saml.CodeTooManyValues:
		n.Title = "You are in too many groups to sign in"
		n.Message = "Your identity provider sends more groups than can be taken. Trying again does not help: ask your help desk to have only those sent that this service needs, and give them the request number below."
	default:
		n.Message = "Sallyport could not accept the answer of your identity provider. Try again; if it stays like this, give the request number below to your help desk."
	}
	return n
}
