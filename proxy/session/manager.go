package session

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// CookiePrefix begins the name of every cookie of ours. Cookies with such names
// never reach a backend and are never accepted from one.
const CookiePrefix = "__Host-sallyport"

// CookieName is the session's own cookie, one per host.
const CookieName = CookiePrefix

// linkName is the door's second cookie: the session's own is SameSite=Lax and
// stays away from the identity provider's cross-site POST, this one does not.
// It opens nothing.
const linkName = CookiePrefix + "-link"

// maxCookie is what browsers keep of one cookie, name and attributes included
// (RFC 6265bis section 5.5).
const maxCookie = 4096

// refreshFraction is the part of the idle limit after which a request renews
// the cookie; more often would cost a Set-Cookie for nothing.
const refreshFraction = 20

// clockSlack is how far the clocks of two replicas may lie apart.
const clockSlack = time.Minute

// Config is what a Manager needs. It must not be changed after New.
type Config struct {
	// Keys seal all cookies and tokens; Current is required.
	Keys Keys
	// Hosts are the door's and the tools' host names, lower-case, and wildcards
	// (*.DOMAIN) for hosts of one more label. A session is bound to one host, which
	// is never a wildcard.
	Hosts []string
	// Idle ends a session that is not used for so long; required.
	Idle time.Duration
	// Absolute ends any session so long after sign-on; required, at least Idle.
	Absolute time.Duration
	// Memory is what was used up and revoked so far. A Manager that takes
	// another's place, with other keys or limits, must be given the same; nil
	// means an empty one.
	Memory *Memory
	// Now is the clock, called concurrently; nil means time.Now.
	Now func() time.Time
}

// Manager finds, saves and ends sessions and carries sign-ons between hosts.
// It is safe for concurrent use.
type Manager struct {
	cfg     Config
	stores  stores
	opened  opened
	begin   *sealer
	pending *sealer
	returns *sealer
	tickets *sealer
	links   *sealer
	rounds  *sealer
	// Of sign-offs: see signoff.go.
	remotes, signOffs, leaving *sealer
	logIDs                     logIDs
	*Memory
}

// Memory is what a Manager knows beside its keys: which one-time values were
// used and which sessions have ended. It outlives the Manager, and is safe for
// concurrent use by several; make one with NewMemory.
type Memory struct {
	// What was used up is remembered apart, so that a flood of the one leaves
	// room for the other.
	usedPending, usedTickets *Once
	revoked                  *Revocations
	longest                  atomic.Int64 // Absolute of any Manager ever, in nanoseconds
}

// remember notes how long a session can be.
func (m *Memory) remember(absolute time.Duration) {
	for {
		before := m.longest.Load()
		if before >= int64(absolute) || m.longest.CompareAndSwap(before, int64(absolute)) {
			return
		}
	}
}

// NewMemory returns an empty memory. now is called concurrently.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{usedPending: NewOnce(now), usedTickets: NewOnce(now), revoked: NewRevocations(now)}
}

// New returns a Manager, or an error that says which part of cfg is wrong.
func New(cfg Config) (*Manager, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Idle <= 0 || cfg.Absolute < cfg.Idle {
		return nil, fmt.Errorf("session limits idle %v, absolute %v: expected 0 < idle <= absolute", cfg.Idle, cfg.Absolute)
	}
	if cfg.Memory == nil {
		cfg.Memory = NewMemory(cfg.Now)
	}
	cfg.Memory.remember(cfg.Absolute)
	m := &Manager{cfg: cfg, Memory: cfg.Memory}
	var sessionSealer *sealer
	for p, dst := range map[purpose]**sealer{
		forSession: &sessionSealer, forBegin: &m.begin, forPending: &m.pending, forReturn: &m.returns, forTicket: &m.tickets, forLink: &m.links,
		forRounds: &m.rounds,
		forRemote: &m.remotes, forSignOff: &m.signOffs, forLeaving: &m.leaving,
	} {
		s, err := newSealer(cfg.Keys, p)
		if err != nil {
			return nil, err
		}
		*dst = s
	}
	var err error
	if m.logIDs, err = newLogIDs(cfg.Keys); err != nil {
		return nil, err
	}
	m.stores = newStores(sessionSealer, cfg.Hosts)
	return m, nil
}

// Idle is for how long a session may go without being used.
func (m *Manager) Idle() time.Duration { return m.cfg.Idle }

// Revocations are the sessions that ended before their time.
func (m *Memory) Revocations() *Revocations { return m.revoked }

