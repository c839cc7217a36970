package config

import (
	"fmt"
	"time"
)

// Revocations are remembered for as long as a session may live.
const maxSession = 7 * 24 * time.Hour

// validateGateway reports what is wrong with values that are each well formed,
// and with their combinations. Defaults are filled in already.
func validateGateway(g *Gateway, faults *collector) {
	faults.door(g.Door)
	faults.listen("listen.https", g.Listen.HTTPS)
	faults.listen("listen.acme_http", g.Listen.ACMEHTTP)
	faults.admin("listen.admin", g.Listen.Admin, g.Listen.UnsafeAdminNotLoopback)
	faults.listenersOf(g)
	faults.clients(g)
	faults.vault(g.Vault)
	faults.saml(g)
	faults.session(g.Session)
	faults.accessLog(g.AccessLog)
	faults.sinks(g)
	faults.tracing(g)
	faults.stop("stop", g.Stop)
	faults.limits("limits", g.Limits)
	faults.forwardAuth(g)
	for i, route := range g.Routes {
		faults.route(entry("routes", i), route)
		faults.routing(entry("routes", i), route, g)
		faults.signOnOf(entry("routes", i), route, g)
	}
	faults.conflicts(g)
}

// listenersOf reports two listeners of one address. That of ACME is open only where it
// orders certificates.
func (c *collector) listenersOf(g *Gateway) {
	at, addresses := []string{"listen.https", "listen.admin"}, []string{g.Listen.HTTPS, g.Listen.Admin}
	if g.Listen.AsksForwardAuth() {
		at, addresses = append(at, "listen.forward_auth"), append(addresses, g.Listen.ForwardAuth)
	}
	if g.Vault.EdgeACME.On() && g.Vault.EdgeACME.HTTP() {
		at, addresses = append(at, "listen.acme_http"), append(addresses, g.Listen.ACMEHTTP)
	}
	c.listeners(at, addresses)
}

func (c *collector) door(door Door) {
	if door.Host == "" {
		c.refuse("door.host", "the door's DNS name, such as door.example.com")
	}
	if door.PublicPort < 1 || door.PublicPort > maxPort {
		c.refuse("door.public_port", "a port between 1 and 65535")
	}
}

func (c *collector) vault(v Vault) {
	c.mount("vault.kv_mount", v.KVMount)
	c.mount("vault.saml_path", v.SAMLPath)
	c.mount("vault.session_path", v.SessionPath)
	c.assertions(v)
	c.mount("vault.audit_path", v.AuditPath)
	c.mount("vault.audit_device", v.AuditDevice)
	c.within("vault.refresh", v.Refresh, time.Second, time.Hour)
	c.pki("vault.edge_pki", v.EdgePKI)
	c.acme("vault.edge_acme", v.EdgeACME)
	if v.EdgeACME.On() && v.EdgePKI.RevokeOnStop {
		c.refuse("vault.edge_pki.revoke_on_stop", "false beside edge_acme, whose certificates outlive a process")
	}
	c.pki("vault.backend_pki", v.BackendPKI)
}

// assertions reports what a key that signs assertions could not be certified by.
func (c *collector) assertions(v Vault) {
	c.mount("vault.assertion_path", v.AssertionPath)
	switch {
	case !vaultRole.MatchString(v.AssertionRole):
		c.refuse("vault.assertion_role", "the name of a role, made of letters, digits and _ . - with no dot in front")
	case v.AssertionRole == v.BackendPKI.Role:
		c.refuse("vault.assertion_role", "another role than that of backend_pki, whose certificates open connections")
	}
	if v.AssertionName == "" {
		c.refuse("vault.assertion_name", "a DNS name, such as assertion.sallyport.internal")
	}
}

func (c *collector) session(s Session) {
	c.within("session.idle", s.Idle, time.Second, maxSession)
	c.within("session.absolute", s.Absolute, time.Second, maxSession)
	if s.Idle.Duration > s.Absolute.Duration {
		c.add(c.given("session.idle", "session.absolute"),
			fmt.Sprintf("idle %s and absolute %s", s.Idle, s.Absolute), "idle not to be longer than absolute")
	}
}

