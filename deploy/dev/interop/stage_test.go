package interop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	rand2 "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
)

// stage is where a test plays: a certificate authority that all of it trusts.
type stage struct {
	t    *testing.T // of the step that runs
	all  *testing.T // of the whole: what is started lives until it ends
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newStage(t *testing.T) *stage {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "interop root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	s := &stage{t: t, all: t, key: key, cert: sign(t, template, template, key.Public(), key), pool: x509.NewCertPool()}
	s.pool.AddCert(s.cert)
	return s
}

func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// step runs a part of the test under a name of its own.
func (s *stage) step(name string, run func()) {
	s.all.Helper()
	before := s.t
	defer func() { s.t = before }()
	before.Run(name, func(t *testing.T) {
		s.t = t
		run()
	})
}

// issue makes a certificate for TLS.
func (s *stage) issue(usage x509.ExtKeyUsage, names ...string) tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	leaf := sign(s.t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, s.cert, key.Public(), s.key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}
}

// client trusts the stage, dials names below .localhost and follows no redirect.
func (s *stage) client() *http.Client {
	transport := &http.Transport{
		DialContext:     localhost.Dial,
		TLSClientConfig: &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12},
	}
	s.all.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// front is a TLS listener, and what is behind it.
type front struct {
	origin  string // https://HOST:PORT
	handler atomic.Pointer[http.Handler]
}

// front opens a listener for the hosts, of which the first is in its origin. Until
// something is put behind it, it answers that there is nothing.
func (s *stage) front(hosts ...string) *front {
	s.t.Helper()
	f := new(front)
	f.serve(http.NotFoundHandler())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*f.handler.Load()).ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{s.issue(x509.ExtKeyUsageServerAuth, hosts...)}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	s.all.Cleanup(server.Close)
	f.origin = "https://" + net.JoinHostPort(hosts[0], port(s.t, server.Listener.Addr()))
	return f
}

func (f *front) serve(h http.Handler) { f.handler.Store(&h) }

// forward is the handler that has a server without TLS answer, under the name that
// browsers see.
func forward(address string) http.Handler {
	target := &url.URL{Scheme: "http", Host: address}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo), // until the server listens
	}
}

func port(t testing.TB, address net.Addr) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// lastPort is the one that freeAddress returned last: below those that the system gives to
// connections, so that none is taken while a program starts again and again.
var lastPort = func() *atomic.Int32 {
	first := &atomic.Int32{}
	first.Store(10_000 + rand2.Int32N(9_000)) // beside other runs on this machine
	return first
}()

// freeAddress is an address on loopback that nothing listens on, for a program that
// cannot be handed a listener.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1)))
		if err != nil {
			continue
		}
		defer ln.Close()
		return ln.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// pair is an RSA key of a SAML party and its self-signed certificate.
type pair struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

// keyPair makes each named pair once in a run: RSA keys are slow to make.
func keyPair(t testing.TB, name string) pair {
	t.Helper()
	pairsMu.Lock()
	defer pairsMu.Unlock()
	if p, ok := pairs[name]; ok {
		return p
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	p := pair{key: key, cert: sign(t, template, template, key.Public(), key)}
	pairs[name] = p
	return p
}

var (
	pairsMu sync.Mutex // guards pairs
	pairs   = map[string]pair{}
)

func (p pair) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (p pair) certPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

// write puts a file into a folder, and makes the folders on the way.
func write(t testing.TB, data []byte, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
