package sidecar

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/relay"
)

// connections is a guard of connections in front of an application that speaks no HTTP,
// and the way of a client to it.
type connections struct {
	address string
	dial    *tls.Config
	living  *Living
	guard   atomic.Pointer[TCP]
	lines   lineWriter
	stop    func() error // ends the serving, and waits for it
}

// newConnections guards the application at app.
func newConnections(t *testing.T, app string, change ...func(*TCPConfig, *TCPServer)) *connections {
	t.Helper()
	target, err := url.Parse(app)
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	c := &connections{lines: make(lineWriter, 100), living: new(Living)}
	cfg := TCPConfig{App: target, PeerName: peerName, Living: c.living, Access: accesslog.New(c.lines, "sidecar"), Log: slog.New(slog.DiscardHandler)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := TCPServer{
		Listener: listener, Guard: c.guard.Load, Drain: patience,
		TLS: &tls.Config{
			MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(), NextProtos: []string{ALPN},
			Certificates: []tls.Certificate{ca.issue(t, sidecarName, x509.ExtKeyUsageServerAuth)}, SessionTicketsDisabled: true,
		},
	}
	for _, edit := range change {
		edit(&cfg, &server)
	}
	guard, err := NewTCP(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.guard.Store(guard)
	c.address = listener.Addr().String()
	c.dial = &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: ca.pool(), ServerName: sidecarName, NextProtos: []string{ALPN},
		Certificates: []tls.Certificate{ca.issue(t, gatewayName, x509.ExtKeyUsageClientAuth)},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	c.stop = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(2 * patience):
			t.Error("the server does not stop")
			return nil
		}
	}
	t.Cleanup(func() { _ = c.stop() })
	return c
}

// connect opens a connection as a peer that may come in.
func (c *connections) connect(t *testing.T) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", c.address, c.dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// line waits for the next line of the access log.
func (c *connections) line(t *testing.T) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(next(t, c.lines)), &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

// plainApp is an application that does with each of its connections what handle does.
func plainApp(tb testing.TB, network string, handle func(net.Conn)) (address string) {
	tb.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(tb.TempDir(), "app.sock")
	}
	listener, err := net.Listen(network, at)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	if network == "unix" {
		return "unix:" + at
	}
	return "tcp://" + listener.Addr().String()
}

// tail answers with all that was sent once there is no more of it, which takes two
// directions that end one by one.
func tail(conn net.Conn) {
	all, err := io.ReadAll(conn)
	if err == nil {
		_, _ = conn.Write(append([]byte("heard "), all...))
	}
}

// silent says nothing until the other side has gone.
func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestBytesPassAndDirectionsEndOneByOne(t *testing.T) {
	payload := make([]byte, 1<<20)
	_, _ = rand.Read(payload)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			app := plainApp(t, network, tail)
			c := newConnections(t, app)
			conn := c.connect(t)
			if got := conn.ConnectionState().NegotiatedProtocol; got != ALPN {
				t.Errorf("protocol %q", got)
			}
			begin := c.line(t)
			if begin["event.action"] != "stream_begin" || begin["sallyport.stream"] != "tcp" || begin["rule.name"] != "peer:"+gatewayName ||
				begin["sallyport.decision"] != "allow" || begin["tls.client.x509.serial_number"] != "02" || begin["url.domain"] != sidecarName {
				t.Errorf("begin: %v", begin)
			}
			if _, err := conn.Write(payload); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, append([]byte("heard "), payload...)) {
				t.Errorf("%d bytes came back, %v", len(got), err)
			}
			end := c.line(t)
			if end["event.action"] != "access" || end["sallyport.stream"] != "tcp" || end["event.outcome"] != "success" || end["error.message"] != nil ||
				end["http.request.id"] != begin["http.request.id"] || end["http.request.body.bytes"] != float64(len(payload)) || end["http.response.body.bytes"] != float64(len(payload)+6) {
				t.Errorf("end: %v", end)
			}
			if want := strings.TrimPrefix(app, "tcp://"); end["server.address"] != want {
				t.Errorf("server.address %v, want %q", end["server.address"], want)
			}
		})
	}
}

func TestWhoeverSpeaksSomethingElseIsRefused(t *testing.T) {
	reached := make(chan struct{}, 10)
	c := newConnections(t, plainApp(t, "tcp", func(net.Conn) { reached <- struct{}{} }))
	stranger := newAuthority(t)
	for name, change := range map[string]func(*tls.Config){
		"HTTP":                  func(cfg *tls.Config) { cfg.NextProtos = []string{"h2", "http/1.1"} },
		"without a certificate": func(cfg *tls.Config) { cfg.Certificates = nil },
		"with another authority's": func(cfg *tls.Config) {
			cfg.Certificates = []tls.Certificate{stranger.issue(t, gatewayName, x509.ExtKeyUsageClientAuth)}
		},
		"with a version that is older": func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 },
	} {
		cfg := c.dial.Clone()
		change(cfg)
		conn, err := tls.Dial("tcp", c.address, cfg)
		if err == nil { // in TLS 1.3 a client learns of it with the first byte
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if err == nil {
			t.Errorf("%s: let in", name)
		}
	}
	if len(reached) > 0 {
		t.Error("the application was reached")
	}
}

