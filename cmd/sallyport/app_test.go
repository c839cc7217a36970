package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// toolMain is an application that knows nothing of Sallyport: it listens where its first
// argument says and ends on SIGTERM, after it has answered.
func toolMain() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	held := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello "+r.Header.Get("X-Forwarded-User"))
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(os.Environ()) })
	mux.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		say("held")
		select {
		case <-held:
			_, _ = io.WriteString(w, "let go, "+r.Header.Get("X-Forwarded-User"))
		case <-ctx.Done():
			w.WriteHeader(http.StatusGone)
		}
	})
	mux.HandleFunc("/let-go", func(http.ResponseWriter, *http.Request) { close(held) })
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(5) })
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		say(err)
		os.Exit(1)
	}
	say("up")
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(listener) }()
	<-ctx.Done()
	_ = server.Shutdown(context.Background())
	say("down")
}

// say writes a line of the tool's.
func say(what ...any) { _, _ = fmt.Fprintln(os.Stdout, what...) }

// supervised is a sidecar that runs a tool.
type supervised struct {
	*process
	address, admin, listen string // of the tool, and of the sidecar
}

// sidecarArgs are the arguments of a sidecar before a command.
func (s *stand) sidecarArgs(t *testing.T, config string) []string {
	t.Helper()
	return []string{
		"sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole],
		"--wrapping-token-file", s.introduce(t, sidecarRole).file, "--config", writeFile(t, t.TempDir(), "sidecar.yaml", config),
	}
}

// superviseTool starts one, with what child says in its configuration and the given
// command, or the tool.
func (s *stand) superviseTool(t *testing.T, child string, command ...string) *supervised {
	t.Helper()
	p := &supervised{address: free(t), admin: free(t), listen: free(t)}
	if command == nil {
		tool, err := exec.LookPath("tool")
		if err != nil {
			t.Fatal(err)
		}
		command = []string{tool, p.address}
	}
	config := fmt.Sprintf("name: %s\napp: http://%s\nlisten: %q\nadmin: %q\nchild: %s\nstop: {announce: 100ms, drain: 20s}\n",
		sidecarName, p.address, p.listen, p.admin, strings.ReplaceAll(child, "TOOL", p.address))
	p.process = s.startWith(t, func(started *process) {
		started.cmd.Env = append(started.cmd.Env, "VAULT_NAMESPACE=", "APP_MODE=plain", "CREDENTIALS_DIRECTORY=/nowhere")
	}, slices.Concat(s.sidecarArgs(t, config), []string{"--"}, command)...)
	return p
}

// ask asks the tool itself.
func (p *supervised) ask(t *testing.T, path string) string {
	t.Helper()
	_, body, err := get(p.address, path)
	if err != nil {
		t.Fatalf("asking the tool for %s: %v\n%s", path, err, p.err.String())
	}
	return body
}

