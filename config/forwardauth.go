package config

import (
	"fmt"
	"net/netip"
)

// ForwardAuth says which ingress may ask, at [Listen].ForwardAuth, whether a request
// that it has got may pass (nginx auth_request, Traefik and Caddy forward auth, Envoy
// ext_authz). What it says about the request is believed. The zero value lets nobody
// ask.
type ForwardAuth struct {
	// Peers are the names, DNS names or SPIFFE IDs, of the client certificates, issued
	// by the PKI of Vault.BackendPKI, whose holders may ask. Default none.
	Peers []string `yaml:"peers"`
	// UnsafeAddresses are addresses and prefixes from which anybody may ask, without
	// any certificate. Default none.
	UnsafeAddresses []string `yaml:"unsafe_addresses"`
}

// Nobody reports whether f lets no one ask.
func (f ForwardAuth) Nobody() bool { return len(f.Peers)+len(f.UnsafeAddresses) == 0 }

// Prefixes are the addresses of UnsafeAddresses, which has been checked.
func (f ForwardAuth) Prefixes() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, text := range f.UnsafeAddresses {
		if prefix, err := parsePrefix(text); err == nil {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}

// AsksForwardAuth reports whether there is a listener for an ingress.
func (l Listen) AsksForwardAuth() bool { return l.ForwardAuth != none }

// IngressOnly reports whether an ingress alone passes requests on to the tool.
func (r Route) IngressOnly() bool {
	return r.ForwardAuth && r.Backend.URL == (Origin{}) && len(r.Backend.URLs) == 0
}

// parsePrefix reads "10.1.0.0/16" or a single address.
func parsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return prefix, fmt.Errorf("reading the prefix %q: %w", text, err)
	}
	return prefix, nil
}

// judgePrefix returns what was expected instead of text, or "". Bits behind the
// prefix are refused: somebody has meant something else.
func judgePrefix(text string) string {
	prefix, err := parsePrefix(text)
	switch {
	case err != nil || prefix.Addr().Is4In6():
		return "an address or a prefix such as 10.1.2.0/24 or 2001:db8::/64"
	case prefix != prefix.Masked():
		return "no bits behind the prefix, as in " + prefix.Masked().String()
	case prefix.Bits() == 0:
		return "less than everybody"
	}
	return ""
}

// forwardAuth reports what is wrong with who may ask.
func (c *collector) forwardAuth(g *Gateway) {
	if g.Listen.AsksForwardAuth() {
		c.listen("listen.forward_auth", g.Listen.ForwardAuth)
	}
	for i, route := range g.Routes {
		if route.ForwardAuth && (route.Redirect.On() || route.Respond.On()) {
			c.refuse(join(entry("routes", i), "forward_auth"), "false beside redirect and respond, which the gateway answers itself")
		}
	}
	for i, route := range g.Routes {
		for _, key := range []string{"backend", "strip_path", "host_header", "pass_authorization", "identity.credentials", "answers"} {
			if at := join(entry("routes", i), key); route.IngressOnly() && c.isGiven(at) {
				c.add(at, "a key about a backend", "none without backend.url or urls: an ingress passes requests on by itself")
			}
		}
	}
	c.texts("forward_auth.peers", g.ForwardAuth.Peers, judgePeer)
	c.texts("forward_auth.unsafe_addresses", g.ForwardAuth.UnsafeAddresses, judgePrefix)
}

// warnings tells of an ingress that may ask nowhere, or about nothing.
func (f ForwardAuth) warnings(g *Gateway) []string {
	asked := false
	var warnings []string
	for i, route := range g.Routes {
		asked = asked || route.ForwardAuth
		if route.ForwardAuth && (!g.Listen.AsksForwardAuth() || f.Nobody()) {
			warnings = append(warnings, entry("routes", i)+".forward_auth: no ingress may ask about "+route.Name+"; set listen.forward_auth and forward_auth.peers")
		}
	}
	if !g.Listen.AsksForwardAuth() && !f.Nobody() && !asked {
		warnings = append(warnings, "forward_auth: nobody can ask without listen.forward_auth")
	}
	if g.Listen.AsksForwardAuth() && !asked {
		warnings = append(warnings, "listen.forward_auth: no route has forward_auth: true, so every question is refused")
	}
	return warnings
}
