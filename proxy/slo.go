package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// serveSLO is the single logout service (saml-bindings 3.4 and 3.5): a demand of an
// identity provider to end sessions, or its answer to ours. Strangers reach it, so
// it is admitted like an answer to a sign-on.
func (g *Gateway) serveSLO(ex *exchange, r *http.Request) {
	ex.Note(accesslog.ActionSignOut, accesslog.DecisionDeny, "")
	a := g.newAnswer()
	defer g.trace(ex, a)
	leave, err := g.answers.enter(r.Context(), ex.Record.ClientAddress)
	if err != nil {
		g.refuseLogout(ex, err)
		return
	}
	ex.Leave(leave)
	message, err := saml.ReadLogout(ex, r)
	if err != nil {
		g.refuseLogout(ex, err)
		return
	}
	ex.ExpectBody(0)
	if message.IsRequest {
		err = g.takeLogoutRequest(ex, r, message, a)
	} else {
		err = g.takeLogoutResponse(ex, r, message, a)
	}
	if err != nil {
		g.refuseLogout(ex, err)
	}
}

// verifyLogout has verify judge a logout message of a.idp, and notes who has signed it.
func (g *Gateway) verifyLogout(ex *exchange, r *http.Request, a *answer, verify func(ServiceProvider, *saml.Trace) error) error {
	ex.Record.IdP = a.idp.SAML.IdP().EntityID
	if a.trace == nil {
		a.trace = new(saml.Trace) // for the certificate
	}
	err := g.verifyByNewest(r.Context(), a, func(sp ServiceProvider) error { return verify(sp, a.trace) })
	ex.Record.IdPCertificate = a.trace.Certificate
	return err
}

// takeLogoutRequest ends sessions for an identity provider. They are found by what
// it calls them: our cookies do not come along with a cross-site POST or in a frame.
// That nobody is known by that name is no fault (saml-core 3.7.3.2).
func (g *Gateway) takeLogoutRequest(ex *exchange, r *http.Request, message saml.LogoutMessage, a *answer) error {
	if a.idp = g.idps.entity[message.Issuer]; a.idp == nil && len(g.idps.order) == 1 {
		a.idp = g.idps.order[0] // who else; it refuses the issuer itself, and says more exactly why
	}
	if a.idp == nil {
		return &saml.Refusal{Code: saml.CodeIssuer, Err: fmt.Errorf("LogoutRequest of %.100q, which is no identity provider of ours", message.Issuer)}
	}
	var request *saml.LogoutRequest
	err := g.verifyLogout(ex, r, a, func(sp ServiceProvider, trace *saml.Trace) (err error) {
		request, err = sp.VerifyLogoutRequest(r.Context(), message, trace)
		return err
	})
	if err != nil {
		return err
	}
	ex.Note(accesslog.ActionSignOut, accesslog.DecisionAllow, "logout_request")
	subject, indexes := g.logoutKeys(ex.Record.IdP, request)
	ended := g.cfg.Sessions.EndRemote(ex.Record.IdP, subject, indexes)
	g.noteEnded(ex, ended)
	ex.Record.SubjectID = g.cfg.Sessions.LogSubject(subject)
	linked, ok := g.cfg.Sessions.Linked(r)
	if ok && linked.Subject == subject && g.cfg.Sessions.Revocations().Ended(linked) {
		g.noteSession(ex, linked) // the browser has brought its cookies after all
		g.cfg.Sessions.End(ex, linked)
		ended = append(ended, linked)
	}
	g.noteRevokedAll(ex, ex.Record.IdP, subject, ended)
	g.answerLogout(ex, a.idp, request)
	return nil
}

// answerLogout lets the identity provider know. The sessions have ended, whatever
// becomes of the answer.
func (g *Gateway) answerLogout(ex *exchange, idp *IdP, request *saml.LogoutRequest) {
	answer, err := idp.SAML.AnswerLogout(request)
	switch {
	case err != nil:
		if !errors.Is(err, saml.ErrNoLogout) {
			ex.Fail(fmt.Errorf("answering the logout request of %s: %w", idp.Name, err))
		}
		g.notice(ex, portal.Notice{
			Status: http.StatusOK, Title: "You are signed out", Message: "All tools behind this door are closed.",
			Link: g.door + "/", LinkText: "Sign in again",
		})
	case answer.Form == nil:
		g.redirect(ex, answer.URL)
	default:
		form := logoutForm(answer)
		form.InFrame = true
		ex.Fail(g.pages.WriteForm(ex, form))
	}
}

