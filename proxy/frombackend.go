package proxy

import (
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/session"
)

// filterResponse takes from a backend's answer what is not the backend's to
// say: our cookies, identity headers, and where this host is served otherwise.
func filterResponse(res *http.Response) error {
	h := res.Header
	if fault := h.Get(header.Fault); fault != "" {
		return sidecarFault(fault)
	}
	session.StripResponse(h)
	header.StripResponse(h)
	delete(h, "Alt-Svc")
	if h["Strict-Transport-Security"] == nil {
		h.Set("Strict-Transport-Security", portal.StrictTransport)
	}
	if out := outgoingOf(res.Request.Context()); out != nil && len(out.renewal) > 0 && private(h) {
		h["Set-Cookie"] = append(h["Set-Cookie"], out.renewal...)
	}
	return nil
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
