package vaultpki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// serveOnce answers one connection with a byte, so that a client of TLS 1.3 also
// reads the ticket.
func serveOnce(t *testing.T, cfg *tls.Config) (address string, end func() error) {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = conn.Write([]byte{1})
			conn.Close()
		}
		served <- err
	}()
	return listener.Addr().String(), func() error { return errors.Join(<-served, listener.Close()) }
}

// dialOnce connects and reads the byte.
func dialOnce(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	address, end := serveOnce(t, server)
	raw, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, client)
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = io.ReadFull(conn, make([]byte, 1))
	conn.Close()
	_ = end() // what a refused client did to the server is no concern
	return conn.ConnectionState(), err
}

// serverOf returns a server with a leaf of pki.
func serverOf(t *testing.T, pki mountPKI, change func(*x509.Certificate)) *tls.Config {
	t.Helper()
	template, key := leafTemplate(), newKey(t)
	change(template)
	leaf := sign(t, template, pki.intermediate, &key.PublicKey, pki.key)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{
		Certificate: [][]byte{leaf.Raw, pki.intermediate.Raw}, PrivateKey: key,
	}}}
}

func clientTrusting(t *testing.T, roots ...*x509.Certificate) *Certificates {
	t.Helper()
	c := &Certificates{watch: rootWatch{ask: make(chan struct{}, 1)}}
	c.trust.Store(trusting(t, roots...))
	return c
}

// A transport holds one configuration through every change of roots.
func TestDialFollowsTheRootsOfNow(t *testing.T) {
	old, next := newMountPKI(t), newMountPKI(t)
	c := clientTrusting(t, old.root)
	dial := c.DialTLS("a.example.com")
	dial.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	ofOld, ofNext := serverOf(t, old, func(*x509.Certificate) {}), serverOf(t, next, func(*x509.Certificate) {})
	try := func(step string, server *tls.Config, resumed, accepted bool) {
		t.Helper()
		state, err := dialOnce(t, server, dial)
		if (err == nil) != accepted || (accepted && state.DidResume != resumed) {
			t.Errorf("%s: resumed %t, %v; expected resumed %t, accepted %t", step, state.DidResume, err, resumed, accepted)
		}
	}
	try("first", ofOld, false, true)
	try("again", ofOld, true, true)
	if len(c.watch.ask) != 0 {
		t.Error("roots are asked for without a reason")
	}
	try("server of a root to come", ofNext, false, false)
	if len(c.watch.ask) != 1 {
		t.Error("roots are not asked for though a server has another")
	}
	c.trust.Store(trusting(t, old.root, next.root))
	try("server of the next root in the overlap", ofNext, false, true)
	dial.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	try("server of the old root in the overlap", ofOld, false, true)
	c.trust.Store(trusting(t, next.root))
	// The session was begun under a root that is gone: CVE-2025-68121.
	try("resumed session of the old root", ofOld, true, false)
}