// takeLogoutResponse ends a sign-off that began here. Whatever it says, the person
// is signed out of the tools since then.
func (g *Gateway) takeLogoutResponse(ex *exchange, r *http.Request, message saml.LogoutMessage, a *answer) error {
	pending, relayState, ok := g.cfg.Sessions.HeldSignOff(r, message.RelayState)
	a.idp = g.idps.named[pending.IdP]
	if !ok || a.idp == nil {
		return errNoSignOff()
	}
	a.solicited = true
	var response *saml.LogoutResponse
	err := g.verifyLogout(ex, r, a, func(sp ServiceProvider, trace *saml.Trace) (err error) {
		response, err = sp.VerifyLogoutResponse(r.Context(), message, pending.RequestID, trace)
		return err
	})
	if err != nil {
		return err
	}
	if !g.cfg.Sessions.FinishSignOff(ex, relayState, pending) {
		return errNoSignOff()
	}
	atIdP := atIdPEverywhere
	ex.Note(accesslog.ActionSignOut, accesslog.DecisionAllow, "logout_response")
	switch {
	case response.Partial: // some say so below a status of failure
		atIdP, ex.Record.Reason = atIdPPartial, "logout_partial"
	case response.Failed:
		atIdP, ex.Record.Reason = atIdPFailed, "logout_failed"
	}
	if response.Status != "" {
		ex.Fail(fmt.Errorf("the identity provider answers %s", response.Status))
	}
	g.redirect(ex, g.signedOut(atIdP, a.idp))
	return nil
}

// codeNoSignOff: the answer belongs to no sign-out of this browser: it was begun in
// another one, took too long, or was answered before.
const codeNoSignOff = "no_pending_signout"

func errNoSignOff() error {
	return &saml.Refusal{Code: codeNoSignOff, Err: errors.New("this browser waits for no answer to a logout request under that relay state")}
}

// refuseLogout answers with one and the same page, whatever was wrong: the details
// are for the log.
func (g *Gateway) refuseLogout(ex *exchange, err error) {
	ex.Record.Decision, ex.Record.Reason = accesslog.DecisionDeny, refusalCode(err)
	ex.Fail(err)
	notice := portal.Notice{
		Status: http.StatusForbidden, Title: "Signing out did not work",
		Message:   "Sallyport could not accept what your identity provider sent, so you may still be signed in. Sign out here, and close the browser on a shared computer.",
		RequestID: ex.Record.RequestID, Link: g.door + reservedPrefix + "sign_out", LinkText: "Sign out",
	}
	if ex.Record.Reason == saml.CodeBusy {
		notice.Status, notice.Title = http.StatusServiceUnavailable, "Too many people are signing out"
		ex.Header().Set("Connection", "close") // else net/http waits for the rest of the body before it answers
	}
	g.notice(ex, notice)
}

// noteEnded writes into the record whose session a logout request has ended, if it
// was one that had connections open; of others nothing is known here.
func (g *Gateway) noteEnded(ex *exchange, open []*session.State) {
	for i, s := range open {
		if i > 0 && s.ID != open[0].ID {
			ex.Record.User, ex.Record.Groups, ex.Record.SessionID = "", nil, ""
			break
		}
		g.noteSession(ex, s)
	}
}

// keepRemote has the browser keep what its identity provider must be told when the
// session ends. Without it the session is as good, and ends here alone.
func (g *Gateway) keepRemote(ex *exchange, s *session.State, idp string, p *saml.Principal) {
	if p.Subject.NameID == "" {
		return
	}
	err := g.cfg.Sessions.SaveRemote(ex, session.Remote{
		Session: s.ID, Expires: s.Expires, IdP: idp,
		NameID: p.Subject.NameID, Format: p.Subject.Format,
		NameQualifier: p.Subject.NameQualifier, SPNameQualifier: p.Subject.SPNameQualifier,
		SessionIndex: p.SessionIndex,
	})
	if err != nil {
		ex.Fail(fmt.Errorf("keeping what a sign-out must tell the identity provider: %w", err))
	}
}

// logoutKeys are the State.Subject that a request ends, or the values of State.Index
// if it names sessions: then also that of a session that the identity provider gave
// no name, which may be one of them.
func (g *Gateway) logoutKeys(idp string, request *saml.LogoutRequest) (subject string, indexes []string) {
	subject = g.subjectKey(idp, request.Subject, "")
	for _, index := range request.SessionIndexes {
		indexes = append(indexes, g.subjectKey(idp, request.Subject, index))
	}
	if len(indexes) > 0 {
		indexes = append(indexes, subject)
	}
	return subject, indexes
}

// formatUnspecified is what a NameID without a Format has (saml-core 8.3.1).
const formatUnspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"

// subjectKey names a person at an identity provider, or one of the sessions there,
// in a form that fits into a cookie and tells nobody who it is: what a logout
// request is matched by. What an identity provider may as well leave out counts as
// left out. Whoever has no name has no key.
func (g *Gateway) subjectKey(idp string, s saml.Subject, index string) string {
	if s.NameID == "" {
		return ""
	}
	if s.Format == "" {
		s.Format = formatUnspecified
	}
	// The defaults of both (saml-core 8.3.7).
	if s.NameQualifier == idp {
		s.NameQualifier = ""
	}
	if s.SPNameQualifier == g.cfg.EntityID {
		s.SPNameQualifier = ""
	}
	sum := sha256.New()
	for _, part := range []string{idp, s.NameID, s.Format, s.NameQualifier, s.SPNameQualifier, index} {
		_, _ = fmt.Fprintf(sum, "%d:%s", len(part), part) // a hash takes everything
	}
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:16])
}
