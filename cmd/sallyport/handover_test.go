package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// tool stands where the notes' sidecar is, with its certificate.
func (s *stand) tool(t *testing.T, handler http.Handler) (address string) {
	t.Helper()
	var answer struct {
		Data struct {
			Certificate string
			Chain       []string `json:"ca_chain"`
			PrivateKey  string   `json:"private_key"`
		}
	}
	s.call(t, "POST", "pki-backend/issue/sidecar-notes", map[string]string{"common_name": sidecarName}, &answer)
	pair, err := tls.X509KeyPair([]byte(strings.Join(append([]string{answer.Data.Certificate}, answer.Data.Chain...), "\n")), []byte(answer.Data.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	server.EnableHTTP2 = true // for whom wants it
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// posters are people who are signed in and send one POST after the other.
type posters struct {
	t       *testing.T
	s       *stand
	https   string
	cookie  *http.Cookie
	over    chan struct{}
	running sync.WaitGroup
	sent    atomic.Int64
	mu      sync.Mutex // guards faults
	faults  []string
}

// startPosters begins with clients of HTTP/1.1 that keep their connections and can send
// nothing twice, and with clients of HTTP/2 that send again what the server says it has
// not begun.
func (s *stand) startPosters(t *testing.T, https string) *posters {
	t.Helper()
	l := &posters{t: t, s: s, https: https, cookie: s.signIn(t), over: make(chan struct{})}
	for i := range 6 {
		h2 := i%2 == 1
		client := l.client(h2)
		for range 1 + i%2*2 {
			l.running.Go(func() { l.repeat(client, h2) })
		}
	}
	t.Cleanup(l.end)
	return l
}

func (l *posters) client(h2 bool) *http.Client {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.s.roots(l.t, "pki-edge"), MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: h2, MaxIdleConnsPerHost: 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", l.https)
		},
	}
	l.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: patience, Transport: transport}
}

func (l *posters) repeat(client *http.Client, h2 bool) {
	for {
		select {
		case <-l.over:
			return
		case <-time.After(rand.N(5 * time.Millisecond)):
		}
		if err := l.post(client, h2); err != nil {
			l.mu.Lock()
			l.faults = append(l.faults, fmt.Sprintf("%s HTTP/2 %t: %v", time.Now().UTC().Format(time.RFC3339Nano), h2, err))
			l.mu.Unlock()
		}
		l.sent.Add(1)
	}
}

func (l *posters) post(client *http.Client, h2 bool) error {
	req, err := http.NewRequest(http.MethodPost, "https://"+notesHost+"/", strings.NewReader("note"))
	if err != nil {
		return err
	}
	if !h2 {
		req.GetBody = nil
	}
	req.AddCookie(l.cookie)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && string(body) != "alice@example.com: note" {
		err = fmt.Errorf("status %d: %.200q", res.StatusCode, body)
	}
	return err
}

// more waits until as many requests again have been answered.
func (l *posters) more(t *testing.T, p *process, n int64) {
	t.Helper()
	want := l.sent.Load() + n
	p.eventually(t, "requests are answered", func() (string, bool) { return fmt.Sprint(l.sent.Load()), l.sent.Load() >= want })
}

func (l *posters) end() {
	select {
	case <-l.over:
	default:
		close(l.over)
	}
	l.running.Wait()
}

// check ends the load, of which nothing may have failed.
func (l *posters) check(t *testing.T, what string) {
	t.Helper()
	l.end()
	if len(l.faults) > 0 {
		t.Errorf("%s: %d of %d requests failed:\n%s", what, len(l.faults), l.sent.Load(), strings.Join(l.faults[:min(len(l.faults), 5)], "\n"))
	}
	t.Logf("%s: %d requests, %d failed", what, l.sent.Load(), len(l.faults))
}

// note answers with who has sent what.
func note(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-User")+": "+string(body))
}

// serving waits until a process says that it listens.
func (p *process) serving(t *testing.T) {
	t.Helper()
	p.eventually(t, "it serves", func() (string, bool) { return "", p.told("serving") > 0 })
}

// testUpgradeBeside starts each new process beside the old one, on the same addresses,
// and then stops the old one.
func testUpgradeBeside(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	yaml := strings.Replace(gatewayYAML(https, admin, ""), "https://127.0.0.1:1", "https://"+s.tool(t, http.HandlerFunc(note)), 1)
	yaml = strings.Replace(yaml, "listen: {", "listen: {reuse_port: true, ", 1)
	config := writeFile(t, t.TempDir(), "gateway.yaml", yaml)
	start := func() *process {
		p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
		p.serving(t)
		return p
	}
	old := start()
	l := s.startPosters(t, https)
	for range 3 {
		l.more(t, old, 200)
		next := start()
		l.more(t, next, 200)
		old.signal(t, syscall.SIGTERM)
		if code := old.wait(t); code != exitOK {
			t.Errorf("exit code %d\n%s", code, old.err.String())
		}
		old = next
	}
	l.more(t, old, 200)
	l.check(t, "3 upgrades side by side")
}

// testUpgradeBySocket has the socket held by somebody else, as systemd does, and one
// process after the other.
func testUpgradeBySocket(t *testing.T, s *stand) {
	work, workFile := heldSocket(t)
	probes, probesFile := heldSocket(t)
	dir := t.TempDir()
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	yaml := strings.Replace(gatewayYAML(work, probes, ""), "https://127.0.0.1:1", "https://"+s.tool(t, http.HandlerFunc(note)), 1)
	config := writeFile(t, dir, "gateway.yaml", yaml)
	start := func() *process {
		return s.startWith(t, func(p *process) {
			env, out, errs := p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr
			p.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, p.cmd.Args...)...)
			p.cmd.Env = append(env, "LISTEN_FDS=2", "LISTEN_FDNAMES=https:admin", "NOTIFY_SOCKET="+filepath.Join(dir, "notify"))
			p.cmd.Stdout, p.cmd.Stderr, p.cmd.ExtraFiles = out, errs, []*os.File{workFile, probesFile}
		}, "gateway", "--role", gatewayRole, "--role-id", s.roleIDs[gatewayRole], "--wrapping-token-file", s.introduce(t, gatewayRole).file, "--config", config)
	}
	expect := func(state string) {
		t.Helper()
		_ = told.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 100)
		if n, err := told.Read(buf); err != nil || string(buf[:n]) != state {
			t.Errorf("the service manager is told %q, %v, expected %s", buf[:n], err, state)
		}
	}
	p := start()
	expect("READY=1")
	l := s.startPosters(t, work)
	for range 2 {
		l.more(t, p, 200)
		p.signal(t, syscall.SIGTERM)
		expect("STOPPING=1")
		if code := p.wait(t); code != exitOK {
			t.Errorf("exit code %d\n%s", code, p.err.String())
		}
		p = start() // meanwhile, whoever comes waits in the queue of the socket
		expect("READY=1")
	}
	l.more(t, p, 200)
	l.check(t, "2 restarts with sockets that stay")
}

// heldSocket is a listening socket that this test holds, and never accepts on.
func heldSocket(t *testing.T) (address string, file *os.File) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if file, err = l.File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return l.Addr().String(), file
}