// given returns the first path if it stands in the file, else the second: a
// fault between two keys is shown at one that the reader has written.
func (c *collector) given(first, second string) string {
	if _, ok := c.places[first]; ok {
		return first
	}
	return second
}

func (c *collector) accessLog(a AccessLog) {
	c.logFile("access_log.file", a.File)
	c.rotate("access_log.rotate", a.File, a.Rotate)
	c.checkpoints("access_log.checkpoints", a.Checkpoints)
	c.waiting("access_log", a)
	c.texts("access_log.query_keys", a.QueryKeys, judgeText)
	c.auditPage("access_log.audit_page", a)
}

func (c *collector) route(at string, route Route) {
	if !routeName.MatchString(route.Name) {
		c.refuse(join(at, "name"), "1 to 40 of a-z, 0-9 and hyphens, with no hyphen at either end")
	}
	if route.Host == "" {
		c.refuse(join(at, "host"), "the tool's DNS name, such as grafana.example.com")
	}
	c.shown(join(at, "title"), route.Title)
	c.shown(join(at, "description"), route.Description)
	if !c.isGiven(join(at, "redirect")) && !c.isGiven(join(at, "respond")) && !route.IngressOnly() {
		c.backend(join(at, "backend"), route.Backend)
	}
	c.texts(join(at, "query_keys"), route.QueryKeys, judgeText)
	c.allow(join(at, "allow"), route.Allow)
	c.identity(join(at, "identity"), route)
	c.answers(join(at, "answers"), route.Answers)
	c.routeLimits(join(at, "limits"), route.Limits)
}

// shown reports text that the portal could not show on one line.
func (c *collector) shown(path, value string) {
	if expected := judgeText(value); value != "" && expected != "" {
		c.refuse(path, expected)
	}
}

func (c *collector) allow(at string, allow Allow) {
	// A list beside any_signed_in would read like a restriction and be none.
	if allow.Anyone && len(allow.Groups)+len(allow.Users) > 0 {
		c.add(join(at, "any_signed_in"), "true beside groups or users", "one or the other")
	}
	c.texts(join(at, "groups"), allow.Groups, judgeMember)
	c.texts(join(at, "users"), allow.Users, judgeMember)
}

// conflicts reports names and hosts that are not unique. The first owner keeps
// a value, and the door owns its host before any route.
func (c *collector) conflicts(g *Gateway) {
	names, hosts, places := map[string]string{}, map[string]string{string(g.Door.Host): "door.host"}, map[string]string{}
	for i, route := range g.Routes {
		at := entry("routes", i)
		c.unique(join(at, "name"), names, route.Name)
		c.located(at, places, route, g.Door.Host)
		if _, taken := hosts[string(route.Host)]; !taken {
			hosts[string(route.Host)] = join(at, "host")
		}
	}
	c.unique("vault.client_name", hosts, string(g.Vault.ClientName))
	c.unique("vault.assertion_name", hosts, string(g.Vault.AssertionName))
	secrets := map[string]string{g.Vault.SAMLPath: "vault.saml_path"}
	c.unique("vault.session_path", secrets, g.Vault.SessionPath)
	c.unique("vault.assertion_path", secrets, g.Vault.AssertionPath)
	c.unique("vault.audit_path", secrets, g.Vault.AuditPath)
	if g.Vault.EdgeACME.On() {
		c.unique("vault.edge_acme.kv_path", secrets, g.Vault.EdgeACME.KVPath)
		if g.Vault.EdgeACME.Bound() {
			c.unique("vault.edge_acme.eab_path", secrets, g.Vault.EdgeACME.EABPath)
		}
	}
	c.credentialPlaces(g, secrets)
}

// unique reports a value that another key has; owners maps values to the paths
// of their keys.
func (c *collector) unique(path string, owners map[string]string, value string) {
	if value == "" {
		return
	}
	if owner, taken := owners[value]; taken {
		c.refuse(path, fmt.Sprintf("one of its own; %s on line %d is the same", owner, c.line(owner)))
		return
	}
	owners[value] = path
}