// cookieOptions are those of every session cookie: for this host and for as
// long as the browser runs. gorilla/sessions' own defaults are neither HttpOnly
// nor SameSite.
func cookieOptions() *sessions.Options {
	return &sessions.Options{Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

// Find returns the session that r carries for host, or why there is none. It is
// called for every request.
func (m *Manager) Find(r *http.Request, host string) (*State, Absence) {
	state, absence := m.open(r, host)
	if absence != Present {
		return nil, absence
	}
	return m.judge(state)
}

// open returns the state in the cookie of host, before any limit was applied. The
// caller may change it.
func (m *Manager) open(r *http.Request, host string) (*State, Absence) {
	line, ok := m.opened.lineOf(r, host)
	if !ok {
		return m.unseal(r, host)
	}
	if state := m.opened.get(line); state != nil {
		return state, Present
	}
	state, absence := m.unseal(r, host)
	if absence == Present {
		m.opened.put(line, state)
	}
	return state, absence
}

// unseal is open without a memory.
func (m *Manager) unseal(r *http.Request, host string) (*State, Absence) {
	store := m.stores.of(host)
	if store == nil {
		return nil, AbsentForged
	}
	cookies := r.CookiesNamed(CookieName)
	switch n := len(cookies); {
	case n == 0:
		return nil, AbsentCookie
	case n > 1:
		return nil, AbsentTwice
	}
	values := make(map[any]any, 1)
	// store.New would do the same, but parse the Cookie header once more.
	if err := securecookie.DecodeMulti(CookieName, cookies[0].Value, &values, store.Codecs...); err != nil {
		return nil, AbsentForged
	}
	state, ok := values[stateKey].(*State)
	if !ok {
		return nil, AbsentForged
	}
	return m.named(state), Present
}

// judge applies the limits to a state that opened. A state from the future was
// written under a wrong clock, or under limits that were wider than today's: it
// must not outlive those that hold now.
func (m *Manager) judge(s *State) (*State, Absence) {
	now := m.cfg.Now()
	left, unused := s.ExpiresAt().Sub(now), now.Sub(time.Unix(s.Seen, 0))
	switch {
	case m.revoked.Ended(s):
		return nil, AbsentRevoked
	case left <= 0 || left > m.cfg.Absolute+clockSlack:
		return nil, AbsentExpired
	case unused > m.cfg.Idle || unused < -clockSlack:
		return nil, AbsentIdle
	}
	return s, Present
}

// Start makes the state of a sign-on at this moment, with both limits. notAfter,
// when not zero, is the identity provider's own limit (SAML core 2.7.2,
// SessionNotOnOrAfter).
//
// When this browser has a session at the door already, the same person goes on
// under its id, so that tabs that signed on side by side end together; another
// person's session is ended everywhere. An id never comes from a browser in
// any other way, so none can be planted.
func (m *Manager) Start(r *http.Request, s State, notAfter time.Time) *State {
	now := m.cfg.Now()
	expires := now.Add(m.cfg.Absolute)
	if !notAfter.IsZero() && notAfter.Before(expires) {
		expires = notAfter
	}
	s.ID, s.Signed, s.Seen, s.Expires = NewID(), now.UnixMilli(), now.Unix(), expires.Unix()
	if before, ok := m.Linked(r); ok {
		m.follow(&s, before)
	}
	return m.named(&s)
}

// follow has s go on under the id of the session before it, or ends that one.
func (m *Manager) follow(s, before *State) {
	if before.User != s.User || m.revoked.Ended(before) {
		m.revoke(before)
		return
	}
	s.ID, s.Log = before.ID, before.Log
	if s.Index != "" && s.Index != before.Index {
		m.revoked.Join(s, m.forgettable())
	}
}

// Save puts s into the cookie of host. It returns ErrTooLarge when no browser
// would keep it.
func (m *Manager) Save(w http.ResponseWriter, r *http.Request, host string, s *State) error {
	store := m.stores.of(host)
	if store == nil {
		return fmt.Errorf("saving a session for host %q, which has no route", host)
	}
	cookie := sessions.NewSession(store, CookieName)
	cookie.Options = cookieOptions()
	cookie.Values[stateKey] = s
	if err := store.Save(r, w, cookie); err != nil {
		return fmt.Errorf("saving the session of host %q: %w", host, sole(err))
	}
	return nil
}

// sole unpacks the one error of our one codec: securecookie's list of errors
// hides what it holds from errors.Is.
func sole(err error) error {
	var several securecookie.MultiError
	if errors.As(err, &several) && len(several) == 1 {
		return several[0]
	}
	return err
}

// SaveDoor is Save for the door's host. It also leaves a link to the session
// that a cross-site POST of the identity provider brings along.
func (m *Manager) SaveDoor(w http.ResponseWriter, r *http.Request, host string, s *State) error {
	if err := m.Save(w, r, host, s); err != nil {
		return err
	}
	link := State{ID: s.ID, Log: s.Log, User: s.User, IdP: s.IdP, Subject: s.Subject, Index: s.Index, AuthnAt: s.AuthnAt, Signed: s.Signed, Expires: s.Expires}
	set(w, &http.Cookie{Name: linkName, Value: sealJSON(m.links, link, ""), SameSite: http.SameSiteNoneMode})
	return nil
}

// Linked returns what SaveDoor left: id, user, identity provider, keys and times of a session that
// this browser has, or had, at the door, ended or not. It lets nobody in.
func (m *Manager) Linked(r *http.Request) (*State, bool) {
	s := new(State)
	cookies := r.CookiesNamed(linkName)
	ok := len(cookies) == 1 && openJSON(m.links, cookies[0].Value, "", s) && m.alive(s.Expires)
	return m.named(s), ok
}

// Refresh returns a copy of s to save when enough of the idle limit has passed
// since the cookie was written, else nil.
func (m *Manager) Refresh(s *State) *State {
	now := m.cfg.Now()
	if now.Sub(time.Unix(s.Seen, 0)) < m.cfg.Idle/refreshFraction {
		return nil
	}
	renewed := *s
	renewed.Seen = now.Unix()
	return &renewed
}

// End revokes s everywhere and takes the cookies of this host away.
func (m *Manager) End(w http.ResponseWriter, s *State) {
	m.revoke(s)
	m.Forget(w)
}

// EndRemote ends, on every host, what an identity provider has ended, whoever's
// browser it is in; see [Revocations.RevokeRemote]. What was under way ends too: a
// ticket is worth as much as its state.
func (m *Manager) EndRemote(idp, subject string, indexes []string) (open []*State) {
	return m.revoked.RevokeRemote(idp, subject, indexes, m.forgettable())
}

// revoke ends all states with the id of s.
func (m *Manager) revoke(s *State) { m.revoked.Revoke(s, m.forgettable()) }

// forgettable is when a session that ends now will have expired on every host.
// Another host may have a state that expires later, since a person who signs on
// again goes on under the id (see Start), so no state's own end says how long to
// remember it; nor do the limits of this Manager, which may follow one that let
// sessions be longer, and precede another.
func (m *Manager) forgettable() time.Time {
	return m.cfg.Now().Add(time.Duration(m.longest.Load()) + clockSlack)
}

// Forget takes the cookies of a session away from this host and revokes nothing.
func (m *Manager) Forget(w http.ResponseWriter) {
	expire(w, CookieName, http.SameSiteLaxMode)
	expire(w, linkName, http.SameSiteNoneMode)
	m.ForgetRounds(w)
	expire(w, remoteName, http.SameSiteLaxMode)
}

// stateKey is where the state stands among the values of a gorilla session.
const stateKey = "state"

// stateCodec seals a session's state for one host. It stands in for
// securecookie's own codec, which would use gob and know no host.
type stateCodec struct {
	sealer *sealer
	host   string
}

// Encode implements securecookie.Codec; value is a session's Values.
func (c stateCodec) Encode(name string, value any) (string, error) {
	values, ok := value.(map[any]any)
	if !ok {
		return "", fmt.Errorf("sealing session: values are %T, expected map[any]any", value)
	}
	state, ok := values[stateKey].(*State)
	if !ok {
		return "", errors.New("sealing session: values hold no state")
	}
	sealed := c.sealer.seal(state.append(), name+"|"+c.host)
	if !fits(name, sealed) {
		return "", ErrTooLarge
	}
	return sealed, nil
}

// Decode implements securecookie.Codec; dst is a *map[any]any.
func (c stateCodec) Decode(name, sealed string, dst any) error {
	values, ok := dst.(*map[any]any)
	if !ok {
		return fmt.Errorf("opening session: destination is %T, expected *map[any]any", dst)
	}
	plaintext, err := c.sealer.open(sealed, name+"|"+c.host)
	if err != nil {
		return err
	}
	state, err := parseState(plaintext)
	if err != nil {
		return fmt.Errorf("opening session: %w", err)
	}
	(*values)[stateKey] = state
	return nil
}
