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
func filterResponse(res *http.Response) error {
	h := res.Header
	if fault := h.Get(header.Fault); fault != "" {
		return sidecarFault(fault)
	}
	if err := senseless(res); err != nil {
		return err
	}
	out := outgoingOf(res.Request.Context())
	out.answered()
	cleanseAnswer(h)
	at := out.at
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

// FilterTrailers takes from a backend's trailers what must stand in no trailer (RFC
// 9110 section 6.5.1) and what is not the backend's to say at all; what remains, such
// as the status of gRPC, may follow the body.
func FilterTrailers(h http.Header) {
	cleanseAnswer(h)
	for name := range h {
		if unsettable[name] || notInTrailers[name] || strings.HasPrefix(name, "Access-Control-") || strings.HasPrefix(name, "Sec-") {
			delete(h, name)
		}
	}
}

// notInTrailers are headers that decide something before the body is read.
var notInTrailers = map[string]bool{
	"Set-Cookie2": true, "Content-Type": true, "Content-Disposition": true, "Content-Location": true, "Content-Language": true,
	"Content-Security-Policy": true, "Content-Security-Policy-Report-Only": true, "Strict-Transport-Security": true,
	"X-Content-Type-Options": true, "X-Frame-Options": true, "Referrer-Policy": true, "Permissions-Policy": true,
	"Cross-Origin-Opener-Policy": true, "Cross-Origin-Embedder-Policy": true, "Cross-Origin-Resource-Policy": true,
	"Cache-Control": true, "Expires": true, "Age": true, "Vary": true, "Pragma": true, "Refresh": true, "Retry-After": true,
	"Www-Authenticate": true, "Authentication-Info": true, "Authorization": true, "Cookie": true, "Host": true, "Link": true, "Warning": true,
	"Service-Worker-Allowed": true, "Report-To": true, "Reporting-Endpoints": true, "Nel": true, "Public-Key-Pins": true,
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
