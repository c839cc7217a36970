package portal

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Form is a page that posts itself to an address of somebody else's: how a
// message reaches an identity provider that does not take it in a query
// (saml-bindings 3.5). Whoever has no script presses the button.
type Form struct {
	Title   string // what happens, in a few words
	Message string // what to do if it does not happen by itself
	// Action is where the form goes: an absolute https address without user info.
	Action string
	Fields []Field
	Button string // what the button says
	// InFrame lets the page stand in a frame of the site that it posts to: identity
	// providers sign out of several applications at once in frames of their own.
	InFrame bool
}

// Field is a hidden field of a Form.
type Field struct{ Name, Value string }

// submit is the only script there is. It does not say form.submit(): a field of
// that name would take the method's place.
const submit = "HTMLFormElement.prototype.submit.call(document.forms[0])"

// WriteForm answers with a page that posts f. It answers nothing and returns an
// error if f does not lead to an https address.
//
// The page may post to any https address, where every other page names the
// origins. Chromium holds a form's redirects to this list as well, and whoever
// takes the post may have to send the browser on: a broker to the identity
// provider behind it, a logout to the other applications that the person was
// signed in to. The form on the page is the one given, and the fields cannot
// become markup.
func (p *Pages) WriteForm(w http.ResponseWriter, f Form) error {
	if err := checkAction(f.Action); err != nil {
		return fmt.Errorf("rendering the form %q: %w", f.Title, err)
	}
	frames := noFrames
	if f.InFrame {
		frames = "; frame-ancestors " + originOf(f.Action)
	}
	return p.write(w, http.StatusOK, p.common+p.posting+frames, "form.html", f)
}

// originOf is the origin of an address that checkAction has passed.
func originOf(action string) string {
	at, _ := url.Parse(action) // parsed before
	return "https://" + at.Host
}

// checkAction refuses what came with somebody's metadata and is no place to post
// to, javascript: above all.
func checkAction(action string) error {
	at, err := url.Parse(action)
	switch {
	case err != nil:
		return fmt.Errorf("reading its address: %w", err)
	case at.Scheme != "https" || at.Host == "" || at.User != nil || strings.ContainsAny(at.Host, ";, '"):
		return fmt.Errorf("address %q, expected https://HOST/… without user info", at.Redacted())
	}
	return nil
}
