package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// serveSignOut ends the session on every host, and then at its identity provider.
// It takes a POST from a page of the same origin; a GET shows the button, since a
// link or an image must end nothing.
func (g *Gateway) serveSignOut(ex *exchange, r *http.Request, host string) {
	ex.Note(accesslog.ActionSignOut, accesslog.DecisionAllow, "asked")
	token := r.URL.Query().Get("token")
	switch {
	case r.Method == http.MethodPost:
		g.signOut(ex, r, host)
	case r.Method == http.MethodGet && host == g.cfg.DoorHost && token != "":
		g.serveLeave(ex, r, token)
	default:
		g.notice(ex, portal.Notice{
			Status: http.StatusOK, Title: "Sign out?", Message: "This signs you out of every tool behind this door, and at your identity provider if it takes part.",
			Post: reservedPrefix + "sign_out", PostText: "Sign out",
		})
	}
}

// signOut ends the session here first: what comes after that may fail.
func (g *Gateway) signOut(ex *exchange, r *http.Request, host string) {
	if err := g.crossSite.Check(r); err != nil {
		ex.Record.Decision = accesslog.DecisionDeny
		g.refuse(ex, r, refusal{
			status: http.StatusForbidden, reason: "cross_site",
			title: "Not signed out", message: "Another site asked to sign you out. If you want that, do it from your list of tools.",
			link: g.door + "/", text: "Your tools", cause: err,
		})
		return
	}
	atDoor := host == g.cfg.DoorHost
	state, absence := g.cfg.Sessions.Find(r, host)
	if absence != session.Present {
		state = nil
		if linked, ok := g.cfg.Sessions.Linked(r); ok && atDoor {
			state = linked // unused at the door for too long, maybe, but alive at a tool
		}
	}
	ex.Header().Set("Clear-Site-Data", `"cache"`)
	if state == nil {
		ex.Record.Reason = "nobody_signed_in"
		g.cfg.Sessions.Forget(ex)
		if atDoor {
			g.redirect(ex, g.signedOut("", nil))
			return
		}
		g.onward(ex, g.door+reservedPrefix+"sign_out") // where somebody may be
		return
	}
	g.noteSession(ex, state)
	g.cfg.Sessions.End(ex, state)
	g.noteRevoked(ex, state, revokedByPerson)
	if !atDoor {
		g.onward(ex, g.door+reservedPrefix+"sign_out?token="+g.cfg.Sessions.Leave(state.ID))
		return
	}
	remote, known := g.cfg.Sessions.Remote(r, state.ID)
	g.signOff(ex, r, remote, known)
}

// serveLeave is where a tool's host sends somebody who has signed out there: the
// session has ended, and the identity provider is to be told. A token that is not
// for this browser ends nothing, takes nothing away, and says nothing.
func (g *Gateway) serveLeave(ex *exchange, r *http.Request, token string) {
	remote, known := g.cfg.Sessions.OpenLeave(r, token)
	if known {
		g.cfg.Sessions.Forget(ex)
	}
	g.signOff(ex, r, remote, known)
}

// What is known of the session at the identity provider, on the page after a
// sign-out. It stands in that page's address and may be anybody's invention: each
// chooses one of the sentences there, and nothing else.
const (
	atIdPEverywhere = "everywhere" // ended, there and wherever it led to
	atIdPPartial    = "partial"    // ended, but not wherever it led to
	atIdPFailed     = "failed"     // it was asked, or should have been
	atIdPNot        = ""           // it was not asked
)

// signOff has the identity provider asked to end its own session.
func (g *Gateway) signOff(ex *exchange, r *http.Request, remote session.Remote, known bool) {
	idp := g.idps.named[remote.IdP]
	if !known || idp == nil {
		ex.Record.Reason = "local_only"
		g.redirect(ex, g.signedOut(atIdPNot, nil))
		return
	}
	ex.Record.IdP = idp.SAML.IdP().EntityID
	message, err := g.beginLogout(ex, r, idp, remote)
	switch {
	case err == nil:
		ex.Fail(g.sendLogout(ex, message))
	case errors.Is(err, saml.ErrNoLogout):
		ex.Record.Reason = "local_only"
		g.redirect(ex, g.signedOut(atIdPNot, idp))
	default:
		ex.Record.Reason = "logout_request_failed"
		ex.Fail(err)
		g.redirect(ex, g.signedOut(atIdPFailed, idp))
	}
}