// TestSidecarRunsItsApp is a tool's life behind a sidecar that runs it: it is started when
// all is there, answers through the guard until the last request, and is ended then.
func TestSidecarRunsItsApp(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	p := s.superviseTool(t, "{output: json, check: {http: \"http://TOOL/\"}}")
	p.ready(t, p.admin)

	status, body, err := get(p.admin, "/readyz")
	parts := regexp.MustCompile(`^ready\n- guard: answers at ` + p.listen + `\n- certificate: valid until \S+Z\n- app: runs since \S+Z, its check is passing\n$`)
	if err != nil || status != http.StatusOK || !parts.MatchString(body) {
		t.Errorf("/readyz: status %d, %q, %v", status, body, err)
	}
	var environ []string
	if err := json.Unmarshal([]byte(p.ask(t, "/env")), &environ); err != nil {
		t.Fatal(err)
	}
	if want := []string{"PATH=" + os.Getenv("PATH"), endAtOnce, "APP_MODE=plain"}; !slices.Equal(environ, want) {
		t.Errorf("the tool's environment is %q, expected %q", environ, want)
	}
	_, metrics, err := get(p.admin, "/metrics")
	for _, want := range []string{"sallyport_app_running 1", "sallyport_app_answering 1", "sallyport_app_check_passing 1", "sallyport_app_restarts_total 0", "sallyport_ready 1"} {
		if !strings.Contains(metrics, "\n"+want+"\n") {
			t.Errorf("/metrics has no %q, %v", want, err)
		}
	}

	for command, want := range map[string]string{"health": body, "status": "- app: runs since "} {
		flag := map[string]string{"health": "--url=http://" + p.admin + "/readyz", "status": "--admin-url=http://" + p.admin}[command]
		asked := s.start(t, command, flag)
		if code := asked.wait(t); code != exitOK || !strings.Contains(asked.out.String(), want) {
			t.Errorf("%s: exit code %d, %q, expected %q", command, code, asked.out.String(), want)
		}
	}

	https, admin := free(t), free(t)
	yaml := strings.Replace(gatewayYAML(https, admin, ""), "https://127.0.0.1:1", "https://"+p.listen, 1)
	gateway := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, writeFile(t, t.TempDir(), "gateway.yaml", yaml))
	gateway.ready(t, admin)
	people := &posters{t: t, s: s, https: https, cookie: s.signIn(t)}
	client := people.client(false)
	if err := people.want(client, "/", "hello alice@example.com"); err != nil {
		t.Error(err)
	}
	last := make(chan error, 1)
	go func() { last <- people.want(client, "/hold", "let go, alice@example.com") }()
	p.eventually(t, "the tool has the last request", func() (string, bool) { return "", strings.Contains(p.out.String(), `"text":"held"`) })
	p.signal(t, syscall.SIGTERM)
	p.eventually(t, "the sidecar is stopping", func() (string, bool) { return "", p.told("stopping") == 1 })
	p.ask(t, "/let-go") // so the tool still runs
	if err := <-last; err != nil {
		t.Errorf("the last request: %v", err)
	}
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
	if out := p.out.String(); !strings.Contains(out, `"service":"notes","text":"down"`) {
		t.Errorf("the tool did not end in order:\n%s", out)
	}
	if order := messages(p.process, "app has started", "app passes its check", "serving", "stopping", "app has ended", "stopped"); len(order) != 6 {
		t.Errorf("the order was %q\n%s", order, p.err.String())
	}
	for _, line := range p.log() {
		if line.Msg == "serving" {
			t.Logf("startup %v", line.fields["startup"])
		}
	}
}

// messages returns those of the messages that a process has logged, each after the one
// before it.
func messages(p *process, expected ...string) (found []string) {
	for _, line := range p.log() {
		if len(found) < len(expected) && line.Msg == expected[len(found)] {
			found = append(found, line.Msg)
		}
	}
	return found
}

