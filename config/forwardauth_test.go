package config

import (
	"strings"
	"testing"
)

// TestShippedIngressConfigurationIsLoaded: the one that deploy/ingress has for every
// ingress.
func TestShippedIngressConfigurationIsLoaded(t *testing.T) {
	g, err := LoadGateway("gateway.yaml", read(t, "../deploy/ingress/gateway.yaml"))
	if err != nil || len(g.Warnings()) > 0 {
		t.Fatalf("faults %v, warnings %q", err, g.Warnings())
	}
	if !g.Listen.AsksForwardAuth() || g.ForwardAuth.Nobody() || !g.Routes[0].IngressOnly() {
		t.Errorf("no ingress may ask: %+v", g)
	}
}

// TestExampleOfAnIngressIsTrue loads what the page on it shows.
func TestExampleOfAnIngressIsTrue(t *testing.T) {
	blocks := fence.FindAllStringSubmatch(string(read(t, "../docs/forward-auth.md")), -1)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks of YAML, want 1", len(blocks))
	}
	if g, err := LoadGateway("gateway.yaml", []byte(blocks[0][2])); err != nil || len(g.Warnings()) > 0 {
		t.Errorf("%v", err)
	}
}

// TestSecondLooksAtForwardAuth shows what is allowed and probably not meant.
func TestSecondLooksAtForwardAuth(t *testing.T) {
	const route = "\nroutes: [{name: a, host: a, forward_auth: true, allow: {any_signed_in: true}}]"
	tests := map[string]struct{ text, want string }{
		"a route that nobody may ask about":     {route, "routes[0].forward_auth: no ingress may ask about a"},
		"a listener for nobody":                 {"\nlisten: {forward_auth: ':1'}" + route, "routes[0].forward_auth: no ingress may ask about a"},
		"a listener without a route":            {"\nlisten: {forward_auth: ':1'}\nforward_auth: {peers: [i]}", "listen.forward_auth: no route has forward_auth: true"},
		"addresses in place of proof":           {"\nlisten: {forward_auth: ':1'}\nforward_auth: {unsafe_addresses: [10.0.0.0/8]}" + route, "forward_auth.unsafe_addresses: is on and loosens the guard"},
		"everything as it should be, no remark": {"\nlisten: {forward_auth: ':1'}\nforward_auth: {peers: [spiffe://example.com/ingress]}" + route, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g, err := LoadGateway("f", []byte("door: {host: door}"+test.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(g.Warnings(), "\n"); !strings.Contains(got, test.want) || test.want == "" && got != "" && !strings.Contains(got, "routes: there are none") {
				t.Errorf("warnings %q, want %q", got, test.want)
			}
		})
	}
}

// TestAddressesThatMayAsk are read as they are meant, or not at all.
func TestAddressesThatMayAsk(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "10.1.0.0/16": "10.1.0.0/16", "2001:db8::1": "2001:db8::1/128", "2001:db8::/64": "2001:db8::/64", "::ffff:192.0.2.1": "192.0.2.1/32",
		"10.1.2.3/16": "", "0.0.0.0/0": "", "::/0": "", "example.com": "", "10.1": "", "fe80::1%eth0": "", "::ffff:10.0.0.0/104": "", "10.0.0.0/33": "",
	} {
		g, err := LoadGateway("f", []byte("door: {host: door}\nforward_auth: {unsafe_addresses: ['"+text+"']}"))
		switch {
		case want == "" && err == nil:
			t.Errorf("%s is taken for %s", text, g.ForwardAuth.Prefixes())
		case want != "" && (err != nil || len(g.ForwardAuth.Prefixes()) != 1 || g.ForwardAuth.Prefixes()[0].String() != want):
			t.Errorf("%s: %v, %v, want %s", text, g, err, want)
		}
	}
}
