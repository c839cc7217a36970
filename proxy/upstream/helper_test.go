package upstream_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/proxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pinned is the name that all sidecars of the tool have.
const pinned = "tool.backend.test"

// authority is a throw-away certificate authority.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{t: t, key: key, cert: cert, pool: pool}
}

func (a *authority) issue(usage x509.ExtKeyUsage, name string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dial is how the gateway reaches the tool's sidecars.
func (a *authority) dial() *tls.Config {
	return &tls.Config{
		RootCAs: a.pool, ServerName: pinned, MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{a.issue(x509.ExtKeyUsageClientAuth, "gateway.test")},
	}
}

// guard is what a sidecar of that name demands. It resumes nothing.
func (a *authority) guard(name string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{a.issue(x509.ExtKeyUsageServerAuth, name)}, ClientCAs: a.pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}
}

// sidecar is a server behind mutual TLS that counts.
type sidecar struct {
	*httptest.Server
	url        *url.URL
	handshakes atomic.Int64
	requests   atomic.Int64
	ended      chan struct{} // a connection
}

func (s *sidecar) address() string { return s.url.Host }

// start begins a sidecar of the pinned name; h2 has it offer HTTP/2.
func (a *authority) start(h2 bool, handle http.HandlerFunc) *sidecar {
	return a.startAs(pinned, h2, handle)
}

func (a *authority) startAs(name string, h2 bool, handle http.HandlerFunc) *sidecar {
	a.t.Helper()
	s := &sidecar{ended: make(chan struct{}, 1024)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		handle(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			s.ended <- struct{}{}
		}
	}
	s.EnableHTTP2 = h2
	s.TLS = a.guard(name)
	s.TLS.VerifyConnection = func(tls.ConnectionState) error { s.handshakes.Add(1); return nil }
	s.StartTLS()
	a.t.Cleanup(s.Close)
	s.url = &url.URL{Scheme: "https", Host: s.Listener.Addr().String()}
	return s
}

// raw begins a sidecar that does with a connection what it likes, after the
// header of a request was read.
func (a *authority) raw(handle func(net.Conn)) *url.URL {
	a.t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", a.guard(pinned))
	if err != nil {
		a.t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				if readHeader(conn) {
					handle(conn)
				}
			})
		}
	})
	a.t.Cleanup(func() { listener.Close(); serving.Wait() })
	return &url.URL{Scheme: "https", Host: listener.Addr().String()}
}

func readHeader(conn net.Conn) bool {
	var got []byte
	for buf := make([]byte, 4096); !strings.Contains(string(got), "\r\n\r\n"); {
		n, err := conn.Read(buf)
		if err != nil {
			return false
		}
		got = append(got, buf[:n]...)
	}
	return true
}

// nobody is n addresses where nobody listens.
func nobody(t testing.TB, n int) (at []*url.URL) {
	t.Helper()
	for range n {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close() // after all are chosen
		at = append(at, &url.URL{Scheme: "https", Host: listener.Addr().String()})
	}
	return at
}

// notes are the attempts that a Pool told of.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) note(_ context.Context, address string, attempt int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all[:min(attempt-1, len(n.all))], address)
}

// last are the upstreams that the last request was sent to.
func (n *notes) last() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

type sessionKey struct{}

func sessionOf(ctx context.Context) string {
	session, _ := ctx.Value(sessionKey{}).(string)
	return session
}

// pool makes a Pool over those upstreams.
func (a *authority) newPool(o upstream.Options, at ...*url.URL) (*upstream.Pool, *notes) {
	a.t.Helper()
	n := new(notes)
	p, err := upstream.New(upstream.Config{
		Route: "tool", Host: "tool.example.test", Upstreams: at, TLS: a.dial(), Options: o, Session: sessionOf, Note: n.note,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(p.Retire)
	return p, n
}

// request is one as a gateway makes it: a body that cannot be had again.
func request(ctx context.Context, method, body string) *http.Request {
	var reader io.Reader
	if body != "" {
		reader = io.MultiReader(strings.NewReader(body))
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://ignored.test/path?q=1", reader)
	if err != nil {
		panic(err)
	}
	if body != "" {
		r.ContentLength = int64(len(body))
	}
	return r
}

// ask sends a request and reads the answer whole.
func ask(p *upstream.Pool, r *http.Request) (status int, body string, err error) {
	res, err := p.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// say answers with a text.
func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}
