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
	with.from(pr)
	with.at.address(pr.Out)
	rt.introduce(pr.Out.Header, with)
}

// from says to the backend which address the request comes from, and how.
func (out *outgoing) from(pr *httputil.ProxyRequest) {
	h := pr.Out.Header
	delete(h, header.ForwardedFor)
	if client := out.exchange.Record.ClientAddress; client != "" {
		h[header.ForwardedFor] = []string{client}
	}
	h[header.ForwardedProto] = overTLS
	if pr.In.TLS == nil {
		h[header.ForwardedProto] = inTheClear
	}
}

// Values that are shared by requests, and never written into.
var (
	overTLS    = []string{"https"}
	inTheClear = []string{"http"}
)

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
	h[header.RequestID] = []string{with.exchange.Record.RequestID}
	with.span.InjectOwn(h)
	if with.card != nil {
		with.card.Set(h)
	}
	if rt.Identity.Credential != nil {
		rt.Identity.Credential.show(h)
	}
	rt.vouch(h, with)
}
