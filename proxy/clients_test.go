package proxy_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy"
)

// trusting has the world's gateway believe the given networks.
func trusting(networks ...string) func(*proxy.Config) {
	return func(cfg *proxy.Config) {
		for _, network := range networks {
			cfg.TrustedProxies = append(cfg.TrustedProxies, netip.MustParsePrefix(network))
		}
	}
}

func TestTheClientIsWhomATrustedProxyNames(t *testing.T) {
	loopback := "127.0.0.0/8"
	tests := map[string]struct {
		trusted      []string
		forwardedFor []string
		client       string
		refused      bool
	}{
		"nobody is trusted":                       {nil, []string{"192.0.2.1"}, "127.0.0.1", false},
		"somebody else is trusted":                {[]string{"10.0.0.0/8"}, []string{"192.0.2.1"}, "127.0.0.1", false},
		"a trusted proxy says nothing":            {[]string{loopback}, nil, "127.0.0.1", false},
		"a client":                                {[]string{loopback}, []string{"192.0.2.1"}, "192.0.2.1", false},
		"a client that invents others":            {[]string{loopback}, []string{"10.9.9.9, 203.0.113.5, 192.0.2.1"}, "192.0.2.1", false},
		"inventions are not even read":            {[]string{loopback}, []string{"<script>, ,unknown,192.0.2.1"}, "192.0.2.1", false},
		"an invention that is a proxy's address":  {[]string{loopback, "10.0.0.0/8"}, []string{"10.0.0.1, 192.0.2.1"}, "192.0.2.1", false},
		"behind two proxies":                      {[]string{loopback, "10.0.0.0/8"}, []string{"192.0.2.1, 10.0.0.1"}, "192.0.2.1", false},
		"behind two proxies, in two lines":        {[]string{loopback, "10.0.0.0/8"}, []string{"203.0.113.5, 192.0.2.1", "10.0.0.1"}, "192.0.2.1", false},
		"behind a proxy that is not trusted":      {[]string{loopback}, []string{"192.0.2.1, 10.0.0.1"}, "10.0.0.1", false},
		"a proxy for itself":                      {[]string{loopback, "10.0.0.0/8"}, []string{"10.0.0.1"}, "10.0.0.1", false},
		"with a port":                             {[]string{loopback}, []string{"192.0.2.1:4711"}, "192.0.2.1", false},
		"IPv6":                                    {[]string{loopback}, []string{"2001:db8::7"}, "2001:db8::7", false},
		"IPv6 in brackets":                        {[]string{loopback}, []string{"[2001:DB8::7]"}, "2001:db8::7", false},
		"IPv6 with a port":                        {[]string{loopback}, []string{"[2001:db8::7]:4711"}, "2001:db8::7", false},
		"IPv4 in IPv6":                            {[]string{loopback}, []string{"::ffff:192.0.2.1"}, "192.0.2.1", false},
		"IPv4 in IPv6 of a proxy":                 {[]string{loopback, "10.0.0.0/8"}, []string{"192.0.2.1, ::ffff:10.0.0.1"}, "192.0.2.1", false},
		"nothing where it counts":                 {[]string{loopback}, []string{"192.0.2.1, "}, "127.0.0.1", true},
		"an empty header":                         {[]string{loopback}, []string{""}, "127.0.0.1", true},
		"no address where it counts":              {[]string{loopback}, []string{"192.0.2.1, unknown"}, "127.0.0.1", true},
		"a zone":                                  {[]string{loopback}, []string{"fe80::1%eth0"}, "127.0.0.1", true},
		"an address with leading zeros":           {[]string{loopback}, []string{"192.0.02.1"}, "127.0.0.1", true},
		"no address behind a proxy that is":       {[]string{loopback, "10.0.0.0/8"}, []string{"localhost, 10.0.0.1"}, "127.0.0.1", true},
		"more proxies than anybody has":           {[]string{loopback, "10.0.0.0/8"}, []string{strings.TrimSuffix(strings.Repeat("10.0.0.1,", 17), ",")}, "127.0.0.1", true},
		"a header that another spelling imitates": {[]string{loopback}, nil, "127.0.0.1", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, trusting(test.trusted...))
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			req := b.request(http.MethodGet, w.origin(headersHost)+"/", nil)
			req.Header["X-Forwarded-For"] = test.forwardedFor
			req.Header["X_Forwarded_For"] = []string{"192.0.2.99"}
			req.Header["Forwarded"] = []string{"for=192.0.2.98"}
			req.Header["X-Real-Ip"] = []string{"192.0.2.97"}
			res := b.do(req)
			line := w.lastRecord(6)
			if line["client.address"] != test.client {
				t.Errorf("the line says %v, want %s", line["client.address"], test.client)
			}
			if test.refused {
				if res.StatusCode != http.StatusBadRequest || line["event.reason"] != "client_address" || line["error.message"] == nil {
					t.Errorf("answer %d, line %v", res.StatusCode, line)
				}
				return
			}
			got, _ := w.backend.seen()
			if res.StatusCode != http.StatusOK || got.Header.Get("X-Forwarded-For") != test.client || len(got.Header["X-Forwarded-For"]) != 1 {
				t.Errorf("answer %d, the backend learns %v, want %s", res.StatusCode, got.Header["X-Forwarded-For"], test.client)
			}
			if want := any("127.0.0.1"); test.client != "127.0.0.1" && line["source.address"] != want || test.client == "127.0.0.1" && line["source.address"] != nil {
				t.Errorf("passed on by %v", line["source.address"])
			}
		})
	}
}
