package proxy

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
)

// place is where somebody wants to enter: a host, the route that answers there, and
// of its rules the one that decides. One route may be many places: it has rules of
// its own for some paths, or a wildcard for a host.
type place struct {
	*route
	// Host is the one that was asked for, never a wildcard. Session, cookie, ticket
	// and origin are its own, whatever other hosts the route has.
	Host      string
	origin    string // as browsers write it
	authority string // host and port of origin
	part      int    // index in the route's Rules; len(Rules) is the route's own Rule
}

// allows decides by the rule of this place alone.
func (p *place) allows(s *session.State) policy.Decision {
	if p.part < len(p.Rules) {
		return p.Rules[p.part].Decide(s.User, s.Groups)
	}
	return p.Rule.Decide(s.User, s.Groups)
}

// ruleName names the rule of this place; empty for the route's own.
func (p *place) ruleName() string {
	if p.part < len(p.Rules) {
		return p.Rules[p.part].Name
	}
	return ""
}

// wild reports whether the route has a wildcard for its host.
func (rt *route) wild() bool { return strings.HasPrefix(rt.Host, "*.") }

// url is the address of the route's first page.
func (p *place) url() string { return p.origin + strings.TrimSuffix(p.Path, "/") + "/" }

// address tells the backend where it was asked for: at which host, and which path.
func (p *place) address(out *http.Request) {
	out.Host = p.authority // not the client's spelling, which may hold a port of its own
	if p.BackendHost != "" {
		out.Host = p.BackendHost
	}
	out.Header[header.ForwardedHost] = []string{p.authority}
	if !p.StripPath || p.Path == "/" {
		return
	}
	// The prefix has no byte that is ever escaped: it is as long in both forms.
	out.URL.Path = stripped(out.URL.Path, p.Path)
	if out.URL.RawPath != "" {
		out.URL.RawPath = stripped(out.URL.RawPath, p.Path)
	}
	out.Header[header.ForwardedPrefix] = []string{p.Path}
}

// site is what a host is, or every host of a wildcard.
type site struct {
	routes []*route // the longest path first
	// decisive says that something is decided by the path: which route it is, or who
	// may, or what the backend sees.
	decisive bool
}

// at returns the route for a path, or nil.
func (s *site) at(path string) *route {
	for _, rt := range s.routes {
		if policy.Under(path, rt.Path) {
			return rt
		}
	}
	return nil
}

// table finds routes. It is immutable once it was made.
type table struct {
	exact map[string]*site
	wild  map[string]*site // by what follows the one label
}

func newTable() table { return table{exact: make(map[string]*site), wild: make(map[string]*site)} }

// site returns what a normalised host is, or nil: an exact host wins, and a wildcard
// stands for one label.
func (t table) site(host string) *site {
	if s := t.exact[host]; s != nil || len(t.wild) == 0 {
		return s
	}
	label, parent, _ := strings.Cut(host, ".")
	if !isLabel(label) {
		return nil
	}
	return t.wild[parent]
}

// sites is where among exact hosts or wildcards the Host of a route stands.
func (t table) sites(host string) (sites map[string]*site, key string) {
	if parent, wild := strings.CutPrefix(host, "*."); wild {
		return t.wild, parent
	}
	return t.exact, host
}

// add puts a route where its Host says.
func (t table) add(rt *route) error {
	sites, key := t.sites(rt.Host)
	s := sites[key]
	if s == nil {
		s = new(site)
		sites[key] = s
	}
	for _, other := range s.routes {
		if other.Path == rt.Path {
			return fmt.Errorf("route %q has host %q and path %q, which are taken by %q", rt.Name, rt.Host, rt.Path, other.Name)
		}
	}
	s.routes = append(s.routes, rt)
	slices.SortStableFunc(s.routes, func(a, b *route) int { return len(b.Path) - len(a.Path) })
	s.decisive = s.decisive || len(s.routes) > 1 || rt.Path != "/" || len(rt.Rules) > 0
	return nil
}