// TestClientsThatKnowNoALPN: the usual wrappers of TLS set none.
func TestClientsThatKnowNoALPN(t *testing.T) {
	c := newConnections(t, plainApp(t, "tcp", tail))
	c.dial.NextProtos = nil
	conn := c.connect(t)
	_, _ = io.WriteString(conn, "hello")
	_ = conn.CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "heard hello" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestConnectionsThatAreRefusedAreRecorded(t *testing.T) {
	unwelcome := func(cfg *TCPConfig, _ *TCPServer) {
		cfg.PeerName = func(tls.ConnectionState) (string, error) { return "", errors.New("its name is another") }
	}
	for name, test := range map[string]struct {
		app    string
		change func(*TCPConfig, *TCPServer)
		want   map[string]any
	}{
		"no name": {"tcp://127.0.0.1:1", unwelcome, map[string]any{"event.action": "refused", "sallyport.decision": "deny", "event.reason": "no_peer", "error.message": "its name is another"}},
		"too many": {"tcp://127.0.0.1:1", func(cfg *TCPConfig, _ *TCPServer) { cfg.Connections = -1 }, map[string]any{
			"event.action": "refused", "sallyport.decision": "deny", "event.reason": "connection_limit", "rule.name": "peer:" + gatewayName,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConnections(t, test.app, test.change)
			conn := c.connect(t)
			if n, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("read %d bytes", n)
			}
			line := c.line(t)
			for field, want := range test.want {
				if line[field] != want {
					t.Errorf("%s: %v, want %v", field, line[field], want)
				}
			}
			if _, stream := line["sallyport.stream"]; stream {
				t.Errorf("line: %v", line)
			}
		})
	}
}

// alwaysBroken is a disk that is full.
type alwaysBroken struct{}

func (alwaysBroken) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAppThatIsDownEndsTheConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	c := newConnections(t, "tcp://"+listener.Addr().String())
	conn := c.connect(t)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("something was said")
	}
	c.line(t)
	if end := c.line(t); end["event.outcome"] != "failure" || end["event.reason"] != "app_unreachable" || !strings.Contains(end["error.message"].(string), "refused") {
		t.Errorf("end: %v", end)
	}
}

// TestAppThatHangsUpDoesNotLookLikeAnEnd: what was reset on one side is on the other.
func TestAppThatHangsUpDoesNotLookLikeAnEnd(t *testing.T) {
	c := newConnections(t, plainApp(t, "tcp", func(conn net.Conn) {
		_, _ = io.WriteString(conn, "half")
		_, _ = conn.Read(make([]byte, 1)) // the client has it
		_ = conn.(*net.TCPConn).SetLinger(0)
	}))
	conn := c.connect(t)
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "x")
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: %v, want an end that is none", err)
	}
	c.line(t)
	if end := c.line(t); !strings.Contains(end["error.message"].(string), "reset") {
		t.Errorf("end: %v", end)
	}
}

// TestClientThatIsCutOffDoesNotLookLikeAnEnd: the application must not take half of what
// a client had to say for the whole.
func TestClientThatIsCutOffDoesNotLookLikeAnEnd(t *testing.T) {
	read := make(chan error, 1)
	c := newConnections(t, plainApp(t, "tcp", func(conn net.Conn) {
		_, err := io.ReadAll(conn)
		read <- err
	}))
	conn := c.connect(t)
	c.line(t)
	_, _ = io.WriteString(conn, "half")
	if err := conn.NetConn().(*net.TCPConn).CloseWrite(); err != nil { // as somebody on the way can
		t.Fatal(err)
	}
	if err := next(t, read); err == nil {
		t.Error("the application read to an end")
	}
	if end := c.line(t); end["error.message"] != errBrokeOff.Error() {
		t.Errorf("end: %v", end)
	}
}

func TestConnectionsThatSayNothingEnd(t *testing.T) {
	c := newConnections(t, plainApp(t, "tcp", silent), func(cfg *TCPConfig, _ *TCPServer) { cfg.IdleTimeout = 10 * time.Millisecond })
	conn := c.connect(t)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("something was said")
	}
	c.line(t)
	if end := c.line(t); end["error.message"] != errIdle.Error() {
		t.Errorf("end: %v", end)
	}
}