// beginLogout makes the request, and remembers it in this browser alone.
func (g *Gateway) beginLogout(ex *exchange, r *http.Request, idp *IdP, remote session.Remote) (saml.Message, error) {
	leave, err := g.begins.enter(r.Context(), ex.Record.ClientAddress)
	if err != nil {
		return saml.Message{}, err
	}
	defer leave()
	relayState := g.cfg.Sessions.RelayState()
	message, err := idp.SAML.BeginLogout(saml.Subject{
		NameID: remote.NameID, Format: remote.Format, NameQualifier: remote.NameQualifier, SPNameQualifier: remote.SPNameQualifier,
	}, remote.SessionIndex, relayState)
	if err != nil {
		return saml.Message{}, fmt.Errorf("asking %s to sign somebody out: %w", idp.Name, err)
	}
	g.cfg.Sessions.HoldSignOff(ex, r, relayState, session.Pending{
		RequestID: message.ID, IdP: idp.Name, RequestedAt: message.IssuedAt.Unix(), Aim: session.Aim{Host: g.cfg.DoorHost},
	})
	return message, nil
}

// sendLogout has the browser carry our request to the identity provider.
func (g *Gateway) sendLogout(ex *exchange, message saml.Message) error {
	if message.Form == nil {
		return g.pages.WriteNotice(ex, leaving(message.URL))
	}
	return g.pages.WriteForm(ex, logoutForm(message))
}

// logoutForm is the page that posts a logout message.
func logoutForm(message saml.Message) portal.Form {
	return formOf(message, portal.Form{
		Title: "Signing you out", Message: "Your browser goes to your identity provider now. If it does not, press the button.", Button: "Go on",
	})
}

// leaving is the page that leads on after a sign-out. It is no redirect: that would
// be one of the form's that was pressed, and browsers stop such a one at the
// form-action of that form's page.
func leaving(address string) portal.Notice {
	return portal.Notice{
		Status: http.StatusOK, Title: "Signing you out", Message: "The tools are closed. Your browser goes on by itself.",
		Onward: address, Link: address, LinkText: "Go on",
	}
}

func (g *Gateway) onward(ex *exchange, address string) { g.notice(ex, leaving(address)) }

// signedOut is the address of the page after a sign-out. idp may be nil.
func (g *Gateway) signedOut(atIdP string, idp *IdP) string {
	query := url.Values{}
	if atIdP != atIdPNot {
		query.Set("at_idp", atIdP)
	}
	if idp != nil {
		query.Set("idp", idp.Name)
	}
	address := g.door + reservedPrefix + "signed_out"
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	return address
}

// serveSignedOut says so, unless it is not true.
func (g *Gateway) serveSignedOut(ex *exchange, r *http.Request) {
	ex.Note(accesslog.ActionPortal, accesslog.DecisionAllow, "public")
	state, absence := g.cfg.Sessions.Find(r, g.cfg.DoorHost)
	switch absence {
	case session.Present:
		g.noteSession(ex, state)
		g.notice(ex, portal.Notice{
			Status: http.StatusOK, Title: "You are signed in", Message: "You are signed in as " + state.User + ". If you want to leave, sign out.",
			Post: reservedPrefix + "sign_out", PostText: "Sign out", Link: g.door + "/", LinkText: "Your tools",
		})
		return
	case session.AbsentRevoked:
		g.cfg.Sessions.Forget(ex) // signed out on a tool's host, which cannot take this cookie
	}
	query := r.URL.Query()
	g.notice(ex, portal.Notice{
		Status: http.StatusOK, Title: "You are signed out",
		Message: "All tools behind this door are closed. " + signedOutAt(query.Get("at_idp"), g.idps.named[query.Get("idp")]),
		Link:    g.startAgain(), LinkText: "Sign in again",
	})
}

// signedOutAt says what is known of the identity provider, and claims no more.
func signedOutAt(atIdP string, idp *IdP) string {
	who, title := "Your identity provider", "your identity provider"
	if idp != nil && idp.Title != "" {
		who, title = idp.Title, idp.Title
	}
	switch atIdP {
	case atIdPEverywhere:
		return who + " has signed you out, too."
	case atIdPPartial:
		return who + " has signed you out, but could not sign you out of every other application: close the browser, so that nobody finds them open."
	case atIdPFailed:
		return who + " has not confirmed that you are signed out there. You may still be signed in: on a shared computer, sign out there too, and close the browser."
	}
	return "You may still be signed in at " + title + ": on a shared computer, sign out there too."
}
