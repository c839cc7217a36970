package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/session"
)

// Identity says what a tool is told of a person, and how. The zero value tells the
// user's name, address and display name in X-Forwarded-User and its like, and of the
// groups those that the route's rules name. It must not be changed after New.
type Identity struct {
	// Profiles are the sets of header names; nil for that of [header.XForwarded] alone.
	// What a route sets under them no client may send to any route.
	Profiles []header.Profile
	// Values says how what cannot stand in a header is written.
	Values header.Values
	// AllGroups releases every group of the person's; MoreGroups are released beside those
	// that the rules name.
	AllGroups  bool
	MoreGroups []string
	// Credential is what the tool is shown in Authorization; nil for nothing.
	Credential *Credential
}

// releasedGroups are the groups that decide about the route or that its tool may
// know of. All groups may be released besides.
func (rt *Route) releasedGroups() []string {
	named := slices.Concat(rt.Rule.Groups(), rt.Identity.MoreGroups)
	for _, rule := range rt.Rules {
		named = slices.Concat(named, rule.Allow.Groups(), rule.Deny.Groups())
	}
	return named
}

// templateOf checks what the tool of a route is told.
func (g *Gateway) templateOf(spec Route) (*header.Template, error) {
	if spec.PassAuthorization && spec.Identity.Credential != nil {
		return nil, fmt.Errorf("route %q passes Authorization on and has a credential of its own: they would mix", spec.Name)
	}
	template, err := header.NewTemplate(header.Format{
		Profiles: spec.Identity.Profiles, Values: spec.Identity.Values,
		AllGroups: spec.Identity.AllGroups, Groups: spec.releasedGroups(), Foreign: g.ownNames(),
	})
	if err != nil {
		return nil, fmt.Errorf("route %q: %w", spec.Name, err)
	}
	return template, nil
}

// ownNames are the header names that any route sets. They are stripped on every route:
// one tool may stand behind several.
func (g *Gateway) ownNames() []string {
	if g.foreign == nil {
		g.foreign = []string{}
		for _, spec := range g.cfg.Routes {
			for _, p := range spec.Identity.Profiles {
				for _, name := range p.Names() {
					if !slices.Contains(g.foreign, name) && !header.Managed(name) {
						g.foreign = append(g.foreign, name)
					}
				}
			}
		}
	}
	return g.foreign
}

// cardOf returns what the backend is told of whoever has the session, or why it cannot
// be asked in that person's name.
func (rt *route) cardOf(state *session.State) (*header.Card, *refusal) {
	if c := rt.Identity.Credential; c != nil && c.authorization == "" {
		return nil, &refusal{
			status: http.StatusServiceUnavailable, reason: "credential_missing", cause: c.fault, title: "The tool cannot be opened for the moment",
			message: "You are signed in and allowed, but Sallyport lacks what it has to show this tool. Its operators can see why; give them the request number below.",
		}
	}
	if card := rt.cards.of(state); card != nil {
		return card, nil
	}
	card, err := rt.template.Card(header.Identity{User: state.User, Email: state.Email, Name: state.Name, Groups: state.Groups})
	if err != nil {
		return nil, &refusal{
			status: http.StatusForbidden, reason: "identity_value", cause: err, title: "This tool cannot take your name",
			message: "You are signed in and allowed, but your name, your address or one of your groups has characters that this tool would not understand. Give its owner the request number below.",
		}
	}
	rt.cards.put(state, card)
	return card, nil
}

// refuseUntold refuses what cardOf does. Somebody whose name a tool cannot take is
// denied; that something of ours is missing is no decision about anybody.
func (g *Gateway) refuseUntold(ex *exchange, r *http.Request, rf *refusal) {
	if rf.status == http.StatusForbidden {
		g.deny(ex, r, rf)
		return
	}
	g.refuse(ex, r, *rf)
}

// Credential is what a tool is shown in Authorization, in every request, because it
// knows no other way to trust anybody. No format, JSON or log shows it. It is immutable;
// the zero value is one that is missing.
type Credential struct {
	authorization string
	fault         error
}

// maxCredential bounds each part of a credential, in bytes.
const maxCredential = 4096

// BasicCredential is a user name and a password (RFC 7617). The error says what is
// wrong with which, and never what they are.
func BasicCredential(user, password string) (*Credential, error) {
	for _, part := range []struct{ what, text string }{{"user name", user}, {"password", password}} {
		switch {
		case part.text == "":
			return nil, fmt.Errorf("%s is empty", part.what)
		case len(part.text) > maxCredential:
			return nil, fmt.Errorf("%s has %d bytes, expected at most %d", part.what, len(part.text), maxCredential)
		case hasControl(part.text):
			return nil, fmt.Errorf("%s has a control character, such as a line break at its end, expected none", part.what)
		}
	}
	for i := range len(user) {
		if user[i] == ':' {
			return nil, errors.New("user name has a colon, expected none")
		}
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return &Credential{authorization: r.Header.Get("Authorization")}, nil
}

// BearerCredential is a token (RFC 6750 section 2.1). The error says what is wrong with
// it, and never what it is.
func BearerCredential(token string) (*Credential, error) {
	switch {
	case token == "":
		return nil, errors.New("token is empty")
	case len(token) > maxCredential:
		return nil, fmt.Errorf("token has %d bytes, expected at most %d", len(token), maxCredential)
	}
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c >= 0x7f {
			return nil, errors.New("token has a byte that is no visible ASCII, such as a line break at its end, expected none")
		}
	}
	return &Credential{authorization: "Bearer " + token}, nil
}

// MissingCredential stands for one that is not there, because of fault, which must not
// show any part of it: the route answers 503 until there is another.
func MissingCredential(fault error) *Credential { return &Credential{fault: fault} }

// hasControl reports whether s has what RFC 7617 section 2 bars from both parts.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// show sets the header.
func (c Credential) show(h http.Header) { h["Authorization"] = []string{c.authorization} }

// errCredentialRefused is in the line of a request whose tool does not take what it is shown.
var errCredentialRefused = errors.New("tool refuses the credential that it is shown")

// unchallenge takes from a tool that refuses our credential the means to have the browser
// ask the person for one: it would reach no tool, and a password that is typed there is
// one that somebody uses elsewhere.
func (rt *route) unchallenge(res *http.Response, ex *exchange) {
	if rt.Identity.Credential == nil || res.Header["Www-Authenticate"] == nil {
		return
	}
	delete(res.Header, "Www-Authenticate")
	if res.StatusCode == http.StatusUnauthorized {
		ex.Fail(errCredentialRefused)
	}
}

// hidden is all that anybody is shown of a credential.
const hidden = "[hidden]"

// String implements [fmt.Stringer].
func (Credential) String() string { return hidden }

// GoString implements [fmt.GoStringer].
func (Credential) GoString() string { return hidden }

// Format implements [fmt.Formatter]: no verb shows more.
func (Credential) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(hidden)) }

// MarshalText implements [encoding.TextMarshaler], for JSON and for logs.
func (Credential) MarshalText() ([]byte, error) { return []byte(hidden), nil }
