package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/sidecar"
)

// strangerName is in the certificate of somebody who is no gateway, but of its authority.
const strangerName = "reports.sallyport.internal"

// clientOf is a client's certificate for a name, of the authority of sidecars. Its PKI role
// is made for it.
func (s *stand) clientOf(t *testing.T, name string) tls.Certificate {
	t.Helper()
	var role struct{ Data map[string]any }
	s.call(t, "GET", "pki-backend/roles/"+gatewayRole, nil, &role)
	label, _, _ := strings.Cut(name, ".")
	role.Data["allowed_domains"] = []string{name}
	s.call(t, "POST", "pki-backend/roles/client-"+label, role.Data, nil)
	var answer struct {
		Data struct {
			Certificate string
			Chain       []string `json:"ca_chain"`
			PrivateKey  string   `json:"private_key"`
		}
	}
	s.call(t, "POST", "pki-backend/issue/client-"+label, map[string]string{"common_name": name}, &answer)
	pair, err := tls.X509KeyPair([]byte(strings.Join(append([]string{answer.Data.Certificate}, answer.Data.Chain...), "\n")), []byte(answer.Data.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// guarding is a confined sidecar that runs no application.
type guarding struct {
	*process
	s             *stand
	listen, admin string
	file          string // its configuration
}

// startGuard starts a sidecar before an application, with more at the end of its
// configuration, and returns when it is ready.
func (s *stand) startGuard(t *testing.T, app, more string) *guarding {
	t.Helper()
	g := &guarding{s: s, listen: free(t), admin: free(t), file: filepath.Join(t.TempDir(), "sidecar.yaml")}
	g.write(t, app, more)
	g.process = s.start(t, "sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole],
		"--wrapping-token-file", s.introduce(t, sidecarRole).file, "--config", g.file)
	g.ready(t, g.admin)
	if g.told("confined") != 1 {
		t.Errorf("it is not confined\n%s", g.err.String())
	}
	return g
}

func (g *guarding) write(t *testing.T, app, more string) {
	t.Helper()
	if !strings.Contains(more, "stop:") {
		more += "stop: {announce: 0s, drain: 20s}\n"
	}
	config := fmt.Sprintf("name: %s\napp: %s\nlisten: %q\nadmin: %q\n%s", sidecarName, app, g.listen, g.admin, more)
	if err := os.WriteFile(g.file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// change has it use another configuration.
func (g *guarding) change(t *testing.T, app, more string) {
	t.Helper()
	before := g.told("new version in use")
	g.write(t, app, more)
	g.signal(t, syscall.SIGHUP)
	g.eventually(t, "the change is in use", func() (string, bool) { return "", g.told("new version in use") > before })
}

// dial connects as somebody who offers a protocol, "" for none.
func (g *guarding) dial(t *testing.T, who tls.Certificate, protocol string) *tls.Conn {
	t.Helper()
	config := &tls.Config{RootCAs: g.s.roots(t, "pki-backend"), ServerName: sidecarName, MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{who}}
	if protocol != "" {
		config.NextProtos = []string{protocol}
	}
	dialer := &tls.Dialer{Config: config}
	conn, err := dialer.DialContext(t.Context(), "tcp", g.listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*tls.Conn)
}

// refuses connects as somebody who must not be let in.
func (g *guarding) refuses(t *testing.T, who tls.Certificate) {
	t.Helper()
	_, err := g.dial(t, who, "").Read(make([]byte, 1)) // with TLS 1.3 a client learns it late
	var alert *net.OpError
	if !errors.As(err, &alert) || !strings.Contains(err.Error(), "remote error: tls: ") {
		t.Errorf("a client that is not to come in reads %v, expected an alert", err)
	}
}

// fields are some of a line of an access log.
type fields map[string]any

// and returns a copy with one more.
func (f fields) and(name string, value any) fields {
	more := maps.Clone(f)
	more[name] = value
	return more
}

// lines waits for that many lines of its access log of which all these fields are so.
func (g *guarding) lines(t *testing.T, count int, of fields) (found []fields) {
	t.Helper()
	g.eventually(t, fmt.Sprintf("%d lines have %v", count, of), func() (string, bool) {
		found = nil
		log := g.out.String()
		for text := range strings.Lines(log) {
			var line fields
			if json.Unmarshal([]byte(text), &line) != nil {
				continue
			}
			fits := true
			for name, value := range of {
				fits = fits && line[name] == value
			}
			if fits {
				found = append(found, line)
			}
		}
		return log, len(found) >= count
	})
	return found
}

// says sends a text on a connection and waits until it comes back.
func says(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != text {
		t.Fatalf("read %q, %v, expected %q", back, err, text)
	}
}

// echo sends back what it reads, and says goodbye at its end.
func echo(t *testing.T, network, address string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := io.Copy(conn, conn); err == nil {
					_, _ = io.WriteString(conn, "goodbye")
				}
			}()
		}
	}()
}

// socketFolder is one whose path is short enough for a socket's.
func socketFolder(t *testing.T, mode os.FileMode) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "app")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, mode); err != nil {
		t.Fatal(err)
	}
	return folder
}

