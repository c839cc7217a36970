package rpc

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/proxy/sidecar"
	"github.com/sallyport/sallyport/proxy/upstream"
	"github.com/sallyport/sallyport/saml"
)

const (
	doorHost   = "door.example.test"
	toolHost   = "rpc.example.test"
	closedHost = "closed.example.test"
	downHost   = "down.example.test"
	sidecarOf  = "rpc.backend.test"
	idpEntity  = "https://idp.example.test"
)

// patience bounds every wait.
const patience = 20 * time.Second

// authority is a throw-away certificate authority.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	der := a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	a.cert, _ = x509.ParseCertificate(der.Certificate[0])
	a.key, _ = der.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

// issue signs a certificate for both ends of a connection.
func (a *authority) issue(names ...string) tls.Certificate {
	return a.sign(&x509.Certificate{
		DNSNames: names, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert)
}

func (a *authority) sign(template, parent *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	signer := a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// nobody is an identity provider that signs nobody in: here, everybody is.
type nobody struct{ proxy.ServiceProvider }

func (nobody) IdP() saml.IdPInfo { return saml.IdPInfo{EntityID: idpEntity} }

// stage is a client's way to a server of gRPC.
type stage struct {
	t        *testing.T
	sessions *session.Manager
	state    *session.State
	client   testpb.TestServiceClient
	access   bytes.Buffer // of the gateway; read it after stop alone
	dial     func(host string) testpb.TestServiceClient
}

// newStage puts a gateway and a sidecar before the server.
func newStage(t *testing.T, server testpb.TestServiceServer) *stage {
	t.Helper()
	s := &stage{t: t}
	ca := newAuthority(t)
	sidecarAddress := s.openSidecar(ca, s.openServer(server))
	hosts := []string{doorHost, toolHost, closedHost, downHost}
	var err error
	if s.sessions, err = session.New(session.Config{Keys: session.Keys{Current: bytes.Repeat([]byte{7}, session.KeySize)}, Hosts: hosts, Idle: time.Hour, Absolute: time.Hour}); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.state = &session.State{
		ID: session.NewID(), User: "alice@example.test", IdP: idpEntity, AuthnAt: now.Unix(), Signed: now.UnixMilli(), Expires: now.Add(time.Hour).Unix(), Seen: now.Unix(),
	}
	cfg := proxy.Config{
		DoorHost: doorHost, PublicPort: 443, Sessions: s.sessions, Access: accesslog.New(&s.access, "gateway"),
		IdPs: []proxy.IdP{{Name: "corp", Title: "Corporate", SAML: nobody{}}},
		Routes: []proxy.Route{
			route(ca, toolHost, sidecarAddress, policy.NewRule(nil, nil, true)),
			route(ca, closedHost, sidecarAddress, policy.Rule{}),
			route(ca, downHost, "127.0.0.1:1", policy.NewRule(nil, nil, true)),
		},
	}
	gateway, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	address := s.serve(gateway, &tls.Config{Certificates: []tls.Certificate{ca.issue(hosts...)}, NextProtos: []string{"h2"}})
	s.dial = func(host string) testpb.TestServiceClient {
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithAuthority(host),
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.pool, ServerName: host, MinVersion: tls.VersionTLS13})))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return testpb.NewTestServiceClient(conn)
	}
	s.client = s.dial(toolHost)
	return s
}

// route is a route whose sidecar is spoken to in HTTP/2.
func route(ca *authority, host, sidecarAddress string, rule policy.Rule) proxy.Route {
	name, _, _ := strings.Cut(host, ".")
	return proxy.Route{
		Name: name, Title: name, Host: host, Backend: &url.URL{Scheme: "https", Host: sidecarAddress}, Rule: rule,
		TLS:      &tls.Config{RootCAs: ca.pool, ServerName: sidecarOf, MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.issue("gateway.test")}},
		Upstream: upstream.Options{Protocol: upstream.HTTP2},
	}
}

// openServer serves gRPC in the clear, as servers behind a sidecar do.
func (s *stage) openServer(server testpb.TestServiceServer) (address string) {
	s.t.Helper()
	listener := s.listen()
	rpc := grpc.NewServer()
	testpb.RegisterTestServiceServer(rpc, server)
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(listener) }()
	s.t.Cleanup(func() {
		rpc.Stop()
		if err := <-done; err != nil {
			s.t.Errorf("serving gRPC: %v", err)
		}
	})
	return listener.Addr().String()
}

func (s *stage) openSidecar(ca *authority, app string) (address string) {
	s.t.Helper()
	guard, err := sidecar.New(sidecar.Config{
		App: &url.URL{Scheme: "http", Host: app}, H2C: true, Access: accesslog.New(io.Discard, "sidecar"),
		PeerName: func(cs tls.ConnectionState) (string, error) {
			if len(cs.VerifiedChains) == 0 {
				return "", errors.New("peer has no certificate")
			}
			return cs.PeerCertificates[0].DNSNames[0], nil
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.serve(guard, &tls.Config{
		Certificates: []tls.Certificate{ca.issue(sidecarOf)}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
	})
}

func (s *stage) listen() net.Listener {
	s.t.Helper()
	listener, err := new(net.ListenConfig).Listen(s.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	return listener
}

func (s *stage) serve(handler http.Handler, config *tls.Config) (address string) {
	s.t.Helper()
	listener := s.listen()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- proxy.Serve(ctx, proxy.ServerConfig{Listener: listener, TLS: config, Handler: handler, Drain: time.Second})
	}()
	s.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, proxy.ErrDrain) { // connections of the client's may be cut
			s.t.Errorf("serving: %v", err)
		}
	})
	return listener.Addr().String()
}

// signedIn is a context whose calls carry the session's cookie for host.
func (s *stage) signedIn(host string) context.Context {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	answer := httptest.NewRecorder()
	if err := s.sessions.Save(answer, httptest.NewRequest(http.MethodGet, "https://"+host+"/", nil), host, s.state); err != nil {
		s.t.Fatal(err)
	}
	cookie, _, _ := strings.Cut(answer.Header().Get("Set-Cookie"), ";")
	return metadata.AppendToOutgoingContext(ctx, "cookie", cookie)
}
