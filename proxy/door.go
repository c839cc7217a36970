package proxy

import (
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
)

// serveDoor answers at the door's own host.
func (g *Gateway) serveDoor(ex *exchange, r *http.Request) {
	ex.Record.Action = accesslog.ActionPortal
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	if r.URL.Path != "/" && (g.tooOften(ex, r) || g.crowdedOut(ex, r)) {
		return
	}
	part, audited := g.auditPart(r.URL.Path)
	switch path := r.URL.Path; {
	case path == "/" && get:
		g.serveHome(ex, r)
	case path == "/saml/metadata" && get:
		g.serveMetadata(ex, r)
	case path == keySetPath && get && g.cfg.Assertions != nil:
		g.serveKeySet(ex)
	case path == "/saml/acs":
		g.serveACS(ex, r)
	case path == "/saml/slo":
		g.serveSLO(ex, r)
	case path == reservedPrefix+"sign_in" && get:
		g.serveSignIn(ex, r)
	case path == reservedPrefix+"sign_out":
		g.serveSignOut(ex, r, g.cfg.DoorHost)
	case path == reservedPrefix+"signed_out" && get:
		g.serveSignedOut(ex, r)
	case get && audited:
		g.serveAudit(ex, r, part)
	default:
		g.refuseNowhere(ex, r)
	}
}

// serveHome lists the tools that the person may open.
func (g *Gateway) serveHome(ex *exchange, r *http.Request) {
	state, absence := g.find(ex, r, nil)
	if absence != session.Present {
		if g.tooOften(ex, r) || g.shedStranger(ex, r) {
			return
		}
		if !navigates(r) {
			ex.Note(accesslog.ActionPortal, accesslog.DecisionDeny, string(absence))
			notSignedIn(ex, absence, g.door+"/")
			return
		}
		ex.Note(accesslog.ActionSignInBegin, accesslog.DecisionSignIn, string(absence))
		g.beginSAML(ex, r, session.Pending{Aim: session.Aim{Host: g.cfg.DoorHost}, Begun: g.cfg.Now().UnixMicro(), Why: absence})
		return
	}
	g.noteSession(ex, state)
	ex.Note(accesslog.ActionPortal, accesslog.DecisionAllow, "signed_in")
	g.renewAtDoor(ex, r, state)
	home := portal.Home{User: state.User, Name: state.Name, SignOutURL: reservedPrefix + "sign_out"}
	for _, rt := range g.order {
		if rt.wild() {
			continue // of a wildcard: which of its hosts somebody wants is not known here
		}
		if at := g.front(rt, rt.Host); g.vouched(state, rt) == session.Present && at.allows(state).Verdict == policy.Allow {
			home.Tools = append(home.Tools, portal.Tool{Title: rt.Title, Description: rt.Description, URL: at.url()})
		}
	}
	if g.audit != nil && g.audit.allows(state).Verdict == policy.Allow {
		home.Tools = append(home.Tools, portal.Tool{Title: g.audit.Title, Description: "Who opened what, and why they could", URL: g.door + AuditPath})
	}
	ex.Fail(g.pages.WriteHome(ex, home))
}

// serveMetadata is public: it is what an identity provider is given. Each may have
// a document of its own; the query's idp names it, and the first needs no name.
func (g *Gateway) serveMetadata(ex *exchange, r *http.Request) {
	idp := g.idps.order[0]
	if name := r.URL.Query().Get("idp"); name != "" {
		if idp = g.idps.named[name]; idp == nil {
			g.refuseNowhere(ex, r)
			return
		}
	}
	ex.Note(accesslog.ActionPortal, accesslog.DecisionAllow, "public")
	portal.Protect(ex.Header())
	ex.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, _ = ex.Write(idp.SAML.Metadata()) // whoever asked may have gone away
}

// notice shows a page that is no refusal.
func (g *Gateway) notice(ex *exchange, n portal.Notice) { ex.Fail(g.pages.WriteNotice(ex, n)) }
