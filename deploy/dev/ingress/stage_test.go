package ingress

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// The names of the files in deploy/ingress.
const (
	doorHost    = "door.example.com"
	toolHost    = "grafana.example.com"
	otherHost   = "notes.example.com"
	ingressName = "ingress.sallyport.internal"
)

// stage is a gateway that may be asked, and a tool that remembers what it got.
type stage struct {
	t         *testing.T
	ca        *x509.Certificate
	key       *ecdsa.PrivateKey
	dir       string // with the files that the ingress reads
	gateway   string // listen.https
	asked     string // listen.forward_auth
	tool      string
	toolPlain *recorder
}

// recorder is a tool.
type recorder struct {
	mu  sync.Mutex // guards got
	got []*http.Request
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.got = append(r.got, req.Clone(context.WithoutCancel(req.Context())))
	r.mu.Unlock()
	_, _ = io.WriteString(w, "tool")
}

// seen returns what the tool got since the last call.
func (r *recorder) seen() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// provider is an identity provider that nobody gets to.
type provider struct{ proxy.ServiceProvider }

func (provider) IdP() saml.IdPInfo { return saml.IdPInfo{EntityID: "https://idp.example.com"} }

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, dir: t.TempDir(), toolPlain: new(recorder)}
	s.newAuthority()
	s.write("edge-ca.pem", "CERTIFICATE", s.ca.Raw)
	s.writePair("grafana", s.issue(x509.ExtKeyUsageServerAuth, toolHost))
	s.writePair("ingress", s.issue(x509.ExtKeyUsageClientAuth, ingressName))
	s.writePair("stranger", s.issue(x509.ExtKeyUsageClientAuth, "stranger.sallyport.internal"))
	tool := httptest.NewServer(s.toolPlain)
	t.Cleanup(tool.Close)
	s.tool = tool.Listener.Addr().String()
	s.startGateway()
	return s
}

// sessionsAt is the gateway's session manager with another clock.
func (s *stage) sessionsAt(now func() time.Time) *session.Manager {
	s.t.Helper()
	sessions, err := session.New(session.Config{
		Keys:  session.Keys{Current: bytes.Repeat([]byte{7}, session.KeySize)},
		Hosts: []string{doorHost, toolHost, otherHost}, Idle: time.Hour, Absolute: 10 * time.Hour, Now: now,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return sessions
}

func (s *stage) startGateway() {
	s.t.Helper()
	g, err := proxy.New(proxy.Config{
		DoorHost: doorHost, PublicPort: 443, Sessions: s.sessionsAt(time.Now), Access: accesslog.New(io.Discard, "gateway"),
		Routes: []proxy.Route{
			{Name: "grafana", Title: "Grafana", Host: toolHost, ForwardAuth: true, WebSocket: true, Rule: policy.NewRule(nil, []string{"engineers"}, false)},
			{Name: "notes", Title: "Notes", Host: otherHost, ForwardAuth: true, Rule: policy.NewRule(nil, nil, true)},
		},
		IdPs: []proxy.IdP{{Name: "idp", Title: "Staff", SAML: provider{}}},
		Asks: func(r *http.Request) (string, error) {
			if name := r.TLS.PeerCertificates[0].DNSNames[0]; name == ingressName {
				return name, nil
			}
			return "", errors.New("somebody else asks")
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	live := proxy.NewLive(g)
	door := s.issue(x509.ExtKeyUsageServerAuth, doorHost, toolHost)
	pool := x509.NewCertPool()
	pool.AddCert(s.ca)
	s.gateway = s.serve(live, &tls.Config{Certificates: []tls.Certificate{door}, MinVersion: tls.VersionTLS12})
	s.asked = s.serve(live.ForwardAuth(), &tls.Config{
		Certificates: []tls.Certificate{door}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	})
}

func (s *stage) serve(handler http.Handler, config *tls.Config) (address string) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- proxy.Serve(ctx, proxy.ServerConfig{Listener: l, TLS: config, Handler: handler}) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, proxy.ErrDrain) { // cut, at the end of a test
			s.t.Error(err)
		}
	})
	return l.Addr().String()
}

// cookie is somebody's session at a host.
func (s *stage) cookie(host, user string, groups ...string) string {
	s.t.Helper()
	return s.cookieOf(host, time.Now(), user, groups...)
}

// cookieOf is a session as it was saved at a time.
func (s *stage) cookieOf(host string, at time.Time, user string, groups ...string) string {
	s.t.Helper()
	sessions := s.sessionsAt(func() time.Time { return at })
	r, w := httptest.NewRequest(http.MethodGet, "https://"+host+"/", nil), httptest.NewRecorder()
	state := sessions.Start(r, session.State{User: user, Groups: groups, IdP: "https://idp.example.com", AuthnAt: at.Unix()}, time.Time{})
	if err := sessions.Save(w, r, host, state); err != nil {
		s.t.Fatal(err)
	}
	cookies := w.Result().Cookies()
	mine := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == session.CookieName })
	return session.CookieName + "=" + cookies[mine].Value
}

func (s *stage) newAuthority() {
	s.t.Helper()
	var err error
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &s.key.PublicKey, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.ca, err = x509.ParseCertificate(der); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) issue(usage x509.ExtKeyUsage, names ...string) tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, s.ca, &key.PublicKey, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// writePair writes NAME.pem and NAME.key.
func (s *stage) writePair(name string, pair tls.Certificate) {
	s.t.Helper()
	s.write(name+".pem", "CERTIFICATE", pair.Certificate[0])
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(name+".key", "PRIVATE KEY", der)
}

func (s *stage) write(name, kind string, der []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// file is a file of deploy/ingress with each of the texts replaced, all of which it
// must have.
func (s *stage) file(name string, replace ...string) string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "ingress", name))
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(content)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			s.t.Fatalf("deploy/ingress/%s has no %q any more", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// free returns a loopback address that was free a moment ago.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
