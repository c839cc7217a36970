package proxy

import (
	"net/http"
	"slices"
)

// redirectHeader is where the browser is to go, in an answer to nginx: of those of
// auth_request, nginx passes no Location on.
const redirectHeader = "X-Sallyport-Redirect"

// nginxAnswer puts answers into what auth_request knows: 2xx lets pass, 401 and 403
// refuse, and anything else is an error, which refuses too. There is no body, since
// nginx reads none.
type nginxAnswer struct{ http.ResponseWriter }

func newNginxAnswer(w http.ResponseWriter) http.ResponseWriter { return nginxAnswer{w} }

// WriteHeader implements http.ResponseWriter.
func (w nginxAnswer) WriteHeader(status int) {
	h := w.Header()
	delete(h, "Content-Length")
	delete(h, "Content-Type")
	switch {
	case status >= 200 && status < 300:
		status = http.StatusNoContent
	case status == http.StatusSeeOther:
		h.Set(redirectHeader, h.Get("Location"))
		delete(h, "Location")
		status = http.StatusUnauthorized
	case status != http.StatusUnauthorized && status < 500:
		status = http.StatusForbidden
	}
	// nginx would hand several on as one line that no browser understands. What is set
	// comes last, after what is taken away.
	if cookies := h["Set-Cookie"]; len(cookies) > 1 {
		h["Set-Cookie"] = slices.Clone(cookies[len(cookies)-1:])
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write takes the body for written.
func (w nginxAnswer) Write(p []byte) (int, error) { return len(p), nil }
