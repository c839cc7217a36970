package saml_test

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/sallyport/sallyport/saml"
)

// pending is where an application keeps which request a browser has begun: in a
// cookie of that browser, or in a store under one.
type pending interface {
	Keep(w http.ResponseWriter, requestID string)
	Take(r *http.Request) (requestID string)
}

// A service provider behind two handlers: one sends the browser to the identity
// provider, the other takes what it brings back.
func Example() {
	handlers := func(sp *saml.ServiceProvider, p pending, log *slog.Logger) (begin, consume http.HandlerFunc) {
		begin = func(w http.ResponseWriter, r *http.Request) {
			request, err := sp.Begin(saml.SignOn{})
			if err != nil {
				http.Error(w, "Sign-on is not possible now.", http.StatusServiceUnavailable)
				return
			}
			p.Keep(w, request.ID)
			http.Redirect(w, r, request.URL, http.StatusSeeOther)
		}
		consume = func(w http.ResponseWriter, r *http.Request) {
			post, err := saml.ReadPost(w, r)
			if err == nil {
				_, err = sp.Verify(r.Context(), post, saml.Expectation{RequestID: p.Take(r)})
			}
			if refusal, ok := errors.AsType[*saml.Refusal](err); ok {
				log.InfoContext(r.Context(), "sign-on refused", "code", refusal.Code, "error", refusal)
				http.Error(w, "You could not be signed in.", http.StatusForbidden)
				return
			}
			http.Redirect(w, r, "/", http.StatusSeeOther)
		}
		return begin, consume
	}
	_ = handlers
}
