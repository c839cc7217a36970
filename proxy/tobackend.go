package proxy

import (
	"net/http"
	"net/http/httputil"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
)

// rewrite makes the request that the backend gets. It is a Rewrite and never a
// Director: hop-by-hop headers are gone before it runs, so a client cannot name
// our headers in Connection to have them removed.
func (rt *route) rewrite(pr *httputil.ProxyRequest) {
	relay.Retarget(pr, rt.Backend)
	with := outgoingOf(pr.Out.Context())
	rt.cleanse(pr.Out.Header)
	pr.SetXForwarded()
	with.at.address(pr.Out)
	rt.introduce(pr.Out.Header, with)
}

// cleanse takes from h what a client has no say in. It comes before anything is set.
func (rt *route) cleanse(h http.Header) {
	rt.template.Strip(h)
	session.StripRequest(h)
	if !rt.PassAuthorization {
		delete(h, "Authorization")
	}
}

// introduce says to the backend who asks, and shows it the credential that it wants to
// see from us.
func (rt *route) introduce(h http.Header, with *outgoing) {
	h.Set(header.RequestID, with.exchange.Record.RequestID)
	if with.card != nil {
		with.card.Set(h)
	}
	if rt.Identity.Credential != nil {
		rt.Identity.Credential.show(h)
	}
	rt.vouch(h, with)
}
