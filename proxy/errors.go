package proxy

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
)

// ErrDrain says that requests were still being served when the deadline for
// stopping had passed.
var ErrDrain = relay.ErrDrain

// refusal is an answer that is not what was asked for. It has two sides: the
// person sees title and message and the request id; the log gets reason and
// cause under the same id.
type refusal struct {
	status  int
	reason  string // stable code, also shown
	title   string
	message string
	link    string // where to go on; empty for none
	text    string // what the link says
	cause   error  // private; may be nil
}

// refuse answers with rf: a page for a person, JSON for a program.
func (g *Gateway) refuse(ex *exchange, r *http.Request, rf refusal) {
	ex.Record.Reason = rf.reason
	ex.Fail(rf.cause)
	if !wantsPage(r) {
		writeJSON(ex, rf.status, map[string]string{
			"error": rf.reason, "message": rf.message, "request_id": ex.Record.RequestID,
		})
		return
	}
	err := g.pages.WriteNotice(ex, portal.Notice{
		Status: rf.status, Title: rf.title, Message: rf.message, Reason: rf.reason,
		RequestID: ex.Record.RequestID, Link: rf.link, LinkText: rf.text,
	})
	ex.Fail(err) // the person has gone away
}

// deny refuses a request that the rules would have let in.
func (g *Gateway) deny(ex *exchange, r *http.Request, rf *refusal) {
	ex.Record.Decision = accesslog.DecisionDeny
	g.refuse(ex, r, *rf)
}

// refuseNowhere answers for one of our own paths that does not exist.
func (g *Gateway) refuseNowhere(ex *exchange, r *http.Request) {
	ex.Record.Action = accesslog.ActionRefused
	g.refuse(ex, r, *g.nowhere())
}

// nowhere is the refusal of a path that leads nowhere.
func (g *Gateway) nowhere() *refusal {
	return &refusal{
		status: http.StatusNotFound, reason: "not_found",
		title: "There is nothing here", message: "This address leads nowhere.",
		link: g.door + "/", text: "Your tools",
	}
}

// notSignedIn answers a program for which nobody has signed in; a person can, at
// the given address.
func notSignedIn(ex *exchange, absence session.Absence, signIn string) {
	writeJSON(ex, http.StatusUnauthorized, map[string]string{
		"error": string(absence), "message": "not signed in", "request_id": ex.Record.RequestID, "signin": signIn,
	})
}

// writeJSON answers with a small JSON object that belongs in no cache.
func writeJSON(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil { // only strings and booleans are ever passed
		encoded, status = []byte(`{"error":"internal"}`), http.StatusInternalServerError
	}
	portal.Protect(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(encoded, '\n')) // whoever asked may have gone away
}

// navigates reports whether r is a person moving to a page, which a redirect to
// the identity provider can serve; anything else (fetch, XHR, an API client, a
// WebSocket) cannot follow one (Fetch Metadata, with Accept for old browsers).
func navigates(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	return wantsPage(r)
}

// framed reports whether the answer to r would stand inside another page. Identity
// providers have no cookies there, and let nobody sign in where others draw around
// the form (saml2int SDP-SP03).
func framed(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") {
	case "iframe", "frame", "fencedframe", "embed", "object":
		return true
	}
	return false
}

// wantsPage reports whether the answer to r is looked at by a person.
func wantsPage(r *http.Request) bool {
	if r.Header.Get("Upgrade") != "" || r.Header.Get("X-Requested-With") != "" {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
