package proxy

import (
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/session"
)

// filterResponse takes from a backend's answer what is not the backend's to
// say: our cookies, identity headers, and where this host is served otherwise. It adds
// what protects the person and the backend has not said.
func (g *Gateway) filterResponse(res *http.Response) error {
	h := res.Header
	g.noteCertificates(res)
	if fault := h.Get(header.Fault); fault != "" {
		return sidecarFault(fault)
	}
	if err := senseless(res); err != nil {
		return err
	}
	out := outgoingOf(res.Request.Context())
	cleanseAnswer(h)
	at := out.at
	at.unchallenge(res, out.exchange)
	at.answers.confine(h)
	at.answers.relocate(h, at)
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil // nothing that a browser would show, and its body is a connection
	}
	at.answers.protect(h)
	if len(out.renewal) > 0 && private(h) {
		h["Set-Cookie"] = append(h["Set-Cookie"], out.renewal...)
	}
	out.body = backendBody{ReadCloser: res.Body, exchange: out.exchange}
	res.Body = &out.body
	return nil
}

// noteCertificates writes into the record whose certificates the connection was made with
// on which an answer has come.
func (g *Gateway) noteCertificates(res *http.Response) {
	if res.TLS == nil {
		return
	}
	record := &outgoingOf(res.Request.Context()).exchange.Record
	record.OwnSerial, record.UpstreamSerial = g.cfg.ClientSerial, g.backends.Of(res.TLS.PeerCertificates)
}

// cleanseAnswer takes from the header of an answer, whichever part of it, what a
// backend has no say in.
func cleanseAnswer(h http.Header) {
	session.StripResponse(h)
	header.StripResponse(h)
	delete(h, "Alt-Svc")
	if challenges := h["Www-Authenticate"]; len(challenges) > 0 {
		withoutConnectionAuth(h, challenges)
	}
}

// withoutConnectionAuth removes the challenges by which a server authenticates a
// connection and not a request (RFC 4559 section 6): connections to backends carry the
// requests of many people.
func withoutConnectionAuth(h http.Header, challenges []string) {
	var kept []string
	for _, line := range challenges {
		scheme, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		scheme, _, _ = strings.Cut(scheme, ",")
		if !strings.EqualFold(scheme, "NTLM") && !strings.EqualFold(scheme, "Negotiate") {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		delete(h, "Www-Authenticate")
		return
	}
	h["Www-Authenticate"] = kept
}

// private makes sure that no shared cache keeps an answer that a cookie is
// added to, and reports false for one that is meant to be kept: the cookie can
// wait for another.
func private(h http.Header) bool {
	control := strings.ToLower(strings.Join(h["Cache-Control"], ","))
	if control == "" {
		h.Set("Cache-Control", "private")
		return true
	}
	return strings.Contains(control, "no-store") || strings.Contains(control, "private") || strings.Contains(control, "no-cache")
}
