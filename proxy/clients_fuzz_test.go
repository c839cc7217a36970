package proxy

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/listen"
)

// FuzzClientOf: whatever stands in X-Forwarded-For, the client is the peer, or an
// address on whose right there are trusted proxies alone; and what is left of it
// changes nothing.
func FuzzClientOf(f *testing.F) {
	f.Add("192.0.2.1, 10.0.0.1", "10.0.0.2", true)
	f.Add("[2001:db8::7]:1", "", true)
	f.Add("a", "1.2.3.4,", false)
	g := &Gateway{cfg: Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}}
	f.Fuzz(func(t *testing.T, first, second string, trusted bool) {
		r := &http.Request{RemoteAddr: "192.0.2.200:1", Header: http.Header{"X-Forwarded-For": {first, second}}}
		if trusted {
			r.RemoteAddr = "10.0.0.9:1"
		}
		client, err := g.clientOf(r)
		if !trusted {
			if client != "" || err != nil {
				t.Fatalf("a stranger is believed: %q, %v", client, err)
			}
			return
		}
		if err != nil {
			if client != "" {
				t.Fatalf("%q, %v", client, err)
			}
			return
		}
		addr, found := netip.ParseAddrPort(client + strings.Repeat("0", len(client)-len(strings.TrimRight(client, ":"))))
		if found != nil || addr.Addr().Zone() != "" || addr.Addr().Is4In6() {
			t.Fatalf("%q is no address in its one form", client)
		}
		r.Header["X-Forwarded-For"] = []string{"203.0.113.66, evil", first, second}
		again, err := g.clientOf(r)
		if !listen.Contains(g.cfg.TrustedProxies, addr.Addr()) && (again != client || err != nil) {
			t.Fatalf("%q became %q, %v", client, again, err)
		}
	})
}
