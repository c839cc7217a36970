package sidecar

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// patience bounds every wait in these tests.
const patience = 10 * time.Second

// authority is a throwaway certificate authority.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &authority{cert: cert, key: key}
}

func (a *authority) issue(tb testing.TB, name string, usage x509.ExtKeyUsage) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

const (
	gatewayName = "gateway.internal"
	sidecarName = "app.backend.internal"
)

// peerName stands in for the one of the PKI: the name of a verified peer.
func peerName(cs tls.ConnectionState) (string, error) {
	if len(cs.VerifiedChains) == 0 {
		return "", errors.New("peer has no verified certificate")
	}
	return cs.VerifiedChains[0][0].DNSNames[0], nil
}

// lineWriter hands each line of the access log to the test.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) { // of a batch
		w <- line
	}
	return len(p), nil
}

// world is a sidecar in front of an application, and the gateway's way to it:
// real listeners, real mutual TLS.
type world struct {
	server *httptest.Server
	dial   *tls.Config
	client *http.Client
	lines  lineWriter
	log    *bytes.Buffer
	living Living
}

// newWorld guards the given application.
func newWorld(tb testing.TB, app string, change ...func(*Config)) *world {
	tb.Helper()
	target, err := url.Parse(app)
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{lines: make(lineWriter, 100), log: new(bytes.Buffer)}
	cfg := Config{
		App: target, PeerName: peerName, Access: accesslog.New(w.lines, "sidecar"), Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	for _, edit := range change {
		edit(&cfg)
	}
	guard, err := New(cfg)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	ca := newAuthority(tb)
	w.server = httptest.NewUnstartedServer(guard)
	w.server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
		Certificates: []tls.Certificate{ca.issue(tb, sidecarName, x509.ExtKeyUsageServerAuth)}, SessionTicketsDisabled: true,
	}
	w.server.EnableHTTP2 = true // for those who ask for it
	w.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	w.server.Config.ConnContext = w.living.Opened
	w.server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			w.living.Closed(conn)
		}
	}
	w.server.StartTLS()
	tb.Cleanup(w.server.Close)
	w.dial = &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: ca.pool(), ServerName: sidecarName,
		Certificates: []tls.Certificate{ca.issue(tb, gatewayName, x509.ExtKeyUsageClientAuth)},
	}
	transport := &http.Transport{TLSClientConfig: w.dial, DisableCompression: true, MaxIdleConnsPerHost: 64}
	tb.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return w
}

// connect opens a connection as the gateway.
func (w *world) connect(tb testing.TB) *tls.Conn {
	tb.Helper()
	conn, err := tls.Dial("tcp", w.server.Listener.Addr().String(), w.dial)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return conn
}

// raw sends bytes as they are and reads one final answer.
func (w *world) raw(tb testing.TB, request string) *http.Response {
	tb.Helper()
	conn := w.connect(tb)
	if _, err := io.WriteString(conn, request); err != nil {
		tb.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// line waits for the next line of the access log.
func (w *world) line(tb testing.TB) map[string]any {
	tb.Helper()
	select {
	case line := <-w.lines:
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			tb.Fatalf("%v in %q", err, line)
		}
		return fields
	case <-time.After(patience):
		tb.Fatal("no line in the access log")
		return nil
	}
}

// rawApp is an application that answers every connection's first request with
// the given bytes, and hands the request's bytes to the test.
func rawApp(tb testing.TB, answer string) (address string, requests <-chan string) {
	tb.Helper()
	seen := make(chan string, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			tb.Error(err)
			return
		}
		defer func() { _ = conn.Close() }()
		seen <- r.Method + " " + r.RequestURI
		_, _ = buffered.WriteString(answer)
		_ = buffered.Flush()
	}))
	server.Start()
	tb.Cleanup(server.Close)
	return server.URL, seen
}

// recorder is an application that tells the test what reached it.
func recorder(tb testing.TB) (address string, requests <-chan *http.Request) {
	tb.Helper()
	seen := make(chan *http.Request, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r
	}))
	tb.Cleanup(server.Close)
	return server.URL, seen
}

func next[T any](tb testing.TB, from <-chan T) T {
	tb.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		tb.Fatal("nothing reached the application")
		panic("unreachable")
	}
}

// wire joins header lines as they stand on the wire.
func wire(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
