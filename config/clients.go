package config

import (
	"fmt"
	"net/netip"
)

// Clients says how a gateway learns whom a request comes from.
type Clients struct {
	// TrustedProxies are the networks, such as 10.1.2.0/24, of the proxies and load
	// balancers in front whose word for the client's address is believed. Default
	// none.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// ProxyProtocol demands that every connection comes from a trusted proxy and
	// begins with a PROXY protocol header, of version 1 or 2; X-Forwarded-For is then
	// not believed from anybody. Default false.
	ProxyProtocol bool `yaml:"proxy_protocol"`
}

// Networks returns the trusted proxies' networks. c must have been checked.
func (c Clients) Networks() []netip.Prefix {
	var networks []netip.Prefix
	for _, text := range c.TrustedProxies {
		if network, err := netip.ParsePrefix(text); err == nil {
			networks = append(networks, network)
		}
	}
	return networks
}

// Forwarded returns the networks whose X-Forwarded-For is believed.
func (c Clients) Forwarded() []netip.Prefix {
	if c.ProxyProtocol {
		return nil
	}
	return c.Networks()
}

func (c *collector) clients(g *Gateway) {
	c.texts("clients.trusted_proxies", g.Clients.TrustedProxies, judgeProxies)
	if g.Clients.ProxyProtocol && len(g.Clients.TrustedProxies) == 0 {
		c.refuse("clients.proxy_protocol", "false, or clients.trusted_proxies beside it: nobody else may connect")
	}
	if g.Listen.ReusePort && g.Listen.HTTP3 {
		c.refuse("listen.http3", "false beside listen.reuse_port: of two processes at one UDP port, each would get packets of the other's connections")
	}
	if g.Clients.ProxyProtocol && g.Listen.HTTP3 {
		c.refuse("listen.http3", "false beside clients.proxy_protocol, which HTTP/3 has no counterpart of")
	}
}

// The shortest prefixes of networks of proxies. A shorter one would have whole parts
// of the internet say who they are, which is nobody's network of proxies; the private
// networks are smaller but for fc00::/7.
const (
	shortestIPv4 = 8
	shortestIPv6 = 16
)

// judgeProxies returns what was expected instead of text, or "" if it is a network
// that proxies may be in.
func judgeProxies(text string) string {
	const expected = "a network of proxies in CIDR notation, such as 10.1.2.0/24 or 2001:db8::/64"
	network, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		if address, err := netip.ParseAddr(text); err == nil && !address.Is4In6() && address.Zone() == "" {
			return fmt.Sprintf("%s; that address alone is %s/%d", expected, address, address.BitLen())
		}
		return expected
	case network.Addr().Is4In6():
		return expected + ", IPv4 as itself"
	case network != network.Masked():
		return fmt.Sprintf("%s; the network is %s", expected, network.Masked())
	case network.Addr().Is4() && network.Bits() < shortestIPv4:
		return fmt.Sprintf("%s, not larger than /%d: whoever is in it can say that he is anybody", expected, shortestIPv4)
	case network.Addr().Is6() && network.Bits() < shortestIPv6 && !uniqueLocal(network):
		return fmt.Sprintf("%s, not larger than /%d: whoever is in it can say that he is anybody", expected, shortestIPv6)
	}
	return ""
}

// uniqueLocal reports whether network is within fc00::/7 or fe80::/10, which are never
// the internet's.
func uniqueLocal(network netip.Prefix) bool {
	first := network.Addr().As16()
	return network.Bits() >= 7 && first[0]&0xfe == 0xfc || network.Bits() >= 10 && first[0] == 0xfe && first[1]&0xc0 == 0x80
}