func TestConnectionsThatAreInUseGoOn(t *testing.T) {
	c := newConnections(t, plainApp(t, "tcp", func(conn net.Conn) { _, _ = io.Copy(conn, conn) }))
	first := c.connect(t)
	for range 3 {
		if _, err := io.WriteString(first, "ping"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(first, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if cut := c.living.Judge(func(cs tls.ConnectionState) error { _, err := peerName(cs); return err }); cut != 0 {
		t.Errorf("%d were cut of those who may come in", cut)
	}
}

// TestPeersOffTheListAreCut: a name that is taken off the list ends what is under way.
func TestPeersOffTheListAreCut(t *testing.T) {
	c := newConnections(t, plainApp(t, "tcp", silent))
	conn := c.connect(t)
	c.line(t)
	off := errors.New("its name is no longer on the list")
	if cut := c.living.Judge(func(tls.ConnectionState) error { return off }); cut != 1 {
		t.Fatalf("%d were cut", cut)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("something was said")
	}
	if end := c.line(t); !strings.Contains(end["error.message"].(string), off.Error()) {
		t.Errorf("end: %v", end)
	}
	if cut := c.living.Judge(func(tls.ConnectionState) error { return off }); cut != 0 {
		t.Errorf("%d are still under way", cut)
	}
}

func TestStopLetsConnectionsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		drain time.Duration
		ends  bool
		want  error
	}{
		"by themselves": {patience, true, nil},
		"or cuts them":  {time.Millisecond, false, relay.ErrDrain},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConnections(t, plainApp(t, "tcp", tail), func(_ *TCPConfig, s *TCPServer) { s.Drain = test.drain })
			conn := c.connect(t)
			c.line(t)
			ended := make(chan error, 1)
			go func() { ended <- c.stop() }()
			if test.ends {
				_, _ = io.WriteString(conn, "bye")
				_ = conn.CloseWrite()
				if got, err := io.ReadAll(conn); err != nil || string(got) != "heard bye" {
					t.Errorf("%q, %v", got, err)
				}
			}
			if err := next(t, ended); !errors.Is(err, test.want) {
				t.Errorf("stopped with %v, want %v", err, test.want)
			}
			end := c.line(t)
			if cause, cut := end["error.message"].(string); cut == test.ends || cut && cause != errStopping.Error() {
				t.Errorf("end: %v", end)
			}
			if _, err := net.Dial("tcp", c.address); err == nil {
				t.Error("connections are taken after the stop")
			}
		})
	}
}

// TestConnectionsCannotComeInUnrecorded: without a line nobody reaches the application.
func TestConnectionsCannotComeInUnrecorded(t *testing.T) {
	reached := make(chan struct{}, 10)
	access := accesslog.New(alwaysBroken{}, "sidecar")
	c := newConnections(t, plainApp(t, "tcp", func(net.Conn) { reached <- struct{}{} }), func(cfg *TCPConfig, _ *TCPServer) { cfg.Access = access })
	for access.Err() == nil {
		_ = access.Write(&accesslog.Record{Action: accesslog.ActionRefused})
		<-time.After(time.Millisecond) // the writer has not noticed yet
	}
	conn := c.connect(t)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("something was said")
	}
	if len(reached) > 0 {
		t.Error("the application was reached")
	}
}

// lateContext is one whose end shows when somebody asks, after the application has accepted.
type lateContext struct {
	context.Context
	accepted <-chan struct{}
}

func (c lateContext) Err() error {
	<-c.accepted
	return context.Canceled
}

// TestAnAppIsLetGoOfWhenTheEndComesFirst: the connection to it was just made.
func TestAnAppIsLetGoOfWhenTheEndComesFirst(t *testing.T) {
	accepted, gone := make(chan struct{}), make(chan error, 1)
	app := plainApp(t, "tcp", func(conn net.Conn) {
		close(accepted)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, err := conn.Read(make([]byte, 1))
		gone <- err
	})
	target, err := url.Parse(app)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := NewTCP(TCPConfig{App: target, PeerName: peerName, Access: accesslog.New(make(lineWriter, 100), "sidecar")})
	if err != nil {
		t.Fatal(err)
	}
	p := &passage{guard: guard}
	if err := p.carry(lateContext{t.Context(), accepted}); err == nil {
		t.Error("it is carried all the same")
	}
	if err := <-gone; !errors.Is(err, io.EOF) {
		t.Errorf("the application is left with its connection: %v", err)
	}
}

// TestAConnectionMayTakeAsLongAsItIsGiven, which may be longer than HTTP has.
func TestAConnectionMayTakeAsLongAsItIsGiven(t *testing.T) {
	const given = time.Minute
	guard, err := NewTCP(TCPConfig{
		App: &url.URL{Scheme: "tcp", Host: "127.0.0.1:1"}, PeerName: peerName, ConnectTimeout: given,
		Access: accesslog.New(make(lineWriter, 1), "sidecar"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if guard.app.patience != given {
		t.Errorf("%s, expected %s", guard.app.patience, given)
	}
}

// brokenListener accepts nothing, and notes that it was closed.
type brokenListener struct {
	net.Listener
	closed atomic.Bool
}

func (*brokenListener) Accept() (net.Conn, error) { return nil, errors.New("broken") }

func (l *brokenListener) Close() error {
	l.closed.Store(true)
	return l.Listener.Close()
}

// TestABrokenListenerIsClosed, and ends the serving.
func TestABrokenListenerIsClosed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := &brokenListener{Listener: listener}
	if err := (TCPServer{Listener: broken, TLS: &tls.Config{}}).Serve(t.Context()); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("error %v", err)
	}
	if !broken.closed.Load() {
		t.Error("it is still open")
	}
}
