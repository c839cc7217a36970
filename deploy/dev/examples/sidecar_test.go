package examples

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

// sidecar is one that runs, with the application of an example.
type sidecar struct {
	home    *home
	child   *process.Child
	address string            // of the guard
	admin   string            // of probes and metrics
	app     string            // of the application
	folder  string            // with the example's files, and the log
	memory  map[string]string // what is a tmpfs in the container, and where it is here
	name    string            // in its certificate
}

// service is the part of a container in a compose.yml that is run here.
type service struct {
	Command     []string
	Environment map[string]string
	Tmpfs       []string
}

// begin starts an example's sidecar with the command of its compose.yml, as whoever has
// no rights on this machine, and returns at once. What at names stands for something
// else in this place, such as a database's address.
func begin(t *testing.T, h *home, example string, at map[string]string) *sidecar {
	t.Helper()
	id := strings.ReplaceAll(t.Name()+"-"+example, "/", "-")
	s := &sidecar{home: h, folder: mustOwn(t, filepath.Join(shared.dir, id)), memory: map[string]string{}, address: free(t), admin: free(t)}
	container := readService(t, example)
	here := s.translator(t, container, filepath.Join(shared.memory, id), at)
	s.copyFiles(t, example, here)

	var command []string
	role := container.Command[slices.Index(container.Command, "--role")+1]
	for _, arg := range container.Command {
		if arg == "--" { // in a container the token is where it is looked for
			command = append(command, "--wrapping-token-file", h.introduce(t, role, s.folder))
		}
		command = append(command, here.Replace(arg))
	}
	env := environment("VAULT_ADDR="+h.vault.Address, "VAULT_CACERT="+h.caFile, "VAULT_ROLE_ID="+h.roleID(t, role))
	_, port, _ := net.SplitHostPort(s.app)
	env = append(env, "PORT="+port) // which a container has for itself
	for key, value := range container.Environment {
		if !strings.HasPrefix(key, "VAULT_") && key != "SALLYPORT_HEALTH_URL" {
			env = append(env, here.Replace(key+"="+value))
		}
	}
	path, args := program(shared.binary, command...)
	if example == "python-sighup" { // which is about a container
		path, args = s.contain(container, shared.binary, command)
	}
	var err error
	if s.child, err = startAsUs("sidecar", s.folder, env, path, args...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of the sidecar:\n%s", s.child.Tail(80))
		}
		s.child.Kill()
		<-s.child.Done()
	})
	return s
}

// runExample is begin that waits until the sidecar says that everything is ready.
func runExample(t *testing.T, h *home, example string, at map[string]string) *sidecar {
	t.Helper()
	s := begin(t, h, example, at)
	await(t, "the sidecar to be ready", s.child, func() bool { return s.ready(t) })
	return s
}

// readService finds the container of an example that its sidecar starts in.
func readService(t *testing.T, example string) service {
	t.Helper()
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal(readFile(t, filepath.Join(examples, example, "compose.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, container := range file.Services {
		if len(container.Command) > 0 && container.Command[0] == "sidecar" {
			return container
		}
	}
	t.Fatalf("%s: no sidecar in compose.yml", example)
	return service{}
}

// translator has paths and addresses of the container lead to this machine's.
func (s *sidecar) translator(t *testing.T, container service, memory string, at map[string]string) *strings.Replacer {
	t.Helper()
	app := free(t)
	mustOwn(t, memory)
	pairs := []string{
		"/etc/sallyport/sidecar.yaml", filepath.Join(s.folder, "sidecar.yaml"), "127.0.0.1:8000", app, "127.0.0.1:8080", app,
	}
	for _, folder := range []string{"/srv/notes", "/srv/reports", "/srv/builds"} {
		pairs = append(pairs, folder, s.folder)
	}
	for _, mount := range container.Tmpfs {
		theirs, _, _ := strings.Cut(mount, ":")
		if theirs == "/run/secrets" {
			continue // where the engine puts the introduction
		}
		s.memory[theirs] = mustOwn(t, filepath.Join(memory, path.Base(theirs)))
		pairs = append(pairs, theirs, s.memory[theirs])
	}
	for theirs, ours := range at {
		pairs = append(pairs, theirs, ours)
	}
	s.app = app
	return strings.NewReplacer(pairs...)
}

// copyFiles puts the example where whoever runs it can read it, translated.
func (s *sidecar) copyFiles(t *testing.T, example string, here *strings.Replacer) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(examples, example, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		text := string(readFile(t, file))
		if filepath.Base(file) == "sidecar.yaml" {
			text = here.Replace(text) + "\nlisten: " + s.address + "\nadmin: " + s.admin + "\n"
			_, s.name, _ = strings.Cut(text, "\nname: ")
			s.name, _, _ = strings.Cut(s.name, "\n")
		}
		ours := filepath.Join(s.folder, filepath.Base(file))
		if err := os.WriteFile(ours, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// introduce has the operator mint an introduction, for whoever runs the sidecar.
func (h *home) introduce(t *testing.T, role, folder string) string {
	t.Helper()
	file := filepath.Join(folder, "token")
	if out, err := onceAsUs(h.operator(), nil, shared.binary, "introduce", "--role", role, "--file", file); err != nil {
		t.Fatalf("introducing %s: %v\n%s", role, err, out)
	}
	if err := give(file); err != nil {
		t.Fatal(err)
	}
	return file
}

func (h *home) roleID(t *testing.T, role string) string {
	t.Helper()
	var answer struct {
		Data struct {
			RoleID string `json:"role_id"`
		}
	}
	if err := h.vault.Call(t.Context(), "GET", "auth/approle/role/"+role+"/role-id", nil, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data.RoleID
}

// ready asks the sidecar.
func (s *sidecar) ready(t *testing.T) bool {
	status, _ := s.ask(t, "/readyz")
	return status == http.StatusOK
}

// ask gets a page of the admin address; status 0 is that nobody answers.
func (s *sidecar) ask(t *testing.T, page string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.admin+page, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	res, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(text)
}

// gateway is a client as the gateway is one: with its certificate, and the sidecar's name
// pinned. It follows no redirect.
func (s *sidecar) gateway(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{
			Certificates: []tls.Certificate{s.home.client}, RootCAs: s.home.roots, ServerName: s.name, MinVersion: tls.VersionTLS13,
		},
		MaxIdleConnsPerHost: 16,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// await polls until ok, which a program that has ended cannot bring about any more.
func await(t *testing.T, what string, child *process.Child, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		select {
		case <-child.Done():
			t.Fatalf("waiting for %s: the sidecar has ended: %s\n%s", what, child.Ending(), child.Tail(40))
		case <-time.After(50 * time.Millisecond): // real processes are being waited for
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s: it did not come\n%s", what, child.Tail(40))
		}
	}
}

func mustOwn(t *testing.T, dir string) string {
	t.Helper()
	dir, err := own(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// free returns a loopback address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
