package config

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// methodName is a method as requests have it; what is no such name, or in lower case,
// is served nowhere.
var methodName = regexp.MustCompile(`^[A-Z][A-Z-]{0,31}$`)

// pathText is a path of which no two servers think differently: it has no escapes, no
// parameters, no empty segments, and but for "/" no slash at its end.
var pathText = regexp.MustCompile(`^(/|(/[A-Za-z0-9._~-]+)+)$`)

// reservedPath begins the paths that are the gateway's own on every host.
const reservedPath = "/.sallyport"

// judgePath returns what was expected instead of a path, or "".
func judgePath(value string) string {
	const expected = "a path such as /grafana: segments of letters, digits and . _ ~ -, without a slash at the end"
	if !pathText.MatchString(value) || hasDots(value) {
		return expected
	}
	return judgeReserved(value)
}

// judgeExact is judgePath for a whole path, which may end in a slash.
func judgeExact(value string) string {
	if len(value) > 1 && judgePath(strings.TrimSuffix(value, "/")) == "" {
		return ""
	}
	return judgePath(value)
}

func judgeReserved(value string) string {
	if under(value, reservedPath) {
		return "a path outside of " + reservedPath + ", which is the gateway's own"
	}
	return ""
}

// hasDots reports segments that mean another directory.
func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func judgeMethod(value string) string {
	if !methodName.MatchString(value) || value == http.MethodConnect || value == http.MethodTrace {
		return "a method in capitals, such as GET or POST; CONNECT and TRACE are never served"
	}
	return ""
}

// routing judges where a route is, and what answers there.
func (c *collector) routing(at string, route Route, g *Gateway) {
	if expected := judgePath(route.Path); expected != "" {
		c.refuse(join(at, "path"), expected)
	}
	if route.Host.Wildcard() && g.Vault.EdgeACME.On() {
		c.refuse(join(at, "host"), "a name without a wildcard beside vault.edge_acme: an ACME server issues a certificate for a wildcard by the challenge dns-01 alone, which is not supported")
	}
	c.answering(at, route)
	c.redirect(join(at, "redirect"), route, g)
	c.respond(join(at, "respond"), route.Respond)
	names := map[string]string{}
	for i, rule := range route.Rules {
		c.rule(entry(join(at, "rules"), i), rule, route)
		c.unique(join(entry(join(at, "rules"), i), "name"), names, rule.Name)
		c.shadowed(join(at, "rules"), route.Rules, i)
	}
}

// answering reports keys that have no meaning beside each other.
func (c *collector) answering(at string, route Route) {
	redirects, responds := c.isGiven(join(at, "redirect")), c.isGiven(join(at, "respond"))
	if redirects && responds {
		c.add(join(at, "respond"), "a page beside "+join(at, "redirect"), "one or the other")
	}
	if redirects || responds {
		for _, key := range []string{"backend", "strip_path", "host_header", "websocket", "pass_authorization", "identity", "assertion", "answers"} {
			if c.isGiven(join(at, key)) {
				c.add(join(at, key), "a key about a backend", "none: redirect and respond answer in its place")
			}
		}
		return
	}
	if route.Path == "/" && route.StripPath {
		c.refuse(join(at, "strip_path"), "false without "+join(at, "path")+": there is nothing to take away")
	}
	if expected := judgeHostHeader(route.HostHeader); expected != "" {
		c.refuse(join(at, "host_header"), expected)
	}
	if route.HostHeader == hostBackend && len(route.Backend.Upstreams()) > 1 {
		c.refuse(join(at, "host_header"), "public or a host: "+join(at, "backend.urls")+" has several")
	}
}

// judgeHostHeader accepts public, backend, and a host with or without a port.
func judgeHostHeader(value string) string {
	const expected = "public, backend, or the host that the tool shall see, such as grafana.internal or grafana.internal:3000"
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		host, port = value, "443"
	}
	if _, err := parsePort(port); err != nil || !isDialable(host) {
		return expected
	}
	return ""
}

func (c *collector) redirect(at string, route Route, g *Gateway) {
	r := route.Redirect
	if !c.isGiven(at) {
		return
	}
	if !slices.Contains([]int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect}, r.Status) {
		c.refuse(join(at, "status"), "301, 302, 307 or 308")
	}
	if !isRedirectTarget(r.To) {
		c.refuse(join(at, "to"), "an https URL, or a path such as /grafana, without a fragment")
		return
	}
	if r.KeepPath && strings.Contains(r.To, "?") {
		c.refuse(join(at, "to"), "no query beside keep_path, which appends a path")
		return
	}
	to, err := url.Parse(r.To)
	if err != nil || to.Host != "" && "https://"+to.Host != g.Origin(Host(route.Host)) {
		return
	}
	path := to.EscapedPath()
	if path == "" {
		path = "/"
	}
	switch i := g.routed(route.Host, path); {
	case i < 0:
		c.refuse(join(at, "to"), "a path at this host that some route has")
	case g.Routes[i].Name == route.Name:
		c.refuse(join(at, "to"), "a path of another route: from this one people are sent on again and again")
	}
}

