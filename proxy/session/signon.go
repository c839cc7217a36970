package session

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// returnPrefix names the cookie on a tool's host that remembers the page
	// first asked for; the id of the sign-on follows.
	returnPrefix = CookiePrefix + "-return-"
	// pendingPrefix names the cookie on the door that remembers the request
	// sent to the identity provider; the relay state follows.
	pendingPrefix = CookiePrefix + "-signon-"
	// maxPending bounds how many sign-ons one browser may have under way on
	// one host: enough for tabs restored together, small enough for any
	// server's header limit.
	maxPending = 6
	// maxReturn bounds the page remembered; a longer one is replaced by "/".
	maxReturn = 1500
	// signOnLife is how long a person may take at the identity provider.
	signOnLife = 10 * time.Minute
	// ticketLife is how long a browser may take to follow one redirect.
	ticketLife = time.Minute
)

// Aim is where somebody wants to enter: a host of a tool's, or the door's.
type Aim struct {
	Host string `json:"h"`
	// Route and Rule say which of the host's routes, and which rule of its, where it
	// has several; empty where it has not.
	Route string `json:"o,omitempty"`
	Rule  string `json:"u,omitempty"`
}

// Begin is what a tool's host asks of the door: sign somebody in, then come
// back for the sign-on called Return. It travels in a URL.
type Begin struct {
	Aim
	Return string `json:"r"`
	// At is when, in Unix microseconds, and Why what the tool's host found in place of
	// a session.
	At     int64   `json:"t,omitempty"`
	Why    Absence `json:"w,omitempty"`
	Expiry int64   `json:"x"`
}

// Pending is one sign-on under way at the identity provider, kept by the
// browser that began it.
type Pending struct {
	// RequestID is the ID of our AuthnRequest (SAML core 3.2.1).
	RequestID string `json:"q"`
	// IdP is the name of the identity provider that was asked, and RequestedAt when,
	// in Unix seconds.
	IdP         string `json:"n,omitempty"`
	RequestedAt int64  `json:"t,omitempty"`
	// Forced says that the person had to prove anew who they are.
	Forced bool `json:"f,omitempty"`
	// Aim is where to go afterwards; the door's own host or a tool's.
	Aim
	// Return is the tool's name for it; empty when Host is the door.
	Return string `json:"r,omitempty"`
	// Begun is when Host asked for the sign-on, in Unix microseconds, and Why what it
	// had found in place of a session.
	Begun  int64   `json:"b,omitempty"`
	Why    Absence `json:"w,omitempty"`
	Expiry int64   `json:"x"`
}

// Ticket carries a sign-on from the door to one tool's host, once.
type Ticket struct {
	ID     string `json:"i"`
	Host   string `json:"h"`
	Return string `json:"r"`
	State  *State `json:"s"`
	Expiry int64  `json:"x"`
}

// returning is the page first asked for, kept by the browser that asked. The
// URI is bytes, which JSON carries exactly: as a string, each "&" would take
// six bytes of the cookie, and bytes that are no UTF-8 would be lost.
type returning struct {
	URI    []byte `json:"u"`
	Expiry int64  `json:"x"`
}

// Begin remembers in a cookie of aim.Host that uri was asked for, and returns the
// sealed token that the door takes. A uri that is too long for a cookie, or
// might lead to another host, is remembered as "/".
//
// why is what that host found in place of a session.
func (m *Manager) Begin(w http.ResponseWriter, r *http.Request, aim Aim, uri string, why Absence) string {
	id, expiry := m.newSignOnID(), m.expiry(signOnLife)
	m.limitPending(w, r, returnPrefix, http.SameSiteLaxMode)
	set(w, &http.Cookie{
		Name: returnPrefix + id, Value: sealJSON(m.returns, returning{URI: []byte(returnURI(uri)), Expiry: expiry}, aim.Host+"|"+id),
		MaxAge: int(signOnLife.Seconds()), SameSite: http.SameSiteLaxMode,
	})
	return sealJSON(m.begin, Begin{Aim: aim, Return: id, At: m.cfg.Now().UnixMicro(), Why: why, Expiry: expiry}, "")
}

