package proxy

import (
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// serveSignIn takes a browser that a tool's host sent: with a session at the
// door it goes straight back with a ticket, else to the identity provider.
func (g *Gateway) serveSignIn(ex *exchange, r *http.Request) {
	begin, ok := g.cfg.Sessions.OpenBegin(r.URL.Query().Get(paramBegin))
	rt := g.placeFor(begin.Aim)
	if !ok || rt == nil || !navigates(r) {
		ex.Note(accesslog.ActionSignInBegin, accesslog.DecisionDeny, "begin_invalid")
		g.refuse(ex, r, refusal{
			status: http.StatusBadRequest, reason: "begin_invalid",
			title: "This sign-in has expired", message: "It took too long, or the address is incomplete. Open the tool again.",
			link: g.door + "/", text: "Your tools",
		})
		return
	}
	ex.Record.Route = rt.Name
	pending := session.Pending{Aim: begin.Aim, Return: begin.Return, Begun: begin.At, Why: begin.Why}
	state, absence := g.find(ex, r, nil)
	if absence == session.Present {
		g.noteSession(ex, state)
		absence = g.vouched(state, rt.route)
	}
	if absence != session.Present {
		ex.Note(accesslog.ActionSignInBegin, accesslog.DecisionSignIn, string(absence))
		if site := r.Header.Get("Sec-Fetch-Site"); absence == absentOther && (site == "cross-site" || site == "same-site") {
			g.askToChange(ex, r, rt, state)
			return
		}
		g.beginSAML(ex, r, pending)
		return
	}
	if g.stepUp(ex, r, state, pending) {
		return
	}
	ex.Note(accesslog.ActionTicket, accesslog.DecisionAllow, "signed_in")
	if !g.goesInCircles(ex, r, pending) {
		g.carry(ex, r, state, begin.Host, begin.Return)
	}
}

// askToChange asks somebody who is signed in, and whom a page of another origin has sent to
// a tool of another identity provider's, whether they want to sign in there. That one may
// sign anybody in without a question, and whoever comes in leaves the session before: a
// page must not put somebody in a person's place (login CSRF). The link is the address
// that was asked for, and what follows it comes from our own page.
func (g *Gateway) askToChange(ex *exchange, r *http.Request, rt *place, state *session.State) {
	query := url.Values{}
	for _, name := range []string{paramBegin, paramIdP} {
		if r.URL.Query().Has(name) {
			query.Set(name, r.URL.Query().Get(name))
		}
	}
	g.notice(ex, portal.Notice{
		Status: http.StatusOK, Title: "Sign in to " + rt.Title + "?",
		Message: "You are signed in as " + state.User + ", and " + rt.Title + " wants a sign-in with another identity provider. If you go on there as somebody else, you are signed out as " + state.User + ".",
		Link:    g.door + reservedPrefix + "sign_in?" + query.Encode(), LinkText: "Sign in",
	})
}

// beginSAML starts a sign-on with one of the identity providers that are allowed
// for p.Host, and asks the person with which if that is not known.
func (g *Gateway) beginSAML(ex *exchange, r *http.Request, p session.Pending) {
	rt := g.placeFor(p.Aim)
	allowed := g.allowed(rt)
	switch choice := choose(r, allowed); {
	case len(allowed) == 0:
		g.refuseNoIdP(ex, r)
	case choice.idp == nil:
		g.serveChooser(ex, r, rt, choice.unknown)
	case choice.typed:
		g.serveChosen(ex, r, choice.idp)
	default:
		g.beginWith(ex, r, choice.idp, p)
	}
}

// refuseNoIdP tells somebody that all who could sign them in are out.
func (g *Gateway) refuseNoIdP(ex *exchange, r *http.Request) {
	ex.Record.Decision = accesslog.DecisionDeny
	g.refuse(ex, r, refusal{
		status: http.StatusServiceUnavailable, reason: "no_idp",
		title: "Signing in does not work now", message: "The identity provider whose people may open this tool cannot be used at this moment. Sallyport's operators can see why.",
		link: g.door + "/", text: "Your tools",
	})
}

// beginWith sends the browser to the identity provider, and remembers in that
// browser alone which request was sent, to whom, and where to go afterwards.
func (g *Gateway) beginWith(ex *exchange, r *http.Request, idp *IdP, p session.Pending) {
	if framed(r) {
		ex.Record.Decision = accesslog.DecisionDeny
		g.refuse(ex, r, refusal{
			status: http.StatusUnauthorized, reason: "in_a_frame",
			title: "Signing in needs a window of its own", message: "Another page shows this one in a frame, in which nobody can sign in. Open the tool by itself.",
			link: g.door + "/", text: "Your tools",
		})
		return
	}
	leave, err := g.begins.enter(r.Context(), ex.Record.ClientAddress)
	if err != nil {
		g.refuseSignIn(ex, err)
		return
	}
	ex.Leave(leave)
	relayState := g.cfg.Sessions.RelayState()
	ask := g.demands(p)
	ask.RelayState = relayState
	request, err := idp.SAML.Begin(ask)
	if err != nil {
		ex.Record.Decision = accesslog.DecisionDeny
		g.refuse(ex, r, refusal{
			status: http.StatusInternalServerError, reason: "authn_request",
			title: "Signing in does not work now", message: "Sallyport could not make the request to the identity provider. Its operators can see why.",
			cause: err,
		})
		return
	}
	p.RequestID, p.IdP, p.RequestedAt = request.ID, idp.Name, request.IssuedAt.Unix()
	g.cfg.Sessions.Hold(ex, r, relayState, p)
	g.cfg.Metrics.begun.Inc()
	g.send(ex, request, idp)
}

// send has the browser carry a message to the identity provider.
func (g *Gateway) send(ex *exchange, m saml.Message, idp *IdP) {
	if m.Form == nil {
		g.redirect(ex, m.URL)
		return
	}
	ex.Fail(g.pages.WriteForm(ex, formOf(m, portal.Form{
		Title: "Signing in with " + idp.Title, Message: "If nothing happens in a moment, go on yourself.", Button: "Continue",
	})))
}

// formOf is the page that posts a message to the identity provider.
func formOf(m saml.Message, page portal.Form) portal.Form {
	page.Action = m.URL
	for _, f := range m.Form {
		page.Fields = append(page.Fields, portal.Field(f))
	}
	return page
}

// renewAtDoor notes in the door's cookie that the session was used, if it is time for
// that, and returns the state as it then is.
func (g *Gateway) renewAtDoor(ex *exchange, r *http.Request, state *session.State) *session.State {
	renewed := g.cfg.Sessions.Refresh(state)
	if renewed == nil {
		return state
	}
	ex.Fail(g.cfg.Sessions.SaveDoor(ex, r, g.cfg.DoorHost, renewed))
	return renewed
}

// carry sends a signed-in browser from the door to a tool's host with a
// single-use ticket.
func (g *Gateway) carry(ex *exchange, r *http.Request, state *session.State, host, ret string) {
	state = g.renewAtDoor(ex, r, state)
	g.redirect(ex, g.origin(host)+reservedPrefix+"ticket?ticket="+g.cfg.Sessions.Issue(state, host, ret))
}

// serveACS is the assertion consumer service (saml-bindings 3.5): the identity
// provider's answer, brought by the browser that asked.
func (g *Gateway) serveACS(ex *exchange, r *http.Request) {
	ex.Note(accesslog.ActionSignIn, accesslog.DecisionDeny, "")
	a := g.newAnswer()
	defer g.trace(ex, a)
	defer g.countSignOn(ex, a)
	leave, err := g.answers.enter(r.Context(), ex.Record.ClientAddress)
	if err != nil {
		g.refuseSignIn(ex, err)
		return
	}
	ex.Leave(leave)
	if err := g.verify(ex, r, a); err != nil {
		if !g.refusedStepUp(ex, r, a.pending, err) {
			g.refuseAnswer(ex, a, err)
		}
		return
	}
	principal := a.principal
	ex.Record.User, ex.Record.IdP, ex.Record.IdPCertificate = principal.User, principal.IdP, principal.SigningCertificate
	ex.Record.Assertion = g.cfg.Sessions.LogAssertion(principal.AssertionID)
	if !g.mayStart(ex, r, a) {
		return
	}
	replaced := g.replacing(r, principal)
	state := g.startSession(r, principal, a.pending)
	ex.Record.SubjectID = g.cfg.Sessions.LogSubject(state.Subject)
	if replaced != nil {
		g.noteRevoked(ex, replaced, revokedByNext)
	}
	if err := g.cfg.Sessions.SaveDoor(ex, r, g.cfg.DoorHost, state); err != nil {
		g.refuseSignIn(ex, &saml.Refusal{Code: "session_size", Err: err})
		return
	}
	g.keepRemote(ex, state, a.idp.Name, principal)
	g.noteSession(ex, state)
	g.goOn(ex, r, state, a)
}

// countSignOn notes how long it took a person to sign on, if we know when they began.
func (g *Gateway) countSignOn(ex *exchange, a *answer) {
	if a.solicited && a.pending.RequestedAt != 0 {
		g.cfg.Metrics.signedOn(ex.Record.Decision, g.cfg.Now().Sub(time.Unix(a.pending.RequestedAt, 0)))
	}
}

// goOn sends a browser that has just signed on to where it wanted to go.
func (g *Gateway) goOn(ex *exchange, r *http.Request, state *session.State, a *answer) {
	if !a.solicited {
		ex.Note(accesslog.ActionSignIn, accesslog.DecisionAllow, "assertion_unsolicited")
		g.redirect(ex, a.idp.Landing)
		return
	}
	ex.Note(accesslog.ActionSignIn, accesslog.DecisionAllow, "assertion_verified")
	rt := g.placeFor(a.pending.Aim)
	g.remember(ex, a.idp, rt)
	if rt != nil {
		ex.Record.Route = rt.Name
	}
	switch {
	case g.goesInCircles(ex, r, a.pending):
	case rt != nil:
		g.arrive(ex, r, state, a.pending)
	default:
		g.redirect(ex, g.door+"/")
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
func (g *Gateway) startSession(r *http.Request, p *saml.Principal, pending session.Pending) *session.State {
	return g.cfg.Sessions.Start(r, session.State{
		User: p.User, Email: p.Email, Name: p.Name, Groups: g.keptGroups(p.Groups),
		IdP: p.IdP, AuthnContext: p.AuthnContext, AuthnAt: g.authenticatedAt(p.AuthnInstant, pending).Unix(),
		Subject: g.subjectKey(p.IdP, p.Subject, ""), Index: g.subjectKey(p.IdP, p.Subject, p.SessionIndex),
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
