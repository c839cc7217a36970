package proxy

import (
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/portal"
)

// keySetPath is where, at the door, backends find the keys that assertions are
// verified by.
const keySetPath = "/.well-known/sallyport/jwks.json"

// keySetAge is for how long a backend may keep them. A key is published for longer
// before it signs; see the rotation of the key.
const keySetAge = "public, max-age=300"

// vouch says to the backend under a signature who asks. If that cannot be said,
// the request goes without: who demands an assertion then refuses it, and the log
// says why.
func (rt *route) vouch(h http.Header, with *outgoing) {
	if rt.vouches == nil {
		return
	}
	token, logID, err := rt.vouches.Issue(with.state)
	if err != nil {
		with.exchange.Fail(err)
		return
	}
	with.exchange.Record.Assertion = logID
	h[header.Assertion] = []string{token}
}

// serveKeySet is public: the keys verify, and sign nothing.
func (g *Gateway) serveKeySet(ex *exchange) {
	ex.Note(accesslog.ActionPortal, accesslog.DecisionAllow, "public")
	portal.Protect(ex.Header())
	ex.Header().Set("Cache-Control", keySetAge)
	ex.Header().Del("Vary")
	ex.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = ex.Write(g.cfg.Assertions.KeySet()) // whoever asked may have gone away
}