// returnURI is uri when it is a path of the same host in every reading, else
// "/": browsers take "//" and "/\" for the beginning of another host, and drop
// tabs and line breaks before they look.
func returnURI(uri string) string {
	strange := len(uri) == 0 || len(uri) > maxReturn || uri[0] != '/' ||
		len(uri) > 1 && (uri[1] == '/' || uri[1] == '\\') ||
		strings.ContainsFunc(uri, func(c rune) bool { return c < ' ' || c == 0x7f })
	if strange {
		return "/"
	}
	return uri
}

// OpenBegin returns what Begin sealed, if it is still good.
func (m *Manager) OpenBegin(token string) (Begin, bool) {
	var b Begin
	ok := openJSON(m.begin, token, "", &b) && m.alive(b.Expiry)
	return b, ok
}

// RelayState returns a name for a sign-on: it goes to the identity provider and
// back and means nothing without the cookie of the same name.
func (m *Manager) RelayState() string { return m.newSignOnID() }

// waiting is one kind of request to the identity provider that a browser keeps until
// the answer comes: prefix and relay state name the cookie.
type waiting struct {
	prefix string
	sealer *sealer
}

// Hold keeps p in a cookie of the door under the given relay state.
func (m *Manager) Hold(w http.ResponseWriter, r *http.Request, relayState string, p Pending) {
	m.hold(w, r, waiting{pendingPrefix, m.pending}, relayState, p)
}

// hold keeps what was asked. The answer is a cross-site POST, so the cookie must be
// SameSite=None.
func (m *Manager) hold(w http.ResponseWriter, r *http.Request, kind waiting, relayState string, p Pending) {
	p.Expiry = m.expiry(signOnLife)
	m.limitPending(w, r, kind.prefix, http.SameSiteNoneMode)
	set(w, &http.Cookie{
		Name: kind.prefix + relayState, Value: sealJSON(kind.sealer, p, relayState),
		MaxAge: int(signOnLife.Seconds()), SameSite: http.SameSiteNoneMode,
	})
}

// Held returns the sign-on that this browser began under relayState, if it is
// still under way. It does not use it up; see Finish.
func (m *Manager) Held(r *http.Request, relayState string) (Pending, bool) {
	return m.held(r, waiting{pendingPrefix, m.pending}, relayState)
}

func (m *Manager) held(r *http.Request, kind waiting, relayState string) (Pending, bool) {
	var p Pending
	if !validSignOnID(relayState) {
		return p, false
	}
	cookies := r.CookiesNamed(kind.prefix + relayState)
	if len(cookies) != 1 {
		return p, false
	}
	ok := openJSON(kind.sealer, cookies[0].Value, relayState, &p) && m.alive(p.Expiry)
	return p, ok
}

// HoldsAny reports whether r carries any sign-on under way, good or not: an
// answer of the identity provider without one need not be read.
func (m *Manager) HoldsAny(r *http.Request) bool {
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, pendingPrefix) {
			return true
		}
	}
	return false
}

// Finish uses up a sign-on: it reports false when it was finished before, and
// takes its cookie away.
func (m *Manager) Finish(w http.ResponseWriter, relayState string, p Pending) bool {
	expire(w, pendingPrefix+relayState, http.SameSiteNoneMode)
	return m.usedPending.Use(p.RequestID, time.Unix(p.Expiry, 0))
}

// Issue seals a ticket that carries s to host, for the browser that holds the
// return cookie of that name.
func (m *Manager) Issue(s *State, host, ret string) string {
	return sealJSON(m.tickets, Ticket{ID: NewID(), Host: host, Return: ret, State: s, Expiry: m.expiry(ticketLife)}, host)
}

// TicketFault says why a ticket was not redeemed, as a reason code.
type TicketFault string

