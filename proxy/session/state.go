package session

import (
	"crypto/rand"
	"encoding/base64"
	"time"
)

// State says that somebody is signed in. It is sealed into the cookie of one
// host and is a value: whoever has one may change his copy.
type State struct {
	// ID is the same on every host that this sign-on reached, so that one
	// sign-out ends all of them. It is secret; logs show Log.
	ID string `json:"i"`
	// Log is what logs call this session: a keyed hash of ID, made when it began, so
	// that lines of one session join though the key is another by then.
	Log string `json:"l,omitempty"`
	// User is the name that policy decides on and the log records.
	User string `json:"u"`
	// Email, Name and Groups are what backends are told besides.
	Email  string   `json:"e,omitempty"`
	Name   string   `json:"n,omitempty"`
	Groups []string `json:"g,omitempty"`
	// IdP is the entity id of the identity provider that vouched.
	IdP string `json:"p,omitempty"`
	// Subject and Index are keys of the person and of the session at the identity
	// provider, short and one-way, printable ASCII: what a logout request of it is
	// matched by. They are equal if it gave the session no name, and empty if nothing
	// can be matched.
	Subject string `json:"b,omitempty"`
	Index   string `json:"d,omitempty"`
	// AuthnContext is how the person proved himself there.
	AuthnContext string `json:"c,omitempty"`
	// AuthnAt is when, in Unix seconds.
	AuthnAt int64 `json:"a"`
	// Signed is when this sign-on reached us, in Unix milliseconds: a logout request
	// that came later ends it.
	Signed int64 `json:"t,omitempty"`
	// Expires is the absolute end, in Unix seconds.
	Expires int64 `json:"x"`
	// Seen is when a request was last recorded in the cookie, in Unix seconds.
	Seen int64 `json:"s"`
}

// LogID is Log.
func (s *State) LogID() string { return s.Log }

// ExpiresAt is the absolute end of the session.
func (s *State) ExpiresAt() time.Time { return time.Unix(s.Expires, 0) }

// NewID returns 128 random bits in a form that is safe in cookies and URLs.
func NewID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
