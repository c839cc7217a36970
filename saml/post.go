package saml

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// ReadPost reads the form that an identity provider made the browser send
// (saml-bindings 3.5). Only the body counts: what is in the query was put there
// by whoever wrote the link. A body that is too large closes the connection.
// The error is a *[Refusal].
func ReadPost(w http.ResponseWriter, r *http.Request) (Post, error) {
	if r.Method != http.MethodPost {
		return Post{}, refusef(CodeMethod, "method %.20q, expected POST", r.Method)
	}
	form, err := readForm(w, r, maxBodySize)
	if err != nil {
		return Post{}, err
	}
	return newPost(form)
}

// readForm reads the body of a POST, of at most limit bytes.
func readForm(w http.ResponseWriter, r *http.Request, limit int64) (url.Values, error) {
	if err := checkContentType(r.Header); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, refusef(CodeBodySize, "body of more than %d bytes", limit)
		}
		return nil, refusef(CodeForm, "reading the body: %w", err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refusef(CodeForm, "parsing the form: %.200q", err.Error())
	}
	return form, nil
}

// checkContentType wants what browsers send for a form, and nothing that another
// reader of the body might decode in another way.
func checkContentType(h http.Header) error {
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" || len(h.Values("Content-Type")) != 1 {
		return refusef(CodeContentType, "content type %.100q, expected application/x-www-form-urlencoded", h.Get("Content-Type"))
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return refusef(CodeContentType, "content type with the parameter %.100q", name+"="+value)
		}
	}
	if coding := h.Get("Content-Encoding"); coding != "" {
		return refusef(CodeContentType, "content encoding %.100q, expected none", coding)
	}
	return nil
}

// newPost picks the two fields. A field that is there twice has no value that
// everybody agrees on.
func newPost(form url.Values) (Post, error) {
	responses := form[fieldResponse]
	if len(responses) != 1 || responses[0] == "" {
		return Post{}, refusef(CodeForm, "%d SAMLResponse fields, expected one that is not empty", len(responses))
	}
	state, err := relayStateOf(form)
	if err != nil {
		return Post{}, err
	}
	return Post{Response: responses[0], RelayState: state}, nil
}

// relayStateOf returns the state, empty if there is none.
func relayStateOf(form url.Values) (string, error) {
	states := form["RelayState"]
	if len(states) > 1 {
		return "", refusef(CodeRelayState, "%d RelayState fields, expected at most one", len(states))
	}
	if len(states) == 0 {
		return "", nil
	}
	if err := checkRelayState(states[0]); err != nil {
		return "", refusef(CodeRelayState, "checking RelayState: %w", err)
	}
	return states[0], nil
}

var errRelayState = errors.New("expected at most 80 printable ASCII characters without spaces")

// checkRelayState holds both directions to what can travel unchanged. It is a
// key to the caller's own state, never an address.
func checkRelayState(s string) error {
	if len(s) > maxRelayStateSize {
		return errRelayState
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return errRelayState
		}
	}
	return nil
}
