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
	header.Strip(h)
	session.StripRequest(h)
	if !rt.PassAuthorization {
		delete(h, "Authorization")
	}
}

// introduce says to the backend who asks.
func (rt *route) introduce(h http.Header, with *outgoing) {
	h.Set(header.RequestID, with.exchange.Record.RequestID)
	header.Set(h, header.Identity{
		User: with.state.User, Email: with.state.Email, Name: with.state.Name, Groups: with.state.Groups,
	})
}