func TestDialVerifiesEverythingByItself(t *testing.T) {
	pki, stranger := newMountPKI(t), newMountPKI(t)
	id := func(text string) *url.URL {
		parsed, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	const spiffe = "spiffe://example.com/notes"
	tests := map[string]struct {
		pki    mountPKI
		peer   string
		change func(*x509.Certificate)
		fault  string // "" is accepted
	}{
		"the name":               {pki, "a.example.com", func(*x509.Certificate) {}, ""},
		"the name in other case": {pki, "a.example.com", func(l *x509.Certificate) { l.DNSNames = []string{"A.Example.com"} }, ""},
		"another name":           {pki, "b.example.com", func(*x509.Certificate) {}, `expected one of ["b.example.com"]`},
		"another authority":      {stranger, "a.example.com", func(*x509.Certificate) {}, "unknown authority"},
		"expired":                {pki, "a.example.com", func(l *x509.Certificate) { l.NotAfter = time.Now().Add(-time.Second) }, "expired"},
		"not yet valid":          {pki, "a.example.com", func(l *x509.Certificate) { l.NotBefore = time.Now().Add(time.Minute) }, "not yet valid"},
		"a client's": {pki, "a.example.com", func(l *x509.Certificate) {
			l.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}, "not for use as a server"},
		"any usage": {pki, "a.example.com", func(l *x509.Certificate) {
			l.ExtKeyUsage = append(l.ExtKeyUsage, x509.ExtKeyUsageAny)
		}, "more uses"},
		"wildcard":         {pki, "a.example.com", func(l *x509.Certificate) { l.DNSNames = []string{"*.example.com"} }, "wildcard"},
		"the name and one": {pki, "a.example.com", func(l *x509.Certificate) { l.DNSNames = append(l.DNSNames, "b.example.com") }, "expected one DNS name"},
		"an address too":   {pki, "a.example.com", func(l *x509.Certificate) { l.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }, "expected one DNS name"},

		"the SPIFFE ID":         {pki, spiffe, func(l *x509.Certificate) { l.DNSNames, l.URIs = nil, []*url.URL{id(spiffe)} }, ""},
		"another SPIFFE ID":     {pki, spiffe, func(l *x509.Certificate) { l.DNSNames, l.URIs = nil, []*url.URL{id(spiffe + "2")} }, `expected one of`},
		"its path in capitals":  {pki, spiffe, func(l *x509.Certificate) { l.DNSNames, l.URIs = nil, []*url.URL{id("spiffe://example.com/Notes")} }, `expected one of`},
		"both kinds":            {pki, spiffe, func(l *x509.Certificate) { l.URIs = []*url.URL{id(spiffe)} }, "expected one DNS name or one SPIFFE ID"},
		"both kinds, by DNS":    {pki, "a.example.com", func(l *x509.Certificate) { l.URIs = []*url.URL{id(spiffe)} }, "expected one DNS name or one SPIFFE ID"},
		"several":               {pki, spiffe, func(l *x509.Certificate) { l.DNSNames, l.URIs = nil, []*url.URL{id(spiffe), id(spiffe)} }, "expected one DNS name or one SPIFFE ID"},
		"the ID as a DNS name":  {pki, spiffe, func(l *x509.Certificate) { l.DNSNames = []string{spiffe} }, "is no DNS name"},
		"an underscore":         {pki, "a_b.example.com", func(l *x509.Certificate) { l.DNSNames = []string{"a_b.example.com"} }, "is no DNS name"},
		"its DNS name alone":    {pki, spiffe, func(l *x509.Certificate) { l.DNSNames = []string{"example.com"} }, `expected one of`},
		"the ID for a DNS name": {pki, "example.com", func(l *x509.Certificate) { l.DNSNames, l.URIs = nil, []*url.URL{id(spiffe)} }, `expected one of`},
		"no SPIFFE ID":          {pki, "https://example.com/x", func(l *x509.Certificate) { l.DNSNames, l.URIs = nil, []*url.URL{id("https://example.com/x")} }, "is no SPIFFE ID"},
		"a malformed one":       {pki, "spiffe://example.com/a//b", func(l *x509.Certificate) { l.DNSNames, l.URIs = nil, []*url.URL{id("spiffe://example.com/a//b")} }, "expected a SPIFFE ID"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := clientTrusting(t, pki.root)
			_, err := dialOnce(t, serverOf(t, test.pki, test.change), c.DialTLS(test.peer))
			if (err == nil) != (test.fault == "") || (err != nil && !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("dialling %s: %v, expected %q", test.peer, err, test.fault)
			}
		})
	}
}

func TestNamesAreDNSNamesOrSPIFFEIDs(t *testing.T) {
	long := strings.Repeat("a", 300)
	for name, good := range map[string]bool{
		"a":                                true,
		"gateway.sallyport.internal":       true,
		"spiffe://example.com/gateway":     true,
		"spiffe://example.com/a/b.c-d_E/1": true,
		"spiffe://trust_domain.1/x":        true,
		"spiffe://e/" + long:               true,

		"":                                        false,
		"A.example.com":                           false,
		"*.example.com":                           false,
		"a_b.example.com":                         false,
		"a..b":                                    false,
		strings.Repeat("a.", 127) + "aa":          false,
		"spiffe://example.com":                    false,
		"spiffe://example.com/":                   false,
		"spiffe://example.com/a/":                 false,
		"spiffe://example.com//a":                 false,
		"spiffe://example.com/./a":                false,
		"spiffe://example.com/a/..":               false,
		"spiffe://example.com/...":                true,
		"spiffe:///a":                             false,
		"spiffe:/a":                               false,
		"spiffe:example.com":                      false,
		"SPIFFE://example.com/a":                  false,
		"spiffe://Example.com/a":                  false,
		"spiffe://example.com:443/a":              false,
		"spiffe://user@example.com/a":             false,
		"spiffe://example.com/a?b":                false,
		"spiffe://example.com/a#b":                false,
		"spiffe://example.com/%61":                false,
		"spiffe://example.com/ä":                  false,
		"spiffe://example.com/a b":                false,
		"spiffe://example.com/a\n":                false,
		"spiffe://" + long + "/a":                 false,
		"spiffe://e/" + strings.Repeat("a", 2038): false,
		"https://example.com/a":                   false,
	} {
		if err := checkName(name); (err == nil) != good {
			t.Errorf("name %q: %v, expected accepted %t", name, err, good)
		}
	}
}

// FuzzName: what is accepted is written as the URI that comes out of it, so that
// comparing texts compares names.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"a.example.com", "spiffe://example.com/a", "spiffe://example.com/a/../b", "spiffe://a%2fb/c", "spiffe://a:1/b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) != nil || !isSPIFFE(name) {
			return
		}
		parsed, err := url.Parse(name)
		if err != nil || parsed.String() != name || parsed.Port() != "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
			t.Errorf("%q is %q, %v", name, parsed, err)
		}
	})
}
