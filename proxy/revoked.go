package proxy

import (
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// Why sessions end before their time, in the access log.
const (
	revokedByPerson = "logout"         // whose they are
	revokedByIdP    = "logout_request" // of whoever has vouched
	revokedByNext   = "replaced"       // somebody else has signed on in the same browser
)

// noteRevoked writes a line for a session that has ended before its time.
func (g *Gateway) noteRevoked(ex *exchange, s *session.State, why string) {
	g.recorder.WriteEvent(&accesslog.Event{
		Time: g.cfg.Now(), Action: accesslog.ActionRevoked, Reason: why, RequestID: ex.Record.RequestID, User: s.User,
		SessionID: s.LogID(), SubjectID: g.cfg.Sessions.LogSubject(s.Subject), IdP: s.IdP,
	})
}

// noteRevokedAll writes one for each session that a logout request has ended and that is
// known here; or one about the person if none is: whatever they have elsewhere has ended.
func (g *Gateway) noteRevokedAll(ex *exchange, idp, subject string, ended []*session.State) {
	told := map[string]bool{}
	for _, s := range ended {
		if !told[s.ID] {
			told[s.ID] = true
			g.noteRevoked(ex, s, revokedByIdP)
		}
	}
	if len(ended) == 0 {
		g.noteRevoked(ex, &session.State{IdP: idp, Subject: subject}, revokedByIdP)
	}
}

// replacing returns the session that ends when p signs on in a browser; nil for none.
func (g *Gateway) replacing(r *http.Request, p *saml.Principal) *session.State {
	before, ok := g.cfg.Sessions.Linked(r)
	if !ok || before.User == p.User || g.cfg.Sessions.Revocations().Ended(before) {
		return nil
	}
	return before
}
