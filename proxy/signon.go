package proxy

import (
	"errors"
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// serveSignIn takes a browser that a tool's host sent: with a session at the
// door it goes straight back with a ticket, else to the identity provider.
func (g *Gateway) serveSignIn(ex *exchange, r *http.Request) {
	begin, ok := g.cfg.Sessions.OpenBegin(r.URL.Query().Get("begin"))
	if !ok || g.routes[begin.Host] == nil || !navigates(r) {
		ex.Note(accesslog.ActionSignInBegin, "deny", "begin_invalid")
		g.refuse(ex, r, refusal{
			status: http.StatusBadRequest, reason: "begin_invalid",
			title: "This sign-in has expired", message: "It took too long, or the address is incomplete. Open the tool again.",
			link: g.door + "/", text: "Your tools",
		})
		return
	}
	ex.Record.Route = g.routes[begin.Host].Name
	state, absence := g.cfg.Sessions.Find(r, g.cfg.DoorHost)
	if absence == session.Present {
		g.noteSession(ex, state)
		ex.Note(accesslog.ActionTicket, "allow", "signed_in")
		g.carry(ex, r, state, begin.Host, begin.Return)
		return
	}
	ex.Note(accesslog.ActionSignInBegin, "signin", string(absence))
	g.beginSAML(ex, r, session.Pending{Host: begin.Host, Return: begin.Return})
}

// beginSAML sends the browser to the identity provider, and remembers in that
// browser alone which request was sent and where to go afterwards.
func (g *Gateway) beginSAML(ex *exchange, r *http.Request, p session.Pending) {
	leave, err := g.begins.enter(r.Context(), ex.Record.ClientAddress)
	if err != nil {
		g.refuseSignIn(ex, err)
		return
	}
	defer leave()
	relayState := g.cfg.Sessions.RelayState()
	idp := g.cfg.IdPs[0]
	request, err := idp.SAML.Begin(saml.SignOn{RelayState: relayState})
	if err != nil {
		ex.Record.Decision = "deny"
		g.refuse(ex, r, refusal{
			status: http.StatusInternalServerError, reason: "authn_request",
			title: "Signing in does not work now", message: "Sallyport could not make the request to the identity provider. Its operators can see why.",
			cause: err,
		})
		return
	}
	p.RequestID, p.IdP, p.RequestedAt = request.ID, idp.Name, request.IssuedAt.Unix()
	g.cfg.Sessions.Hold(ex, r, relayState, p)
	g.redirect(ex, request.URL)
}

// carry sends a signed-in browser from the door to a tool's host with a
// single-use ticket.
func (g *Gateway) carry(ex *exchange, r *http.Request, state *session.State, host, ret string) {
	if renewed := g.cfg.Sessions.Refresh(state); renewed != nil {
		state = renewed
		if err := g.cfg.Sessions.SaveDoor(ex, r, g.cfg.DoorHost, state); err != nil {
			ex.Fail(err)
		}
	}
	g.redirect(ex, g.origin(host)+reservedPrefix+"ticket?ticket="+g.cfg.Sessions.Issue(state, host, ret))
}

// serveACS is the assertion consumer service (saml-bindings 3.5): the identity
// provider's answer, brought by the browser that asked.
func (g *Gateway) serveACS(ex *exchange, r *http.Request) {
	ex.Note(accesslog.ActionSignIn, "deny", "")
	leave, err := g.answers.enter(r.Context(), ex.Record.ClientAddress)
	if err != nil {
		g.refuseSignIn(ex, err)
		return
	}
	defer leave()
	principal, pending, relayState, err := g.verify(ex, r)
	if err != nil {
		g.refuseSignIn(ex, err)
		return
	}
	ex.Record.User, ex.Record.IdP, ex.Record.IdPCertificate = principal.User, principal.IdP, principal.SigningCertificate
	if !g.cfg.Sessions.Finish(ex, relayState, pending) {
		g.refuseSignIn(ex, &saml.Refusal{Code: "signin_used", Err: errors.New("this sign-on was finished before")})
		return
	}
	state := g.startSession(r, principal)
	if err := g.cfg.Sessions.SaveDoor(ex, r, g.cfg.DoorHost, state); err != nil {
		g.refuseSignIn(ex, &saml.Refusal{Code: "session_size", Err: err})
		return
	}
	g.keepRemote(ex, state, pending.IdP, principal)
	g.noteSession(ex, state)
	ex.Note(accesslog.ActionSignIn, "allow", "assertion_verified")
	if rt := g.routes[pending.Host]; rt != nil {
		ex.Record.Route = rt.Name
		g.carry(ex, r, state, pending.Host, pending.Return)
		return
	}
	g.redirect(ex, g.door+"/")
}

// verify reads the POST and has it verified against the request that this
// browser began. All errors are *saml.Refusal.
func (g *Gateway) verify(ex *exchange, r *http.Request) (*saml.Principal, session.Pending, string, error) {
	if r.Method == http.MethodPost && !g.cfg.Sessions.HoldsAny(r) {
		return nil, session.Pending{}, "", errNoPending()
	}
	post, err := saml.ReadPost(ex, r)
	if err != nil {
		return nil, session.Pending{}, "", err
	}
	ex.ExpectBody(0)
	pending, ok := g.cfg.Sessions.Held(r, post.RelayState)
	if !ok {
		return nil, session.Pending{}, "", errNoPending()
	}
	principal, err := g.cfg.IdPs[0].SAML.Verify(r.Context(), post, saml.Expectation{RequestID: pending.RequestID})
	return principal, pending, post.RelayState, err
}

// codeNoPending: the answer belongs to no sign-on of this browser: it was begun
// in another one, took too long, or the browser keeps no cookies.
const codeNoPending = "no_pending_signin"

func errNoPending() error {
	return &saml.Refusal{Code: codeNoPending, Err: errors.New("this browser began no sign-on under that relay state")}
}

// refuseSignIn answers with one and the same page, whatever was wrong: the
// details are for the log.
func (g *Gateway) refuseSignIn(ex *exchange, err error) {
	reason := "internal"
	var refused *saml.Refusal
	if errors.As(err, &refused) {
		reason = refused.Code
	}
	ex.Record.Decision, ex.Record.Reason = "deny", reason
	ex.Fail(err)
	notice := portal.Notice{
		Status: http.StatusForbidden, Title: "Signing in did not work",
		Message:   "Sallyport could not accept the answer of your identity provider. Try again; if it stays like this, give the request number below to your help desk.",
		RequestID: ex.Record.RequestID, Link: g.door + "/", LinkText: "Try again",
	}
	if reason == saml.CodeBusy {
		notice.Status, notice.Title = http.StatusServiceUnavailable, "Too many people are signing in"
		notice.Message = "Sallyport has its hands full at this moment. Try again in a few seconds."
		ex.Header().Set("Connection", "close") // else net/http waits for the rest of the body before it answers
	}
	if err := g.pages.WriteNotice(ex, notice); err != nil {
		g.cfg.Log.Debug("page not sent", "error", err, "request_id", ex.Record.RequestID)
	}
}

const (
	// manyGroups and manyGroupBytes bound the groups that are all kept; with
	// more, only those stay that some route names, so that the session fits
	// into a cookie.
	manyGroups     = 50
	manyGroupBytes = 1200
)

// startSession turns a verified principal into the state of a session. It takes
// over, or ends, the session that this browser had at the door before.
func (g *Gateway) startSession(r *http.Request, p *saml.Principal) *session.State {
	return g.cfg.Sessions.Start(r, session.State{
		User: p.User, Email: p.Email, Name: p.Name, Groups: g.keptGroups(p.Groups),
		IdP: p.IdP, AuthnContext: p.AuthnContext, AuthnAt: p.AuthnInstant.Unix(),
		Subject: subjectKey(p.IdP, p.Subject, ""), Index: subjectKey(p.IdP, p.Subject, p.SessionIndex),
	}, p.SessionNotOnOrAfter)
}

// keptGroups returns all groups when they are few, else those that decide
// something here.
func (g *Gateway) keptGroups(groups []string) []string {
	size := 0
	for _, group := range groups {
		size += len(group)
	}
	if len(groups) <= manyGroups && size <= manyGroupBytes {
		return groups
	}
	var kept []string
	for _, group := range groups {
		if g.named[group] {
			kept = append(kept, group)
		}
	}
	return kept
}