// isLabel reports whether a wildcard may stand for label: letters, digits and inner
// hyphens in lower case (RFC 1123 section 2.1), as in every name that browsers look up.
func isLabel(label string) bool {
	const longest = 63
	if label == "" || len(label) > longest || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for i := range len(label) {
		if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// origin is the origin of a host of ours as browsers see it.
func (g *Gateway) origin(host string) string {
	if g.cfg.PublicPort == 443 {
		return "https://" + host
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(g.cfg.PublicPort))
}

// place makes the place of a route at a concrete host.
func (g *Gateway) place(rt *route, host string, part int) *place {
	if len(rt.places) > 0 {
		return &rt.places[part] // it has this one host
	}
	p := g.newPlace(rt, host, part)
	return &p
}

func (g *Gateway) newPlace(rt *route, host string, part int) place {
	origin := g.origin(host)
	return place{route: rt, Host: host, origin: origin, authority: strings.TrimPrefix(origin, "https://"), part: part}
}

// addRoutes builds the table. A route of one host has all its places made here, so
// that a request makes none.
func (g *Gateway) addRoutes() error {
	for _, spec := range g.cfg.Routes {
		if spec.Path == "" {
			spec.Path = "/"
		}
		if spec.Host == g.cfg.DoorHost || spec.Host == "" {
			return fmt.Errorf("route %q has host %q, which is empty or the door's", spec.Name, spec.Host)
		}
		rt, err := g.newRoute(spec)
		if err != nil {
			return err
		}
		if err := g.table.add(rt); err != nil {
			return err
		}
		if !rt.wild() {
			for part := range len(rt.Rules) + 1 {
				rt.places = append(rt.places, g.newPlace(rt, rt.Host, part))
			}
		}
		g.order = append(g.order, rt)
		for _, group := range rt.releasedGroups() {
			g.named[group] = true
		}
	}
	return nil
}

// placeOf returns the place for a request of that method and judged path at host, or
// nil. Where nothing is decided by the path it need not be a judged one.
func (g *Gateway) placeOf(host, method, path string) *place {
	s := g.table.site(host)
	if s == nil {
		return nil
	}
	rt := s.at(path)
	if rt == nil {
		return nil
	}
	return g.place(rt, host, policy.FirstOf(rt.Rules, method, path))
}

// placeUsed is placeOf for something that was let in when other routes and rules may
// have been in force: its path was judged then, if at all.
func (g *Gateway) placeUsed(use session.Use) *place {
	if g.auditUsed(use) {
		return g.audit
	}
	if s := g.table.site(use.Host); s != nil && s.decisive && !plainSegments(use.Path) {
		return nil
	}
	return g.placeOf(use.Host, use.Method, use.Path)
}

// front is the place of a route's first page, of a host with no wildcard.
func (g *Gateway) front(rt *route, host string) *place {
	return g.place(rt, host, policy.FirstOf(rt.Rules, http.MethodGet, strings.TrimSuffix(rt.Path, "/")+"/"))
}

// frontOf is the place that answers for a host as a whole: that of its shortest path.
// It returns nil for a host that no route has, as the door's.
func (g *Gateway) frontOf(host string) *place {
	s := g.table.site(host)
	if s == nil || host == g.cfg.DoorHost {
		return nil
	}
	return g.front(s.routes[len(s.routes)-1], host)
}

// placeFor returns the place that an aim names, or nil if there is none any more.
func (g *Gateway) placeFor(aim session.Aim) *place {
	if aim.Host == g.cfg.DoorHost {
		if aim.Route == auditName {
			return g.audit
		}
		return nil
	}
	s := g.table.site(aim.Host)
	if s == nil {
		return nil
	}
	if aim.Route == "" { // the host has one route, or had when this was said
		return g.frontOf(aim.Host)
	}
	for _, rt := range s.routes {
		if rt.Name != aim.Route {
			continue
		}
		part := slices.IndexFunc(rt.Rules, func(r policy.PathRule) bool { return r.Name == aim.Rule })
		if part < 0 {
			part = len(rt.Rules)
		}
		return g.place(rt, aim.Host, part)
	}
	return nil
}

// aim names a place, for the way over the door and back. Where a host is one place
// only, its name is enough.
func (g *Gateway) aim(p *place) session.Aim {
	if s := g.table.site(p.Host); s == nil || !s.decisive {
		return session.Aim{Host: p.Host}
	}
	return session.Aim{Host: p.Host, Route: p.Name, Rule: p.ruleName()}
}

// findAnywhere is find for a host as a whole: the session counts if it does at any of
// the host's routes, which may take the people of different identity providers.
func (g *Gateway) findAnywhere(ex *exchange, r *http.Request, rt *place) (*session.State, session.Absence) {
	state, absence := g.find(ex, r, rt)
	if absence != absentOther {
		return state, absence
	}
	state, _ = g.cfg.Sessions.Find(r, rt.Host)
	for _, other := range g.table.site(rt.Host).routes {
		if g.vouched(state, other) == session.Present {
			return state, session.Present
		}
	}
	return nil, absence
}
