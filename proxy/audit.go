package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/auditpage"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
)

// Audit is the audit page at the door: who may look into the access log there. It must
// not be changed after New.
type Audit struct {
	// Groups are those whose members may look. Whoever is in none of them finds nothing
	// there.
	Groups []string
	// MaxAge is how long ago they may have proved who they are; zero: any time.
	MaxAge time.Duration
	// Page answers whoever may look. Required.
	Page *auditpage.Page
}

// AuditPath is where the audit page is at the door's host.
const AuditPath = reservedPrefix + "audit"

// auditName is what the page is called among the places at which somebody may aim. No
// route has a name with a dot.
const auditName = ".audit"

// addAudit makes the page a place like those of tools: the same steps decide who enters
// and what they have to prove.
func (g *Gateway) addAudit() error {
	a := g.cfg.Audit
	if a == nil {
		return nil
	}
	if a.Page == nil || len(a.Groups) == 0 {
		return fmt.Errorf("audit page for %d groups: expected a page, and one group at least", len(a.Groups))
	}
	at := g.newPlace(&route{Route: Route{
		Name: auditName, Title: "Access log", Host: g.cfg.DoorHost, Path: AuditPath,
		Rule: policy.NewRule(nil, a.Groups, false), StepUp: policy.StepUp{MaxAge: a.MaxAge},
	}}, g.cfg.DoorHost, 0)
	g.audit = &at
	for _, group := range a.Groups {
		g.named[group] = true
	}
	return nil
}

// auditPart is the part of a path that lies below the audit page's, and whether there is
// something.
func (g *Gateway) auditPart(path string) (part string, ok bool) {
	if g.audit == nil {
		return "", false
	}
	part, ok = strings.CutPrefix(path, AuditPath)
	part = strings.TrimSuffix(part, "/")
	return part, ok && g.cfg.Audit.Page.Has(part)
}

// serveAudit lets members of the auditors' groups look into the log. To everybody else it
// answers as it does where there is nothing, and the record alone says why.
func (g *Gateway) serveAudit(ex *exchange, r *http.Request, part string) {
	background := g.cfg.Audit.Page.Background(part)
	state, absence := g.find(ex, r, nil)
	switch {
	case !auditFetch(r, background):
		g.hideAudit(ex, r, "cross_origin")
		return
	case absence != session.Present:
		g.auditAbsent(ex, r, absence)
		return
	}
	g.noteSession(ex, state)
	decision := g.judge(g.audit, state)
	ex.Record.Rule = decision.Rule
	switch decision.Verdict {
	case policy.Allow:
		ex.Note(accesslog.ActionAuditView, accesslog.DecisionAllow, decision.Reason)
		g.showAudit(ex, r, part, state)
	case policy.Again:
		g.auditAgain(ex, r, state, session.Absence(decision.Reason))
	default:
		g.hideAudit(ex, r, decision.Reason)
	}
}

// auditFetch reports whether r comes from the page itself or from somebody who has moved
// to it: what another page fetches in a person's name, such as a tool's of the same
// company, would be in the log as theirs.
func auditFetch(r *http.Request, background bool) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return true
	}
	return !background && navigates(r) && !framed(r)
}

// hideAudit answers as for a path that leads nowhere.
func (g *Gateway) hideAudit(ex *exchange, r *http.Request, reason string) {
	g.refuse(ex, r, *g.nowhere())
	ex.Note(accesslog.ActionAuditView, accesslog.DecisionDeny, reason)
}

// auditAbsent answers whoever is not signed in. An auditor whose session has run out by
// itself may sign in again and come back; nobody else is told that there is anything.
func (g *Gateway) auditAbsent(ex *exchange, r *http.Request, absence session.Absence) {
	state, lapsed := g.cfg.Sessions.Lapsed(r, g.cfg.DoorHost)
	if !lapsed || !navigates(r) || g.vouched(state, nil) != session.Present || g.audit.allows(state).Verdict != policy.Allow {
		g.hideAudit(ex, r, string(absence))
		return
	}
	g.noteSession(ex, state)
	ex.Note(accesslog.ActionSignInBegin, accesslog.DecisionSignIn, string(absence))
	g.beginAgain(ex, r, state, g.auditPending(r, absence))
}

// auditAgain has an auditor prove anew who they are.
func (g *Gateway) auditAgain(ex *exchange, r *http.Request, state *session.State, why session.Absence) {
	if navigates(r) {
		g.stepUp(ex, r, state, g.auditPending(r, why))
		return
	}
	ex.Note(accesslog.ActionAuditView, accesslog.DecisionStepUp, string(why))
	writeJSON(ex, http.StatusUnauthorized, map[string]string{
		"error": string(why), "message": "sign in again, as the audit page demands", "request_id": ex.Record.RequestID, "signin": g.door + AuditPath,
	})
}

// maxAuditReturn is the length of the query that is kept over a sign-on, in bytes: it
// stands in a cookie.
const maxAuditReturn = 1000

// auditPending is a sign-on that comes back to the page, with the same search if that is
// not too long. An export is not begun by itself.
func (g *Gateway) auditPending(r *http.Request, why session.Absence) session.Pending {
	to := AuditPath
	if part, ok := g.auditPart(r.URL.Path); ok && !g.cfg.Audit.Page.Background(part) {
		to += part
	}
	if query := r.URL.Query().Encode(); query != "" && len(query) <= maxAuditReturn {
		to += "?" + query
	}
	return session.Pending{
		Aim: session.Aim{Host: g.cfg.DoorHost, Route: auditName}, Return: to, Begun: g.cfg.Now().UnixMicro(), Why: why,
	}
}

// deliver sends a browser that has just signed on to where it is aimed.
func (g *Gateway) deliver(ex *exchange, r *http.Request, s *session.State, p session.Pending) {
	if p.Host == g.cfg.DoorHost {
		g.redirect(ex, g.door+p.Return)
		return
	}
	g.carry(ex, r, s, p.Host, p.Return)
}

// showAudit answers somebody who may look, and writes down what they have looked for.
// However long it takes, it ends with the session, and when the sign-on is too old.
func (g *Gateway) showAudit(ex *exchange, r *http.Request, part string, state *session.State) {
	ctx, release := g.bound(ex, r, g.audit, state)
	defer release()
	if !g.cfg.Audit.Page.Unattended(part) { // a page that looks by itself says nothing of its reader
		state = g.renewAtDoor(ex, r, state)
	}
	visit := g.cfg.Audit.Page.Serve(ctx, ex, r, part, auditpage.Viewer{User: state.User, Name: state.Name})
	ex.Record.Query = visit.Query
	if visit.Err != nil {
		ex.Record.Reason = auditFault(visit.Err, ex.Record.Reason)
		ex.Fail(visit.Err)
	}
}

// Why a search came to nothing.
const (
	codeAuditBusy  = "audit_busy"
	codeAuditSlow  = "audit_slow"
	codeAuditQuery = "audit_query"
)

// auditFault is the reason of a search that came to nothing, or otherwise.
func auditFault(err error, otherwise string) string {
	switch {
	case errors.Is(err, auditpage.ErrBusy):
		return codeAuditBusy
	case errors.Is(err, auditpage.ErrSlow):
		return codeAuditSlow
	case errors.Is(err, auditpage.ErrQuery):
		return codeAuditQuery
	}
	return otherwise
}

// auditUsed reports whether a connection was let in to the audit page.
func (g *Gateway) auditUsed(use session.Use) bool {
	return use.Host == g.cfg.DoorHost && strings.HasPrefix(use.Path, AuditPath)
}
