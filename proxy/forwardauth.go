package proxy

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/session"
)

// An ingress that passes requests on by itself asks here for each whether it may:
//
//	GET /auth/nginx              X-Original-Method, X-Original-URL
//	GET /auth/traefik            X-Forwarded-Method, -Proto, -Host, -Uri
//	GET /auth/caddy              the same
//	*   /auth/envoy/PATH?QUERY   the request line and the host are the request's own
//
// and is answered with 2xx and the headers that the tool gets, or with what the
// person is to see. What it says about the request is believed, so who may ask is
// proven first. The same table of routes, sessions, rules and checks decide as for
// requests that the gateway passes on.

// headersToRemove tells Envoy which headers of the client's the tool must not get
// (ext_authz, HTTP service).
const headersToRemove = "X-Envoy-Auth-Headers-To-Remove"

// ForwardAuth returns the handler for the questions of an ingress: for each, the
// Gateway in use answers.
func (l *Live) ForwardAuth() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.Gateway().ServeForwardAuth(w, r) })
}

// ServeForwardAuth answers one question of an ingress and writes its line, which is
// about the request that was asked about.
func (g *Gateway) ServeForwardAuth(w http.ResponseWriter, r *http.Request) {
	g.cfg.Metrics.begin()
	d := dialectOf(r.RequestURI)
	if d != nil && d.wrap != nil {
		w = d.wrap(w)
	}
	g.recorder.Serve(w, r, func(ex *exchange, r *http.Request) { g.answerAsked(ex, r, d) })
}

// answerAsked answers a question that is put in dialect d, nil for none.
func (g *Gateway) answerAsked(ex *exchange, r *http.Request, d *dialect) {
	ex.Record.RequestID = newRequestID()
	g.beginSpan(ex, r)
	if rf := g.mayAsk(ex, r); rf != nil {
		g.refuse(ex, r, *rf)
		return
	}
	if d == nil {
		g.refuse(ex, r, refusal{status: http.StatusNotFound, reason: "not_found", title: "There is nothing here", message: "This address leads nowhere."})
		return
	}
	ex.Record.Via = "forward_auth/" + d.name
	asked, err := d.asked(r)
	if err != nil {
		g.refuse(ex, r, refusal{
			status: http.StatusBadRequest, reason: "asked_uri", cause: err,
			title: "That address is not valid", message: "The address of this request is not one that a browser sends.",
		})
		return
	}
	g.noteAsked(ex, r, asked)
	rt, rf := g.placeAsked(ex, asked)
	if rf != nil {
		g.refuse(ex, asked, *rf)
		return
	}
	ex.Record.Action = accesslog.ActionAccess
	g.noteRoute(ex, asked, rt.route)
	if err := rt.mistakable(asked.Header, d); err != nil && !d.removes {
		g.refuse(ex, asked, refusal{
			status: http.StatusBadRequest, reason: "asked_header", cause: err,
			title: "That request is not valid", message: "This request has a header that no browser sends.",
		})
		return
	}
	state := g.admit(ex, asked, rt)
	if state == nil {
		return
	}
	if rf := g.refuseForeign(asked, rt); rf != nil {
		g.deny(ex, asked, rf)
		return
	}
	g.letPass(ex, asked, rt, state, d)
}

// mayAsk refuses whoever is no ingress of ours.
func (g *Gateway) mayAsk(ex *exchange, r *http.Request) *refusal {
	rf := &refusal{
		status: http.StatusForbidden, reason: "asker_unknown",
		title: "Not allowed", message: "Only an ingress that this gateway knows may ask here.",
	}
	if g.cfg.Asks == nil {
		return rf
	}
	if ex.Record.Peer, rf.cause = g.cfg.Asks(r); rf.cause != nil {
		return rf
	}
	return nil
}

// noteAsked has the record tell of the request that is asked about.
func (g *Gateway) noteAsked(ex *exchange, r, asked *http.Request) {
	rec := &ex.Record
	rec.Method, rec.Host, rec.Path, rec.Query = asked.Method, asked.Host, asked.URL.Path, g.loggedQuery(asked, nil)
	rec.UserAgent = asked.UserAgent()
	if client, ok := clientAsked(r.Header); ok {
		rec.ClientAddress, rec.ClientPort = client, ""
	}
}

