package session

import (
	"net/http"
	"strings"
	"time"
)

const (
	// remoteName is the door's cookie that remembers what the identity provider has
	// to be told so that it ends its own session. No tool's host ever sees it.
	remoteName = CookiePrefix + "-remote"
	// signOffPrefix names the cookie on the door that remembers a logout request
	// sent to the identity provider; the relay state follows.
	signOffPrefix = CookiePrefix + "-signoff-"
)

// Remote is the session at the identity provider that one of ours came from, in
// its own words (saml-core 3.7.1). The door's browser keeps it.
type Remote struct {
	Session string `json:"i"` // State.ID
	Expires int64  `json:"x"` // State.Expires
	IdP     string `json:"p"` // name of the identity provider
	// How it names the person and the session.
	NameID          string `json:"n"`
	Format          string `json:"f,omitempty"`
	NameQualifier   string `json:"q,omitempty"`
	SPNameQualifier string `json:"s,omitempty"`
	SessionIndex    string `json:"d,omitempty"`
}

// SaveRemote keeps remote in a cookie of the door, in place of an earlier one. It
// returns ErrTooLarge when no browser would keep it: then nothing is kept, and the
// session can end here alone.
func (m *Manager) SaveRemote(w http.ResponseWriter, remote Remote) error {
	sealed := sealJSON(m.remotes, remote, "")
	if !fits(remoteName, sealed) {
		expire(w, remoteName, http.SameSiteLaxMode)
		return ErrTooLarge
	}
	set(w, &http.Cookie{Name: remoteName, Value: sealed, SameSite: http.SameSiteLaxMode})
	return nil
}

// Remote returns what SaveRemote kept in this browser for the session with that id.
func (m *Manager) Remote(r *http.Request, id string) (Remote, bool) {
	var remote Remote
	cookies := r.CookiesNamed(remoteName)
	ok := len(cookies) == 1 && openJSON(m.remotes, cookies[0].Value, "", &remote) &&
		remote.Session == id && m.alive(remote.Expires)
	return remote, ok
}

// leave is what a tool's host, where somebody has signed out, asks of the door:
// to tell the identity provider. It travels in a URL.
type leave struct {
	ID      string `json:"i"`
	Session string `json:"s"`
	Expiry  int64  `json:"x"`
}

// Leave seals the demand to sign off, at the identity provider, the session with
// that id. It is good once, for a minute, and only in the browser that has the
// session's Remote: nobody can sign off somebody else with it.
func (m *Manager) Leave(id string) string {
	return sealJSON(m.leaving, leave{ID: NewID(), Session: id, Expiry: m.expiry(ticketLife)}, "")
}

// OpenLeave uses up what Leave sealed, and returns the Remote of the session that
// it names. It reports false if that is not in this browser.
func (m *Manager) OpenLeave(r *http.Request, token string) (Remote, bool) {
	var l leave
	if !openJSON(m.leaving, token, "", &l) || !m.alive(l.Expiry) {
		return Remote{}, false
	}
	remote, ok := m.Remote(r, l.Session)
	if !ok || !m.usedTickets.Use(l.ID, time.Unix(l.Expiry, 0)) {
		return Remote{}, false
	}
	return remote, true
}

// HoldSignOff is Hold for a logout request.
func (m *Manager) HoldSignOff(w http.ResponseWriter, r *http.Request, relayState string, p Pending) {
	m.hold(w, r, waiting{signOffPrefix, m.signOffs}, relayState, p)
}

// HeldSignOff is Held for a logout request, and returns its relay state besides: for
// one that names none, the last request that this browser was given is meant, since
// some identity providers lose it. Whether the answer belongs to that request is for
// its InResponseTo to say.
func (m *Manager) HeldSignOff(r *http.Request, relayState string) (p Pending, found string, ok bool) {
	kind := waiting{signOffPrefix, m.signOffs}
	if p, ok = m.held(r, kind, relayState); ok {
		return p, relayState, true
	}
	names := namesWith(r, signOffPrefix)
	if len(names) == 0 {
		return Pending{}, "", false
	}
	relayState = strings.TrimPrefix(names[len(names)-1], signOffPrefix)
	p, ok = m.held(r, kind, relayState)
	return p, relayState, ok
}

// FinishSignOff is Finish for a logout request.
func (m *Manager) FinishSignOff(w http.ResponseWriter, relayState string, p Pending) bool {
	expire(w, signOffPrefix+relayState, http.SameSiteNoneMode)
	return m.usedPending.Use(p.RequestID, time.Unix(p.Expiry, 0))
}