// testTCP has connections pass that are no HTTP, to a port and to a socket.
func testTCP(t *testing.T, s *stand) {
	socket, port := filepath.Join(socketFolder(t, 0o700), "app.sock"), free(t)
	echo(t, "unix", socket)
	echo(t, "tcp", port)
	gateway, stranger := s.clientOf(t, clientName), s.clientOf(t, strangerName)
	for name, app := range map[string]string{"port": "tcp://" + port, "socket": "unix:" + socket} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := s.startGuard(t, app, "mode: tcp\n")
			for _, protocol := range []string{sidecar.ALPN, ""} {
				conn := g.dial(t, gateway, protocol)
				says(t, conn, "hello")
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if rest, err := io.ReadAll(conn); err != nil || string(rest) != "goodbye" {
					t.Errorf("after its half has ended, a client reads %q, %v", rest, err)
				}
			}
			g.refuses(t, stranger)
			g.eventually(t, "it tells of the stranger", func() (string, bool) { return "", g.told("TLS handshake of a connection failed") == 1 })

			passed := fields{"sallyport.stream": "tcp", "rule.name": "peer:" + clientName, "sallyport.decision": "allow"}
			for _, begun := range g.lines(t, 2, passed.and("event.action", "stream_begin")) {
				ended := g.lines(t, 1, passed.and("event.action", "access").and("http.request.id", begun["http.request.id"]))[0]
				if ended["http.request.body.bytes"] != 5.0 || ended["http.response.body.bytes"] != 12.0 || ended["error.message"] != nil {
					t.Errorf("the line of the end: %v", ended)
				}
			}
			last := g.dial(t, gateway, sidecar.ALPN)
			says(t, last, "hello")
			g.signal(t, syscall.SIGTERM)
			g.eventually(t, "it is stopping", func() (string, bool) { return "", g.told("stopping") == 1 })
			says(t, last, "it goes on")
			_ = last.Close()
			if code := g.wait(t); code != exitOK {
				t.Errorf("exit code %d\n%s", code, g.err.String())
			}
			s.checkNoSecret(t, g.process)
		})
	}
}

// testTCPDrainEnds stops a sidecar beside a connection that does not end by itself: it is
// cut when its time is over, its line says why, and so does the exit code.
func testTCPDrainEnds(t *testing.T, s *stand) {
	port := free(t)
	echo(t, "tcp", port)
	g := s.startGuard(t, "tcp://"+port, "mode: tcp\nstop: {announce: 0s, drain: 1s}\n")
	conn := g.dial(t, s.clientOf(t, clientName), sidecar.ALPN)
	says(t, conn, "hello")
	g.signal(t, syscall.SIGTERM)
	if _, err := io.Copy(io.Discard, conn); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection ended with %v, expected that it is cut", err)
	}
	if code := g.wait(t); code != exitDrain {
		t.Errorf("exit code %d, expected %d\n%s", code, exitDrain, g.err.String())
	}
	cut := g.lines(t, 1, fields{"sallyport.stream": "tcp", "event.action": "access"})[0]
	if cause, _ := cut["error.message"].(string); !strings.Contains(cause, "the process is stopping") {
		t.Errorf("the line of what was cut: %v", cut)
	}
	if !strings.HasSuffix(g.err.String(), "drain deadline passed with requests in flight\n") || strings.Contains(g.err.String(), "introduction is used up") {
		t.Errorf("the explanation:\n%s", g.err.String())
	}
}

// testGatewaysChange takes a name off the list while it has something under way, and puts
// another one on it.
func testGatewaysChange(t *testing.T, s *stand) {
	port := free(t)
	echo(t, "tcp", port)
	events := httptest.NewServer(http.HandlerFunc(stream))
	t.Cleanup(events.Close)
	before, after := s.clientOf(t, clientName), s.clientOf(t, strangerName)
	for name, test := range map[string]struct {
		app, more string
		speak     func(*testing.T, *tls.Conn) // until there is something under way
		ended     fields                      // of the line of the end
	}{
		"a connection": {"tcp://" + port, "mode: tcp\n", func(t *testing.T, conn *tls.Conn) {
			t.Helper()
			says(t, conn, "hello")
		}, fields{"sallyport.stream": "tcp"}},
		"a stream": {events.URL, "", func(t *testing.T, conn *tls.Conn) {
			t.Helper()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: notes\r\nX-Forwarded-User: alice\r\n\r\n") // or reading fails
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				if lines.Text() == "data: alice" {
					return
				}
			}
			t.Fatal("there is no event")
		}, fields{"sallyport.stream": "events"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := s.startGuard(t, test.app, test.more)
			conn := g.dial(t, before, "")
			test.speak(t, conn)
			g.refuses(t, after)
			g.change(t, test.app, test.more+"gateways: ["+strangerName+"]\n")
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it goes on for somebody who is on the list no more")
			}
			cut := g.lines(t, 1, test.ended.and("event.action", "access").and("rule.name", "peer:"+clientName))[0]
			if cause, _ := cut["error.message"].(string); !strings.Contains(cause, "the peer is let in no longer") {
				t.Errorf("the line of what was cut: %v", cut)
			}
			test.speak(t, g.dial(t, after, ""))
			g.refuses(t, before)
			g.lines(t, 1, test.ended.and("event.action", "stream_begin").and("rule.name", "peer:"+strangerName))
			if g.told("peers are let in no longer: what they had under way was cut") == 0 {
				t.Errorf("its log does not say that it has cut something\n%s", g.err.String())
			}
		})
	}
}
