//go:build swarm

package swarm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take that is waited for.
const patience = 2 * time.Minute

// rootToken is of a Vault that lives for one run.
const rootToken = "swarm-test-root"

// stand is an engine, a Vault, and the means to ask them.
type stand struct {
	engine *http.Client // over the engine's socket
	vault  *http.Client
	caFile string
	env    []string // for the commands of an operator
	debian *debian  // what images are made of
}

// shared is what the tests use, side by side. The first of them starts it.
var (
	shared *stand
	begun  sync.Once
)

// theStand is a Vault that is provisioned for every test, and an engine that has the
// product's image and Debian's, and is in no Swarm yet. They end with the namespace.
func theStand(t *testing.T) *stand {
	t.Helper()
	begun.Do(func() {
		s := newStand(t)
		s.provision(t)
		s.importImage(t)
		s.importDebian(t)
		shared = s
	})
	if shared == nil {
		t.Fatal("there is no engine, or no Vault")
	}
	s := *shared
	return &s
}

func newStand(t *testing.T) *stand {
	t.Helper()
	plugins := write(t, "plugins.json", fmt.Sprintf(`{"plugin_directory": %q}`, filepath.Dir(databasePlugin(t))))
	socket := filepath.Join(folder, "docker.sock")
	s := &stand{caFile: filepath.Join(folder, "tls", "vault-ca.pem")}
	mkdir(t, filepath.Dir(s.caFile))
	mkdir(t, filepath.Join(folder, "home"))
	background(t, "vault", filepath.Join(root, ".build", "vault"), "server", "-dev", "-dev-no-store-token", "-dev-tls",
		"-dev-tls-cert-dir="+filepath.Dir(s.caFile), "-dev-tls-san="+address, "-dev-listen-address="+address+":8200", "-dev-root-token-id="+rootToken, "-config="+plugins)
	background(t, "dockerd", "dockerd", "--host", "unix://"+socket, "--data-root", filepath.Join(folder, "data"),
		"--exec-root", "/run/engine", "--pidfile", "/run/engine.pid", "--cgroup-parent", "/"+filepath.Base(folder))
	s.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(folder, "home"), "DOCKER_HOST=unix://" + socket,
		"VAULT_ADDR=https://" + address + ":8200", "VAULT_CACERT=" + s.caFile, "VAULT_TOKEN=" + rootToken,
		"DOCKER_BUILDKIT=0", // which builds on images that no registry has
	}
	s.engine = overSocket(socket)
	eventually(t, "the engine answers", func() error { return call(s.engine, "GET", "http://docker/_ping", nil, nil) })
	eventually(t, "Vault has made its certificate", func() error { _, err := os.Stat(s.caFile); return err })
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(read(t, s.caFile)))
	s.vault = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	eventually(t, "Vault answers", func() error { return s.askVault("GET", "sys/mounts", nil, nil) })
	return s
}

// overSocket returns a client of whoever listens on a Unix socket.
func overSocket(socket string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// background starts a program that ends with this process at the latest.
func background(t *testing.T, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(folder, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(folder, "home")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tail := strings.Split(read(t, log.Name()), "\n")
			t.Logf("the end of %s:\n%s", log.Name(), strings.Join(tail[max(0, len(tail)-25):], "\n"))
		}
	})
}

// run runs a command of an operator and returns its standard output.
func (s *stand) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, said, err := s.try(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, said)
	}
	return out
}

// try is run for a command that may fail.
func (s *stand) try(name string, args ...string) (out, said string, err error) {
	if name == "sallyport" {
		name = filepath.Join(root, ".build", "plugin", "rootfs", "sallyport")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = s.env, &stdout, &stderr, folder
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// askVault does one call with the root token.
func (s *stand) askVault(method, path string, in, out any) error {
	return call(s.vault, method, "https://"+address+":8200/v1/"+path, in, out)
}

// mustVault is askVault for a call that has to succeed.
func (s *stand) mustVault(t *testing.T, method, path string, in, out any) {
	t.Helper()
	if err := s.askVault(method, path, in, out); err != nil {
		t.Fatal(err)
	}
}

// call does one request with a JSON body and decodes the answer, unless out is nil.
func call(client *http.Client, method, url string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", rootToken)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: status %d: %s", method, url, res.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// eventually waits until done returns nil.
func eventually(t *testing.T, what string, done func() error) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		err := done()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("gave up waiting until %s: %v", what, err)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(folder, name)
	mkdir(t, filepath.Dir(file))
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// provision sets up Vault as an operator does.
func (s *stand) provision(t *testing.T) {
	t.Helper()
	route := "  - {name: %[1]s, host: %[1]s.example.com, backend: {url: \"https://%[1]s:8443\"}, allow: {groups: [engineers]}}\n"
	write(t, "gateway.yaml", "door: {host: door.example.com}\nroutes:\n"+fmt.Sprintf(route, "notes")+fmt.Sprintf(route, "reports"))
	write(t, "vault.yaml", "secret_driver: {approle: true, kv_paths: [notes/db]}\n"+read(t, filepath.Join(root, examples, example, "provision.yaml")))
	s.run(t, "sallyport", "provision", "apply", "--config", "gateway.yaml", "-f", "vault.yaml")
}

// importImage makes an image of the binary alone, as the product's Dockerfile does.
func (s *stand) importImage(t *testing.T) {
	t.Helper()
	s.run(t, "tar", "--create", "--file", "image.tar", "--directory", filepath.Join(root, ".build", "plugin", "rootfs"), "sallyport")
	s.run(t, "docker", "import", "--change", `ENTRYPOINT ["/sallyport"]`, "image.tar", "sallyport:latest")
}

// roleID asks for what an AppRole is told by.
func (s *stand) roleID(t *testing.T, name string) string {
	t.Helper()
	var answer struct {
		Data struct {
			RoleID string `json:"role_id"`
		}
	}
	s.mustVault(t, "GET", "auth/approle/role/"+name+"/role-id", nil, &answer)
	return answer.Data.RoleID
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}
