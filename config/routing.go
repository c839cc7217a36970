package config

import (
	"net/http"
	"net/url"
	"strings"
)

// RouteHost is a [Host] of a tool's, or a wildcard for hosts of one more label:
// "*.apps.example.com" stands for "a.apps.example.com", and neither for
// "apps.example.com" nor for "a.b.apps.example.com". A host that another route names,
// or that is the door's, is not the wildcard's.
//
// The zero value means that no host was given.
type RouteHost string

// wildcard begins a RouteHost that stands for several.
const wildcard = "*."

// UnmarshalText accepts exactly what [RouteHost] describes.
func (h *RouteHost) UnmarshalText(text []byte) error {
	if expected := judgeRouteHost(string(text)); expected != "" {
		return &mismatch{value: string(text), expected: expected}
	}
	*h = RouteHost(text)
	return nil
}

// judgeRouteHost returns what was expected instead of name, or "".
func judgeRouteHost(name string) string {
	parent, wild := strings.CutPrefix(name, wildcard)
	if !wild {
		return judgeHost(name)
	}
	if expected := judgeHost(parent); expected != "" || !strings.Contains(parent, ".") {
		return "a DNS name such as grafana.example.com, or *. before one of at least two labels"
	}
	return ""
}

// Wildcard reports whether h stands for several hosts.
func (h RouteHost) Wildcard() bool { return strings.HasPrefix(string(h), wildcard) }

// covers reports whether host is h, or one of those that it stands for.
func (h RouteHost) covers(host string) bool {
	parent, wild := strings.CutPrefix(string(h), wildcard)
	if !wild {
		return string(h) == host
	}
	label, rest, _ := strings.Cut(host, ".")
	return rest == parent && judgeLabel(label) == ""
}

// RouteRule is a part of a route in which others may enter than the route's own Allow
// says: the first that covers a request decides it.
type RouteRule struct {
	// Name identifies the rule in the log: 1 to 40 of a-z, 0-9 and inner hyphens,
	// unique in its route. Default "rule-N", counted from 1.
	Name string `yaml:"name"`
	// Methods are those that it covers, in capitals; GET covers HEAD. Default: all.
	Methods []string `yaml:"methods"`
	// Paths are beginnings of paths, by whole segments, under the route's own path.
	// Default, beside no Exact: all.
	Paths []string `yaml:"paths"`
	// Exact are whole paths. Default none.
	Exact []string `yaml:"exact"`
	// Allow says who may. Default: nobody.
	Allow Allow `yaml:"allow"`
	// Deny says who of them may not. Default: nobody.
	Deny Deny `yaml:"deny"`
}

// Deny says who may not, whatever Allow says.
type Deny struct {
	// Groups are compared byte for byte with the person's groups.
	Groups []string `yaml:"groups"`
	// Users are compared byte for byte with what becomes X-Forwarded-User.
	Users []string `yaml:"users"`
}

// Redirect sends people on who may open the route.
type Redirect struct {
	// To is an https URL, or a path at the route's own host.
	To string `yaml:"to"`
	// Status is 301, 302, 307 or 308. Default 302.
	Status int `yaml:"status"`
	// KeepPath appends what follows the route's path, and the query. Default false.
	KeepPath bool `yaml:"keep_path"`
}

// On reports whether the route is a redirect.
func (r Redirect) On() bool { return r.To != "" }

// Respond shows a page to people who may open the route.
type Respond struct {
	// Status is the HTTP status, 200 to 599 without redirects. Default 503.
	Status int `yaml:"status"`
	// Title and Message are what people read. Required for such a route.
	Title   string `yaml:"title"`
	Message string `yaml:"message"`
}

// On reports whether the route shows a page.
func (r Respond) On() bool { return r.Title != "" || r.Message != "" }

// Words of host_header beside a name.
const (
	hostPublic  = "public"
	hostBackend = "backend"
)

// BackendHost returns the Host that the backend shall be told, or "" for the public
// one.
func (r *Route) BackendHost() string {
	switch r.HostHeader {
	case hostPublic:
		return ""
	case hostBackend:
		return r.Backend.Upstreams()[0].Address()
	}
	return r.HostHeader
}

// HasBackend reports whether the gateway asks a tool, and does not answer in its place,
// or leave it to an ingress.
func (r *Route) HasBackend() bool {
	return !r.Redirect.On() && !r.Respond.On() && !r.IngressOnly()
}

// setRoutingDefaults makes r what an empty entry of routes means.
func (r *Route) setRoutingDefaults() {
	r.Path, r.HostHeader = "/", hostPublic
	r.Redirect.Status, r.Respond.Status = http.StatusFound, http.StatusServiceUnavailable
}

// lets reports whether the route lets anybody in, somewhere.
func (r *Route) lets() bool {
	for _, rule := range r.Rules {
		if !rule.Allow.Nobody() {
			return true
		}
	}
	return !r.Allow.Nobody()
}

// namesGroups reports whether groups decide anything at the route.
func (r *Route) namesGroups() bool {
	for _, rule := range r.Rules {
		if len(rule.Allow.Groups)+len(rule.Deny.Groups) > 0 {
			return true
		}
	}
	return len(r.Allow.Groups) > 0
}

// routed returns the index of the route that answers for a path at a host as routes
// write it, or -1.
func (g *Gateway) routed(host RouteHost, path string) int {
	found := -1
	for i, route := range g.Routes {
		if route.Host == host && under(path, route.Path) && (found < 0 || len(route.Path) > len(g.Routes[found].Path)) {
			found = i
		}
	}
	return found
}

// under reports whether path lies under prefix, by whole segments.
func under(path, prefix string) bool {
	return prefix == "/" || path == prefix || strings.HasPrefix(path, prefix+"/")
}

// covers reports whether some address of the door's or of a route's has that host.
func (g *Gateway) covers(host string) bool {
	for _, ours := range g.Hosts() {
		if RouteHost(ours).covers(host) {
			return true
		}
	}
	return false
}

// isRedirectTarget reports whether people can be sent to value: an https URL that says
// all of itself, or a path that no browser reads as another host.
func isRedirectTarget(value string) bool {
	to, err := url.Parse(value)
	if err != nil || to.Fragment != "" || to.User != nil || to.Opaque != "" || !isPrintable(value) || strings.ContainsAny(value, "\\ ") {
		return false
	}
	if to.Scheme == "" {
		return to.Host == "" && strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "//")
	}
	return to.Scheme == "https" && to.Hostname() != ""
}