func (c *collector) respond(at string, r Respond) {
	if !c.isGiven(at) {
		return
	}
	if r.Status < 200 || r.Status > 599 || r.Status >= 300 && r.Status < 400 {
		c.refuse(join(at, "status"), "200 to 299 or 400 to 599")
	}
	for _, text := range []struct{ key, value string }{{"title", r.Title}, {"message", r.Message}} {
		if text.value == "" {
			c.refuse(join(at, text.key), "what people shall read")
		}
		c.shown(join(at, text.key), text.value)
	}
}

// rule judges one rule by itself and against its route.
func (c *collector) rule(at string, rule RouteRule, route Route) {
	if !routeName.MatchString(rule.Name) {
		c.refuse(join(at, "name"), "1 to 40 of a-z, 0-9 and hyphens, with no hyphen at either end")
	}
	if len(rule.Methods)+len(rule.Paths)+len(rule.Exact) == 0 && !c.faultyBelow(at) {
		c.add(at, "neither methods nor paths nor exact", "at least one of them: what is for the whole route is its own allow")
	}
	c.texts(join(at, "methods"), rule.Methods, judgeMethod)
	inside := func(judge func(string) string) func(string) string {
		return func(path string) string {
			if expected := judge(path); expected != "" || under(path, route.Path) {
				return expected
			}
			return "a path under " + route.Path + ", the path of the route; paths are written as browsers ask for them"
		}
	}
	c.texts(join(at, "paths"), rule.Paths, inside(judgePath))
	c.texts(join(at, "exact"), rule.Exact, inside(judgeExact))
	c.allow(join(at, "allow"), rule.Allow)
	c.texts(join(join(at, "deny"), "groups"), rule.Deny.Groups, judgeMember)
	c.texts(join(join(at, "deny"), "users"), rule.Deny.Users, judgeMember)
}

// shadowed reports a rule that never decides, since one before it covers all that it
// does.
func (c *collector) shadowed(at string, rules []RouteRule, i int) {
	for j := range i {
		if !c.faulty[entry(at, j)] && rules[j].covers(rules[i]) {
			c.add(entry(at, i), "a rule that never decides",
				fmt.Sprintf("something that %s on line %d does not cover; the first rule that covers a request decides", entry(at, j), c.line(entry(at, j))))
			return
		}
	}
}

// covers reports whether r covers every request that other does.
func (r RouteRule) covers(other RouteRule) bool {
	return r.coversMethods(other) && r.coversPaths(other)
}

func (r RouteRule) coversMethods(other RouteRule) bool {
	if len(r.Methods) == 0 || len(other.Methods) == 0 {
		return len(r.Methods) == 0
	}
	return !slices.ContainsFunc(other.Methods, func(method string) bool {
		return !slices.Contains(r.Methods, method) && (method != http.MethodHead || !slices.Contains(r.Methods, http.MethodGet))
	})
}

func (r RouteRule) coversPaths(other RouteRule) bool {
	switch {
	case len(r.Paths)+len(r.Exact) == 0:
		return true
	case len(other.Paths)+len(other.Exact) == 0:
		return slices.Contains(r.Paths, "/")
	}
	outside := func(path string) bool {
		return !slices.ContainsFunc(r.Paths, func(prefix string) bool { return under(path, prefix) })
	}
	return !slices.ContainsFunc(other.Paths, outside) &&
		!slices.ContainsFunc(other.Exact, func(path string) bool { return outside(path) && !slices.Contains(r.Exact, path) })
}

// located reports a host and path that the door or another route has. owners maps
// those to the paths of their keys.
func (c *collector) located(at string, owners map[string]string, route Route, door Host) {
	if route.Host == "" {
		return
	}
	if string(route.Host) == string(door) {
		c.unique(join(at, "host"), map[string]string{string(door): "door.host"}, string(door))
		return
	}
	key, value := join(at, "host"), string(route.Host)+" "+route.Path
	owner, taken := owners[value]
	switch {
	case !taken:
		owners[value] = key
	case c.isGiven(join(at, "path")):
		c.refuse(join(at, "path"), fmt.Sprintf("a path of its own at this host; the route of %s on line %d has the same", owner, c.line(owner)))
	default:
		c.refuse(key, fmt.Sprintf("one of its own, or a path beside it; %s on line %d is the same", owner, c.line(owner)))
	}
}
