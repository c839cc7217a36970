package main

import (
	"bufio"
	"context"
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
	"os/exec"
	"path/filepath"
	"slices"
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
	config := fmt.Sprintf("name: %s\napp: %s\nlisten: %q\nadmin: %q\nstop: {announce: 0s, drain: 20s}\n%s", sidecarName, app, g.listen, g.admin, more)
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

// testTCP has connections pass that are no HTTP, to a port and to a socket.
func testTCP(t *testing.T, s *stand) {
	folder, err := os.MkdirTemp("", "app") // of a path that is short enough, and closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket, port := filepath.Join(folder, "app.sock"), free(t)
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
			g.signal(t, syscall.SIGTERM)
			if code := g.wait(t); code != exitOK {
				t.Errorf("exit code %d\n%s", code, g.err.String())
			}
			s.checkNoSecret(t, g.process)
		})
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
			if g.told("peers are let in no longer: what they had under way was cut") != 1 {
				t.Errorf("its log does not say that it has cut something\n%s", g.err.String())
			}
		})
	}
}

// testExposedApp has applications listen where everybody reaches them: after the sidecar has
// started, before, and as its own child.
func testExposedApp(t *testing.T, s *stand) {
	_, port, _ := net.SplitHostPort(free(t))
	const unsafe = "unsafe_app_not_loopback: true\n"
	app := "http://127.0.0.1:" + port
	indifferent, careful := s.startGuard(t, app, unsafe), s.startGuard(t, app, "")
	tool, err := exec.LookPath("tool")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(tool, "0.0.0.0:"+port)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	exposed(t, careful.process, port, careful.wait(t))
	// This one has looked, or not, since before; and it goes on.
	if status, body, err := askGuard(t, indifferent, s.clientOf(t, clientName), "/", nil); err != nil || status != http.StatusOK || body != "hello " {
		t.Errorf("status %d, %q, %v", status, body, err)
	}
	if indifferent.told("the application can be reached past the sidecar, which ends for that") > 0 {
		t.Error(indifferent.err.String())
	}

	late := &guarding{s: s, listen: free(t), admin: free(t), file: filepath.Join(t.TempDir(), "sidecar.yaml")}
	late.write(t, app, "")
	intro := s.introduce(t, sidecarRole)
	start := func(more ...string) *process {
		return s.start(t, append([]string{
			"sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole], "--wrapping-token-file", intro.file, "--config", late.file,
		}, more...)...)
	}
	refused := start()
	if code := refused.wait(t); code != exitExposed || !listensEverywhere(port, refused.err.String()) || !s.usable(t, intro.token) {
		t.Errorf("exit code %d, expected %d, the address, and an introduction that can be used\n%s", code, exitExposed, refused.err.String())
	}

	_, port, _ = net.SplitHostPort(free(t))
	late.write(t, "http://127.0.0.1:"+port, "")
	parent := start("--", tool, "0.0.0.0:"+port)
	exposed(t, parent, port, parent.wait(t))
	if out := parent.out.String(); !strings.Contains(out, "up\n") || !strings.Contains(out, "down\n") {
		t.Errorf("the application was not ended in order:\n%s", out)
	}
}

// listensEverywhere says whether a text names the address. Package net listens on both
// families where 0.0.0.0 is asked for.
func listensEverywhere(port, text string) bool {
	return strings.Contains(text, "it listens on [::]:"+port+",") || strings.Contains(text, "it listens on 0.0.0.0:"+port+",")
}

// exposed checks how a sidecar has ended whose application can be reached past it.
func exposed(t *testing.T, p *process, port string, code int) {
	t.Helper()
	told := slices.ContainsFunc(p.log(), func(line logLine) bool {
		cause, _ := line.fields["cause"].(string)
		return line.Level == "ERROR" && line.Msg == "the application can be reached past the sidecar, which ends for that" && listensEverywhere(port, cause)
	})
	if code != exitExposed || !told {
		t.Errorf("exit code %d, expected %d and a line that names the address at port %s\n%s", code, exitExposed, port, p.err.String())
	}
}

// askGuard sends one request to a sidecar.
func askGuard(t *testing.T, g *guarding, who tls.Certificate, path string, h http.Header) (status int, body string, err error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		return g.dial(t, who, ""), nil
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+sidecarName+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h != nil {
		req.Header = h
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	return res.StatusCode, string(content), err
}

// testGuardDemandsAssertions has a real gateway and everybody else ask a sidecar that
// believes assertions alone, and answers about its health itself.
func testGuardDemandsAssertions(t *testing.T, s *stand) {
	seen := make(chan http.Header, 10)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		_, _ = io.WriteString(w, "hello "+r.Header.Get("X-Forwarded-User"))
	}))
	t.Cleanup(app.Close)
	g := s.startGuard(t, app.URL, "health_path: /healthz\nassertion: {routes: [notes], issuer: \"https://"+doorHost+"\"}\n")
	https, admin := free(t), free(t)
	yaml := strings.Replace(gatewayYAML(https, admin, ""), "https://127.0.0.1:1", "https://"+g.listen, 1)
	gateway := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, writeFile(t, t.TempDir(), "gateway.yaml", yaml))
	gateway.ready(t, admin)
	transport := s.transportTo(t, https)
	t.Cleanup(transport.CloseIdleConnections)
	if fault := askSignedIn(t.Context(), transport, s.signIn(t)); fault != "" {
		t.Fatalf("%s\n%s\n%s", fault, g.err.String(), g.out.String())
	}
	got := <-seen
	if groups := got.Get("X-Forwarded-Groups"); groups != "engineers" || got.Get("X-Sallyport-Assertion") == "" {
		t.Errorf("the tool was told %v", got)
	}
	g.lines(t, 1, fields{"user.name": "alice@example.com", "sallyport.decision": "allow", "event.reason": "gateway"})

	another := s.clientOf(t, clientName) // the name is a gateway's, the certificate is not this gateway's
	alice := http.Header{"X-Forwarded-User": {"alice@example.com"}}
	if status, _, err := askGuard(t, g, another, "/", alice); err != nil || status != http.StatusForbidden {
		t.Errorf("without an assertion: status %d, %v", status, err)
	}
	stolen := alice.Clone()
	stolen["X-Sallyport-Assertion"] = got["X-Sallyport-Assertion"]
	if status, _, err := askGuard(t, g, another, "/", stolen); err != nil || status != http.StatusForbidden {
		t.Errorf("with somebody else's: status %d, %v", status, err)
	}
	g.lines(t, 1, fields{"event.reason": "assertion_missing", "sallyport.decision": "deny", "rule.name": "peer:" + clientName})
	refused := g.lines(t, 1, fields{"event.reason": "assertion_refused", "sallyport.decision": "deny"})[0]
	if cause, _ := refused["error.message"].(string); !strings.Contains(cause, "another client certificate") || refused["user.name"] != nil {
		t.Errorf("the line of a stolen assertion: %v", refused)
	}

	if status, body, err := askGuard(t, g, another, "/healthz", nil); err != nil || status != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: status %d, %q, %v", status, body, err)
	}
	g.lines(t, 1, fields{"event.reason": "health", "url.path": "/healthz", "rule.name": "peer:" + clientName})
	g.refuses(t, s.clientOf(t, strangerName)) // at any path
	if len(seen) > 0 {
		t.Errorf("%d refused requests, or those about health, reached the tool", len(seen))
	}
	s.checkNoSecret(t, g.process, got.Get("X-Sallyport-Assertion"))
}
