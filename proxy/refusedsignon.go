package proxy

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/saml"
)

// refuseAnswer is refuseSignIn for an answer of an identity provider. It wakes the
// operators for what nobody else can mend.
func (g *Gateway) refuseAnswer(ex *exchange, a *answer, err error) {
	name, help := "", ""
	if a.idp != nil {
		name, help = a.idp.Name, a.idp.SAML.IdP().ErrorURL
	}
	g.refuseWithHelp(ex, err, help)
	switch reason := ex.Record.Reason; {
	case reason == saml.CodeTooManyValues && g.alarms.due("too_many_values", g.cfg.Now()):
		g.cfg.Log.Warn("somebody cannot sign in: the identity provider sends too many attribute values",
			"event", "too_many_values", "idp", name, "request_id", ex.Record.RequestID, "cause", ex.Record.Cause)
	case namesNobody(reason) && g.alarms.due("person_unnamed "+name, g.cfg.Now()):
		g.cfg.Log.Warn("somebody cannot sign in: the identity provider does not say who they are in a way that can be used here",
			"event", "person_unnamed", "idp", name, "reason", reason, "request_id", ex.Record.RequestID)
	}
}

// namesNobody reports whether a genuine answer was refused for whom it names, or does
// not name. These reasons come behind the signature and the profile, so that they
// tell nothing to somebody who forges answers.
func namesNobody(reason string) bool {
	switch reason {
	case saml.CodeUser, saml.CodeTransient, saml.CodeAmbiguous, saml.CodeValue, saml.CodeEmail, saml.CodeDomain:
		return true
	}
	return false
}

// refuseSignIn answers with a page that tells nothing of what was wrong: the
// details are for the log. It says more only where that is no news to an attacker,
// and the person can do something.
func (g *Gateway) refuseSignIn(ex *exchange, err error) { g.refuseWithHelp(ex, err, "") }

// refuseWithHelp is refuseSignIn, with where the identity provider helps its people;
// empty if that is not known. It is for what only they can mend there.
func (g *Gateway) refuseWithHelp(ex *exchange, err error, help string) {
	reason := refusalCode(err)
	ex.Record.Decision, ex.Record.Reason = "deny", reason
	ex.Fail(err)
	notice := refusedSignOn(reason)
	notice.RequestID = ex.Record.RequestID
	switch {
	case reason != saml.CodeTooManyValues && !namesNobody(reason): // for these, trying again does not help
		notice.Link, notice.LinkText = g.startAgain(), "Try again"
	case len(g.idps.order) > 1: // which may say less, or more
		notice.Link, notice.LinkText = g.startAgain(), "Sign in another way"
	}
	if namesNobody(reason) {
		notice.Help, notice.HelpText = g.helpAddress(help, ex.Record.RequestID), "Help of your identity provider"
	}
	if reason == saml.CodeBusy {
		ex.Header().Set("Connection", "close") // else net/http waits for the rest of the body before it answers
	}
	if err := g.pages.WriteNotice(ex, notice); err != nil {
		g.cfg.Log.Debug("page not sent", "error", err, "request_id", ex.Record.RequestID)
	}
}

// helpAddress fills in what an identity provider wants to know of whom it helps (REFEDS
// errorURL 1.0, section 2.3): that they were not identified, when, and the number under
// which it is here. Why stays here.
func (g *Gateway) helpAddress(address, requestID string) string {
	return strings.NewReplacer(
		"ERRORURL_CODE", "IDENTIFICATION_FAILURE", "ERRORURL_TS", strconv.FormatInt(g.cfg.Now().Unix(), 10),
		"ERRORURL_TID", url.QueryEscape(requestID), "ERRORURL_CTX", "",
	).Replace(address)
}

// refusedSignOn is the page for a reason.
func refusedSignOn(reason string) portal.Notice {
	n := portal.Notice{Status: http.StatusForbidden, Title: "Signing in did not work"}
	if namesNobody(reason) { // one page for all of them: it quotes nothing of the answer
		n.Title = "Your identity provider does not say who you are"
		n.Message = "It signed you in, but did not say who you are in a way that can be used here. Trying again does not help: ask your help desk, and give them the request number below."
		return n
	}
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
	case saml.CodeStatus, saml.CodeNoAuthnContext:
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
