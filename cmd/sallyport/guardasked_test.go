package main

import (
	"context"
	"crypto/tls"
	"io"
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
)

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

	indifferent.write(t, app, "")
	indifferent.signal(t, syscall.SIGHUP)
	indifferent.eventually(t, "it does not begin to care while it is so", func() (string, bool) {
		return "", slices.ContainsFunc(indifferent.log(), func(line logLine) bool {
			cause, _ := line.fields["cause"].(string)
			return line.Msg == "new version refused, the one before stays in use" && listensEverywhere(port, cause)
		})
	})

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

// testExposedSocket has an application open a socket to everybody, of a sidecar that is
// confined already.
func testExposedSocket(t *testing.T, s *stand) {
	folder := socketFolder(t, 0o755)
	socket := filepath.Join(folder, "app.sock")
	g := s.startGuard(t, "unix:"+socket, "")
	echo(t, "unix", socket)
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if code := g.wait(t); code != exitExposed || !strings.Contains(g.err.String(), socket) {
		t.Errorf("exit code %d, expected %d and the socket's name\n%s", code, exitExposed, g.err.String())
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
	g := s.startGuard(t, app.URL, "stop: {announce: 1m}\nhealth_path: /healthz\nassertion: {routes: [notes], issuer: \"https://"+doorHost+"\"}\n")
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
	g.signal(t, syscall.SIGTERM)
	g.eventually(t, "it is stopping", func() (string, bool) { return "", g.told("stopping") == 1 })
	if status, body, err := askGuard(t, g, another, "/healthz", nil); err != nil || status != http.StatusServiceUnavailable || body != "not ready\n" {
		t.Errorf("/healthz of one that stops: status %d, %q, %v", status, body, err)
	}
	g.lines(t, 1, fields{"event.reason": "health", "error.message": "stopping"})
	if len(seen) > 0 {
		t.Errorf("%d refused requests, or those about health, reached the tool", len(seen))
	}
	s.checkNoSecret(t, g.process, got.Get("X-Sallyport-Assertion"))
}