// Why a ticket was not redeemed.
const (
	TicketGood    TicketFault = ""
	TicketInvalid TicketFault = "ticket_invalid"  // forged, for another host, or too old
	TicketForeign TicketFault = "ticket_foreign"  // another browser asked for it, or cookies are off
	TicketUsed    TicketFault = "ticket_used"     // redeemed before
	TicketEnded   TicketFault = "session_revoked" // the session ended meanwhile
)

// Redeem uses up a ticket at host, and returns the state that it carried and
// the page first asked for. Only the browser that asked for the page can.
func (m *Manager) Redeem(w http.ResponseWriter, r *http.Request, host, token string) (*State, string, TicketFault) {
	var t Ticket
	if !openJSON(m.tickets, token, host, &t) || !m.alive(t.Expiry) || t.Host != host || t.State == nil {
		return nil, "", TicketInvalid
	}
	cookies := r.CookiesNamed(returnPrefix + t.Return)
	var page returning
	if !validSignOnID(t.Return) || len(cookies) != 1 || !openJSON(m.returns, cookies[0].Value, host+"|"+t.Return, &page) || !m.alive(page.Expiry) {
		return nil, "", TicketForeign
	}
	if !m.usedTickets.Use(t.ID, time.Unix(t.Expiry, 0)) {
		return nil, "", TicketUsed
	}
	expire(w, returnPrefix+t.Return, http.SameSiteLaxMode)
	if _, absent := m.judge(t.State); absent != Present {
		return nil, "", TicketEnded
	}
	return t.State, string(page.URI), TicketGood
}

// limitPending takes the oldest cookies with this prefix away, so that one more
// does not exceed maxPending.
func (m *Manager) limitPending(w http.ResponseWriter, r *http.Request, prefix string, mode http.SameSite) {
	names := namesWith(r, prefix)
	for len(names) >= maxPending {
		expire(w, names[0], mode)
		names = names[1:]
	}
}

// namesWith are the names of r's cookies with this prefix, the oldest first: what
// follows it begins with a time.
func namesWith(r *http.Request, prefix string) []string {
	var names []string
	for _, c := range r.Cookies() {
		if strings.HasPrefix(c.Name, prefix) {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (m *Manager) expiry(life time.Duration) int64 { return m.cfg.Now().Add(life).Unix() }

func (m *Manager) alive(expiry int64) bool { return m.cfg.Now().Unix() < expiry }

// newSignOnID names one sign-on: its time, so that ids sort by age, and 128
// random bits.
func (m *Manager) newSignOnID() string {
	return fmt.Sprintf("%010d", m.cfg.Now().Unix()) + NewID()
}

// signOnIDSize is the length of a sign-on's name: ten digits and 128 bits in
// base64.
const signOnIDSize = 10 + 22

func validSignOnID(id string) bool {
	if len(id) != signOnIDSize {
		return false
	}
	return !strings.ContainsFunc(id, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_'
	})
}

// sealJSON seals v. The types sealed here always marshal.
func sealJSON(s *sealer, v any, binding string) string {
	plaintext, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("session: sealing %T: %v", v, err))
	}
	return s.seal(plaintext, binding)
}

func openJSON(s *sealer, sealed, binding string, v any) bool {
	plaintext, err := s.open(sealed, binding)
	return err == nil && json.Unmarshal(plaintext, v) == nil
}

// set writes a cookie that only this host sees.
func set(w http.ResponseWriter, c *http.Cookie) {
	c.Path, c.Secure, c.HttpOnly = "/", true, true
	http.SetCookie(w, c)
}

// fits says whether browsers keep a cookie of that name and value that set writes: one
// without a Max-Age.
func fits(name, value string) bool {
	return len(name)+len(value) <= maxCookie-len("=; Path=/; HttpOnly; Secure; SameSite=Lax")
}

func expire(w http.ResponseWriter, name string, mode http.SameSite) {
	set(w, &http.Cookie{Name: name, MaxAge: -1, SameSite: mode})
}
