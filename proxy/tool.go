package proxy

import (
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/session"
)

// reservedPrefix begins the paths that are the gateway's on every host; no
// backend ever sees one.
const reservedPrefix = "/.sallyport/"

// serveReserved answers the gateway's own paths on a tool's host.
func (g *Gateway) serveReserved(ex *exchange, r *http.Request, rt *place, path string) {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	if path != "whoami" && (g.tooOften(ex, r) || path == "ticket" && g.shedStranger(ex, r)) {
		return
	}
	switch {
	case path == "ticket" && get:
		g.serveTicket(ex, r, rt)
	case path == "sign_out":
		g.serveSignOut(ex, r, rt.Host)
	case path == "whoami" && get:
		g.serveWhoAmI(ex, r, rt)
	case path == "form" && get:
		g.serveForm(ex, r, rt)
	case path == "form" && r.Method == http.MethodPost:
		g.serveDiscard(ex, r, rt)
	default:
		g.refuseNowhere(ex, r)
	}
}

// serveTicket turns a ticket of the door into a session of this host, and sends
// the browser to the page that it first asked for.
func (g *Gateway) serveTicket(ex *exchange, r *http.Request, rt *place) {
	ex.Note(accesslog.ActionTicket, accesslog.DecisionDeny, "")
	state, uri, fault := g.cfg.Sessions.Redeem(ex, r, rt.Host, r.URL.Query().Get("ticket"))
	if fault != session.TicketGood {
		g.refuse(ex, r, refusal{
			status: http.StatusForbidden, reason: string(fault),
			title: "This sign-in has expired", message: "It was used before, took too long, or your browser keeps no cookies for this address. Open the tool again.",
			link: rt.url(), text: "Open " + rt.Title,
		})
		return
	}
	g.noteSession(ex, state)
	if err := g.cfg.Sessions.Save(ex, r, rt.Host, state); err != nil {
		g.refuse(ex, r, refusal{
			status: http.StatusInternalServerError, reason: "session_size",
			title: "Signing in did not work", message: "Sallyport cannot keep your session. Its operators can see why.", cause: err,
		})
		return
	}
	ex.Note(accesslog.ActionTicket, accesslog.DecisionAllow, "ticket_redeemed")
	g.redirect(ex, rt.origin+uri)
}

// serveWhoAmI tells a tool's own pages who is signed in, how and when they proved it,
// and until when. Times are Unix seconds.
func (g *Gateway) serveWhoAmI(ex *exchange, r *http.Request, rt *place) {
	state, absence := g.findAnywhere(ex, r, rt)
	if absence != session.Present {
		ex.Note(accesslog.ActionAccess, accesslog.DecisionDeny, string(absence))
		notSignedIn(ex, absence, rt.url())
		return
	}
	g.noteSession(ex, state)
	ex.Note(accesslog.ActionAccess, accesslog.DecisionAllow, "signed_in")
	writeJSON(ex, http.StatusOK, struct {
		User            string   `json:"user"`
		Email           string   `json:"email,omitempty"`
		Name            string   `json:"name,omitempty"`
		Groups          []string `json:"groups,omitempty"`
		AuthenticatedAt int64    `json:"authenticated_at"`
		AuthnContext    string   `json:"authn_context,omitempty"`
		Expires         int64    `json:"expires"`
		SignOut         string   `json:"sign_out"`
	}{state.User, state.Email, state.Name, state.Groups, state.AuthnAt, state.AuthnContext, state.Expires, rt.origin + reservedPrefix + "sign_out"})
}
