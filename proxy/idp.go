package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// IdP is an identity provider that signs people in.
type IdP struct {
	// Name identifies it in configuration, addresses and logs; Title is what people
	// read in the chooser.
	Name, Title string
	// SAML speaks to it.
	SAML ServiceProvider
	// Domains are the e-mail domains, in lower-case, by which the chooser knows whose
	// it is. Nil for none.
	Domains []string
	// Landing is where a sign-on leads that it began itself, without a request of
	// ours: an address of the door's or of a tool's. Empty refuses such sign-ons.
	Landing string
}

// ServiceProvider is the SAML side of the door towards one identity provider;
// *saml.ServiceProvider is one. It is called concurrently.
type ServiceProvider interface {
	// Metadata is our metadata document.
	Metadata() []byte
	// IdP describes the identity provider.
	IdP() saml.IdPInfo
	// Begin makes a request to the identity provider.
	Begin(s saml.SignOn) (saml.Message, error)
	// Verify turns the answer into a principal; its errors are *saml.Refusal.
	Verify(ctx context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error)
	// BeginLogout asks the identity provider to end a session; saml.ErrNoLogout if it
	// cannot be asked.
	BeginLogout(s saml.Subject, sessionIndex, relayState string) (saml.Message, error)
	// VerifyLogoutRequest and VerifyLogoutResponse judge what it sends; their errors
	// are *saml.Refusal.
	VerifyLogoutRequest(ctx context.Context, m saml.LogoutMessage, trace *saml.Trace) (*saml.LogoutRequest, error)
	VerifyLogoutResponse(ctx context.Context, m saml.LogoutMessage, requestID string, trace *saml.Trace) (*saml.LogoutResponse, error)
	// AnswerLogout answers a request of it.
	AnswerLogout(r *saml.LogoutRequest) (saml.Message, error)
}

// idps are the identity providers of a Gateway. Immutable.
type idps struct {
	order  []*IdP // of the chooser
	named  map[string]*IdP
	entity map[string]*IdP // by entity ID, which is what a session remembers
	// vouching are the names, by entity ID, of all whose word counts: those, and those
	// that nobody can sign in with for now.
	vouching map[string]string
	// landing says whether any may begin a sign-on itself.
	landing bool
}

// addIdPs judges the configured identity providers, and what routes say of them.
func (g *Gateway) addIdPs() error {
	g.idps = idps{named: make(map[string]*IdP), entity: make(map[string]*IdP), vouching: make(map[string]string)}
	for _, spec := range g.cfg.IdPs {
		if err := g.addIdP(spec); err != nil {
			return fmt.Errorf("adding the identity provider %q: %w", spec.Name, err)
		}
	}
	if len(g.idps.order) == 0 {
		return errors.New("no identity provider: nobody could sign in")
	}
	if err := g.addOutIdPs(); err != nil {
		return err
	}
	for _, rt := range g.order {
		for _, name := range rt.IdPs {
			if g.idps.named[name] == nil && g.cfg.OutIdPs[name] == "" {
				return fmt.Errorf("route %q wants the identity provider %q, which there is not", rt.Name, name)
			}
		}
	}
	return nil
}

func (g *Gateway) addIdP(idp IdP) error {
	if idp.SAML == nil {
		return errors.New("it has no service provider")
	}
	entityID := idp.SAML.IdP().EntityID
	switch {
	case idp.Name == "" || g.idps.named[idp.Name] != nil:
		return errors.New("its name is empty, or taken")
	case entityID == "" || g.idps.entity[entityID] != nil:
		return fmt.Errorf("its entity ID %q is empty, or another's: sessions of the two could not be told apart", entityID)
	case idp.Landing != "" && !g.leadsHere(idp.Landing):
		return fmt.Errorf("sign-ons that it begins lead to %q, expected an address of the door's or of a tool's", idp.Landing)
	}
	g.idps.order = append(g.idps.order, &idp)
	g.idps.named[idp.Name], g.idps.entity[entityID], g.idps.vouching[entityID] = &idp, &idp, idp.Name
	g.idps.landing = g.idps.landing || idp.Landing != ""
	return nil
}

// addOutIdPs judges those that nobody can sign in with for now.
func (g *Gateway) addOutIdPs() error {
	for name, entityID := range g.cfg.OutIdPs {
		if name == "" || g.idps.named[name] != nil || entityID == "" || g.idps.vouching[entityID] != "" {
			return fmt.Errorf("identity provider %q, which is out: its name or its entity ID %q is empty, or another's", name, entityID)
		}
		g.idps.vouching[entityID] = name
	}
	return nil
}

// leadsHere reports whether address is one of the door's or of a tool's, as
// browsers read it.
func (g *Gateway) leadsHere(address string) bool {
	at, err := url.Parse(address)
	if err != nil || at.Scheme != "https" || at.User != nil || at.Opaque != "" {
		return false
	}
	port := at.Port()
	if port == "" {
		port = "443"
	}
	return port == strconv.Itoa(g.cfg.PublicPort) && (at.Hostname() == g.cfg.DoorHost || g.table.site(at.Hostname()) != nil)
}

// allowed are the identity providers whose people may open what is at rt, in the
// chooser's order: all for the door itself, which is nil, none for a route whose own
// are all out.
func (g *Gateway) allowed(rt *place) []*IdP {
	if rt == nil || rt.IdPs == nil {
		return g.idps.order
	}
	var some []*IdP
	for _, idp := range g.idps.order {
		if slices.Contains(rt.IdPs, idp.Name) {
			some = append(some, idp)
		}
	}
	return some
}

// Why a session that is there does not count.
const (
	// absentIdP: the identity provider that vouched was taken out of the
	// configuration, and with it everybody whom it has signed in.
	absentIdP session.Absence = "idp_removed"
	// absentOther: the route wants another one to vouch.
	absentOther session.Absence = "other_idp"
)

// vouched says whether the word of the identity provider that signed s in counts
// at a route; nil is the door.
func (g *Gateway) vouched(s *session.State, rt *route) session.Absence {
	switch name := g.idps.vouching[s.IdP]; {
	case name == "":
		return absentIdP
	case rt != nil && rt.IdPs != nil && !slices.Contains(rt.IdPs, name):
		return absentOther
	}
	return session.Present
}

// find returns the session that r carries for the host of at, or for the door's if at
// is nil, if whoever vouched for it may. Whose session it is that does not count
// stands in the record.
func (g *Gateway) find(ex *exchange, r *http.Request, at *place) (*session.State, session.Absence) {
	host, rt := g.cfg.DoorHost, (*route)(nil)
	if at != nil {
		host, rt = at.Host, at.route
	}
	state, absence := g.cfg.Sessions.Find(r, host)
	if absence != session.Present {
		return nil, absence
	}
	if absence = g.vouched(state, rt); absence != session.Present {
		g.noteSession(ex, state)
		return nil, absence
	}
	return state, session.Present
}