// TestEndOfTheAppEndsTheSidecar has tools end in each way.
func TestEndOfTheAppEndsTheSidecar(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	sh := func(script string) []string { return []string{"/bin/sh", "-c", script} }
	tests := map[string]struct {
		child   string
		command []string
		then    func(p *supervised)
		code    int
		says    string
	}{
		"it dies while it serves": {"{check: {http: \"http://TOOL/\"}}", nil, func(p *supervised) {
			p.ready(t, p.admin)
			_, _, _ = get(p.address, "/exit") // which is not answered
		}, exitApp, "has ended by itself: exit code 5"},
		"it dies at once":              {"{}", sh("exit 3"), nil, exitApp, "app /bin/sh has ended by itself: exit code 3"},
		"a signal ends it":             {"{}", sh("kill -9 $$"), nil, exitApp, "app /bin/sh has ended by itself: signal 9 (killed)"},
		"it fails too often":           {"{restart: on-failure, limit: 2, backoff: {first: 100ms, most: 100ms}}", sh("exit 4"), nil, exitApp, "exit code 4"},
		"it is not there":              {"{restart: always}", []string{"/no/such/tool"}, nil, exitAppStart, "starting the app /no/such/tool: no such file or directory\nhint: correct the path behind --"},
		"it has no name that is known": {"{}", []string{"no-such-tool"}, nil, exitAppStart, "starting the app no-such-tool: executable file not found in $PATH\nhint: install it"},
		"it is no program":             {"{}", []string{"/dev/null"}, nil, exitAppStart, "starting the app /dev/null: permission denied\nhint: let user"},
		"it has done what it is to":    {"{restart: on-failure}", sh("exit 0"), nil, exitOK, ""},
		"a stop while it starts": {"{check: {tcp: \"127.0.0.1:1\"}}", sh("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"), func(p *supervised) {
			p.eventually(t, "it has started", func() (string, bool) { return "", strings.Contains(p.out.String(), "up") })
			p.eventually(t, "/readyz says what is awaited", func() (string, bool) {
				status, body, _ := get(p.admin, "/readyz")
				return body, status == http.StatusServiceUnavailable && strings.Contains(body, "- guard: waits for the app\n- app: its check is starting")
			})
			p.signal(t, syscall.SIGTERM)
		}, exitOK, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := s.superviseTool(t, test.child, test.command...)
			if test.then != nil {
				test.then(p)
			}
			if code := p.wait(t); code != test.code || !strings.Contains(p.err.String(), test.says) {
				t.Errorf("exit code %d, expected %d and %q\n%s", code, test.code, test.says, p.err.String())
			}
			if test.code == exitAppStart && strings.Contains(p.err.String(), "the introduction is used up") {
				t.Errorf("a start that could not succeed has cost an introduction:\n%s", p.err.String())
			}
			if test.code == exitOK && strings.Contains(p.err.String(), `"clean":false`) {
				t.Errorf("nothing was cut, and the log says that something was:\n%s", p.err.String())
			}
		})
	}
	t.Run("kill -9", func(t *testing.T) { appDiesWithTheSidecar(t, s) })
}

// appDiesWithTheSidecar kills a sidecar so that it can do nothing any more.
func appDiesWithTheSidecar(t *testing.T, s *stand) {
	p := s.superviseTool(t, "{}")
	p.ready(t, p.admin)
	var pid int
	p.eventually(t, "the tool answers", func() (string, bool) {
		_, body, err := get(p.address, "/pid")
		pid, _ = strconv.Atoi(body)
		return fmt.Sprint(err), pid > 0
	})
	p.signal(t, syscall.SIGKILL)
	p.wait(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the tool lives without its sidecar: %s", state)
		}
	}
}

// TestEndOfTheCertificateEndsTheSidecar takes Vault away until a certificate has ended. The
// application has its secrets until it has ended itself.
func TestEndOfTheCertificateEndsTheSidecar(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	const path = "pki-backend/roles/sidecar-notes"
	var role struct{ Data map[string]any }
	s.call(t, "GET", path, nil, &role)
	role.Data["ttl"], role.Data["max_ttl"], role.Data["not_before_duration"] = "6s", "6s", "1s"
	s.call(t, "POST", path, role.Data, nil)
	file := filepath.Join(tmpfs(t), "secret")
	given := s.superviseTool(t, fmt.Sprintf("{output: prefix}\nsecrets: {files: [{path: %s, template: rendered}]}", file),
		"/bin/sh", "-c", "trap 'echo has $(cat "+file+"); exit 0' TERM; echo up; while :; do sleep 0.1 & wait; done")
	given.eventually(t, "it has started", func() (string, bool) { return given.err.String(), strings.Contains(given.out.String(), "up") })
	p := s.superviseTool(t, "{output: prefix}")
	p.ready(t, p.admin)
	s.vault.Stop()
	if code := given.wait(t); code != exitCertificate || !strings.Contains(given.out.String(), "notes | has rendered\n") {
		t.Errorf("exit code %d, and the app at its end: %s\n%s", code, given.out.String(), given.err.String())
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file is left, or %v", err)
	}
	if code := p.wait(t); code != exitCertificate || !strings.Contains(p.err.String(), "the certificate has ended at") {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
	if out := p.out.String(); !strings.Contains(out, "notes | down\n") {
		t.Errorf("the tool did not end in order:\n%s", out)
	}
}
