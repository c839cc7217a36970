package backends

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/proxy/sidecar"
	"github.com/sallyport/sallyport/saml"
)

const (
	doorHost   = "door.example.test"
	plainHost  = "plain.example.test"
	customHost = "custom.example.test"

	idpEntity = "https://idp.example.org"
)

// door is a gateway with a sidecar behind it, and alice, who is signed in at its tools.
type door struct {
	address, port string
	pool          *x509.CertPool
	cookies       map[string]string // by host
}

// provider is an identity provider that nobody signs in with here.
type provider struct{ proxy.ServiceProvider }

func (provider) IdP() saml.IdPInfo { return saml.IdPInfo{EntityID: idpEntity} }

// newDoor has requests end at the application at address.
func newDoor(t *testing.T, address string) *door {
	t.Helper()
	ca := newAuthority(t)
	guard, err := sidecar.New(sidecar.Config{
		App: &url.URL{Scheme: "http", Host: address}, Access: accesslog.New(io.Discard, "sidecar"),
		PeerName: func(state tls.ConnectionState) (string, error) { return state.VerifiedChains[0][0].DNSNames[0], nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	inner := serve(t, guard, &tls.Config{
		Certificates: []tls.Certificate{ca.issue(t, x509.ExtKeyUsageServerAuth, "tool.backend.test")},
		ClientCAs:    ca.pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	})
	dial := &tls.Config{
		RootCAs: ca.pool, ServerName: "tool.backend.test", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{ca.issue(t, x509.ExtKeyUsageClientAuth, "gateway.test")},
	}
	outer := httptest.NewUnstartedServer(nil)
	d := &door{address: outer.Listener.Addr().String(), pool: ca.pool, cookies: map[string]string{}}
	_, d.port, _ = net.SplitHostPort(d.address)
	hosts := []string{doorHost, plainHost, customHost}
	manager, err := session.New(session.Config{
		Keys: session.Keys{Current: bytes.Repeat([]byte{7}, session.KeySize)}, Hosts: hosts, Idle: time.Hour, Absolute: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	outer.Config.Handler = d.gateway(t, manager, &url.URL{Scheme: "https", Host: inner}, dial)
	outer.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, x509.ExtKeyUsageServerAuth, hosts...)}, MinVersion: tls.VersionTLS13}
	outer.StartTLS()
	t.Cleanup(outer.Close)
	for _, host := range hosts[1:] {
		d.cookies[host] = signIn(t, manager, host)
	}
	return d
}

// gateway has two routes to the same tool: one tells of people as every route does, one
// under a name of its own.
func (d *door) gateway(t *testing.T, manager *session.Manager, backend *url.URL, dial *tls.Config) http.Handler {
	t.Helper()
	port, err := strconv.Atoi(d.port)
	if err != nil {
		t.Fatal(err)
	}
	route := func(name, host string, identity proxy.Identity) proxy.Route {
		return proxy.Route{
			Name: name, Title: name, Host: host, Backend: backend, TLS: dial, Identity: identity, Rule: policy.NewRule(nil, []string{"engineers"}, false),
		}
	}
	gateway, err := proxy.New(proxy.Config{
		DoorHost: doorHost, PublicPort: port, Sessions: manager, Access: accesslog.New(io.Discard, "gateway"),
		IdPs: []proxy.IdP{{Name: "corp", Title: "Corporate", SAML: provider{}}},
		Routes: []proxy.Route{
			route("plain", plainHost, proxy.Identity{}),
			route("custom", customHost, proxy.Identity{Profiles: []header.Profile{{User: "X-My-User"}}}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return gateway
}

// signIn returns the cookies of alice at a host.
func signIn(t *testing.T, manager *session.Manager, host string) string {
	t.Helper()
	r, w := httptest.NewRequest(http.MethodGet, "https://"+host+"/", nil), httptest.NewRecorder()
	state := manager.Start(r, session.State{
		User: "alice@example.com", Email: "alice@example.com", Name: "Alice Archer", Groups: []string{"engineers", "admins"}, IdP: idpEntity, AuthnAt: time.Now().Unix(),
	}, time.Time{})
	if err := manager.Save(w, r, host, state); err != nil {
		t.Fatal(err)
	}
	for _, cookie := range w.Result().Cookies() {
		if cookie.Name == session.CookieName {
			return cookie.Name + "=" + cookie.Value
		}
	}
	t.Fatal("no session among the cookies")
	return ""
}

// serve serves over TLS and returns the address.
func serve(t *testing.T, handler http.Handler, config *tls.Config) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = config
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// authority is a throw-away certificate authority.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) issue(t *testing.T, usage x509.ExtKeyUsage, names ...string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