// placeAsked finds the place of a request that is asked about, if it may be judged.
func (g *Gateway) placeAsked(ex *exchange, asked *http.Request) (*place, *refusal) {
	if rf := clean(asked); rf != nil {
		return nil, rf
	}
	if rf := g.unrecorded(); rf != nil {
		return nil, rf
	}
	host, ok := normalHost(asked.Host)
	s := g.table.site(host)
	ex.Record.Host = host
	switch {
	case !ok || s == nil || host == g.cfg.DoorHost:
		return nil, &refusal{
			status: http.StatusForbidden, reason: "unknown_host",
			title: "There is no tool here", message: "No tool is known under this address. Check it, or start from your list of tools.",
			link: g.door + "/", text: "Your tools",
		}
	case asked.URL.Path+"/" == reservedPrefix || strings.HasPrefix(asked.URL.Path, reservedPrefix):
		return nil, &refusal{ // the ingress has to send these here, and not to the tool
			status: http.StatusForbidden, reason: "reserved_path",
			title: "Not allowed", message: "This address is Sallyport's own, and the tool never gets it.",
		}
	}
	rt, rf := g.locate(asked, s, host)
	switch {
	case rf != nil:
		return nil, rf
	case !rt.ForwardAuth || rt.itself():
		return nil, &refusal{
			status: http.StatusForbidden, reason: "forward_auth_off",
			title: "Not allowed", message: "This tool is not reached in this way.",
		}
	}
	return rt, nil
}

// mistakable refuses a request with headers that an ingress passes on as they are, and by
// which the tool could take it for another than was judged: for somebody else's, since it
// reads another spelling as a name of ours; or for another method or path, where rules
// decide on those. Names that are ours to the letter the ingress replaces.
func (p *place) mistakable(client http.Header, d *dialect) error {
	for name := range client {
		switch {
		case p.template.Poses(name):
			return fmt.Errorf("header %.60q reads like one that says who asks, or for what", name)
		case len(p.Rules) > 0 && header.Overrides(name) && !slices.Contains(d.says, name):
			return fmt.Errorf("header %.60q asks for something else than is judged, and rules decide on that", name)
		}
	}
	return nil
}

// letPass tells the ingress that the request may pass, and what the tool gets with it:
// who asks, and the cookies but for ours.
func (g *Gateway) letPass(ex *exchange, asked *http.Request, rt *place, state *session.State, d *dialect) {
	card, rf := rt.cardOf(state)
	if rf != nil {
		g.refuseUntold(ex, asked, rf)
		return
	}
	told := http.Header{header.RequestID: {ex.Record.RequestID}}
	card.Tell(told) // and no credential: that is for the sidecar alone
	rt.vouch(told, &outgoing{exchange: ex, at: rt, state: state, card: card})
	if cookies := cookiesForTool(asked); cookies != "" {
		told["Cookie"] = []string{cookies}
	}
	h := ex.Header()
	for name, values := range told {
		h[name] = values
	}
	if d.removes {
		h.Set(headersToRemove, strings.Join(rt.untold(asked.Header, told), ","))
	}
	h.Set("Cache-Control", "no-store")
	if renewed := g.cfg.Sessions.Refresh(state); renewed != nil {
		h["Set-Cookie"] = g.sealedCookies(ex, asked, rt.Host, renewed)
	}
	ex.WriteHeader(http.StatusOK)
}

// cookiesForTool are the client's cookies without those of ours, which no tool gets:
// whoever has one is that person for all that the tool's host opens.
func cookiesForTool(asked *http.Request) string {
	h := http.Header{"Cookie": slices.Clone(asked.Header["Cookie"])}
	session.StripRequest(h)
	return strings.Join(h["Cookie"], "; ")
}

// untold are the names by which the client could pass for somebody else, or ask for
// something else, since we say nothing under them; in lower case and alphabetical order.
// Those that the route sets are among them whether or not the ingress has shown that the
// client has sent them. Those of the request's way are the ingress's to set.
func (p *place) untold(client, told http.Header) []string {
	names := map[string]bool{header.User: true, header.Email: true, header.Groups: true, header.PreferredUsername: true, "Cookie": true}
	for _, name := range slices.Concat(p.template.Names(), header.OverrideNames()) {
		names[name] = true
	}
	if !p.PassAuthorization {
		names["Authorization"] = true
	}
	for name := range client {
		switch name {
		case header.ForwardedFor, header.ForwardedHost, header.ForwardedProto:
		default:
			if p.template.Guards(name) {
				names[name] = true
			}
		}
	}
	var out []string
	for name := range names {
		if told[name] == nil {
			out = append(out, strings.ToLower(name))
		}
	}
	slices.Sort(out)
	return out
}
