package proxy

import (
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
)

// serveSignOut ends the session on every host. It takes a POST from a page of
// the same origin; a GET shows the button, since a link must end nothing.
func (g *Gateway) serveSignOut(ex *exchange, r *http.Request, host string) {
	ex.Note(accesslog.ActionSignOut, "deny", "cross_site")
	if r.Method != http.MethodPost {
		ex.Note(accesslog.ActionSignOut, "allow", "asked")
		g.notice(ex, portal.Notice{
			Status: http.StatusOK, Title: "Sign out?", Message: "This signs you out of every tool behind this door.",
			Post: reservedPrefix + "sign_out", PostText: "Sign out",
		})
		return
	}
	if err := g.crossSite.Check(r); err != nil {
		g.refuse(ex, r, refusal{
			status: http.StatusForbidden, reason: "cross_site",
			title: "Not signed out", message: "Another site asked to sign you out. If you want that, do it from your list of tools.",
			link: g.door + "/", text: "Your tools", cause: err,
		})
		return
	}
	reason := "nobody_signed_in"
	if state, absence := g.cfg.Sessions.Find(r, host); absence == session.Present {
		g.noteSession(ex, state)
		g.cfg.Sessions.End(ex, state)
		reason = "asked"
	}
	ex.Note(accesslog.ActionSignOut, "allow", reason)
	g.cfg.Sessions.Forget(ex)
	ex.Header().Set("Clear-Site-Data", `"cache"`)
	g.redirect(ex, g.door+reservedPrefix+"signed_out")
}

// serveSignedOut says so.
func (g *Gateway) serveSignedOut(ex *exchange, r *http.Request) {
	ex.Note(accesslog.ActionPortal, "allow", "public")
	if _, absence := g.cfg.Sessions.Find(r, g.cfg.DoorHost); absence == session.AbsentRevoked {
		g.cfg.Sessions.Forget(ex) // signed out on a tool's host, which cannot take this cookie
	}
	g.notice(ex, portal.Notice{
		Status: http.StatusOK, Title: "You are signed out",
		Message: "All tools behind this door are closed. Your identity provider may still know you: on a shared computer, sign out there too.",
		Link:    g.door + "/", LinkText: "Sign in again",
	})
}

// serveSLO is the single logout service (saml-bindings 3.4 and 3.5).
func (g *Gateway) serveSLO(ex *exchange, r *http.Request) {
	g.refuseNowhere(ex, r)
}
