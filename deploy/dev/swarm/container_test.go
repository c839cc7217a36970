//go:build swarm

package swarm

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// nobody is the user of the image, and of everything that its containers can write.
const nobody = 65532

// mostKiB is what a sidecar and its helper may have in memory together, when nobody asks.
const mostKiB = 25 << 10

// box is a container in which a sidecar runs an application.
type box struct {
	*stand
	name   string   // in the sidecar's certificate
	health []string // the command in the container that says whether it is ready
	id, ip string
	pid    int // of the sidecar, as this process sees it
}

// testContainer runs an application under its sidecar with everything taken away that an
// engine can take: another user than root, a file system that cannot be written, no
// capabilities, and 20 MB of memory for secrets.
func (s *stand) testContainer(t *testing.T) {
	t.Helper()
	s.importApp(t)
	write(t, "box/sidecar.yaml", "name: notes.backend.sallyport.internal\napp: http://127.0.0.1:3000\nchild: {check: {tcp: 127.0.0.1:3000}}\nstop: {announce: 0s}\n")
	write(t, "box/vault-ca.pem", read(t, s.caFile))
	for _, name := range []string{"box/sidecar.yaml", "box/vault-ca.pem"} {
		if err := os.Chmod(filepath.Join(folder, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, "/run/box")
	s.deliver(t, role, "/run/box/token")
	b := &box{
		stand: s, name: "notes.backend.sallyport.internal",
		health: []string{"/sallyport", "health", "--url", "http://127.0.0.1:9091/readyz"},
	}
	b.id = strings.TrimSpace(s.run(t, "docker", "run", "--detach", "--user", fmt.Sprintf("%[1]d:%[1]d", nobody), "--read-only", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--tmpfs", fmt.Sprintf("/run/secrets:size=20m,mode=0700,uid=%d", nobody),
		"--volume", filepath.Join(folder, "box")+":/etc/sallyport:ro", "--volume", "/run/box:/run/box",
		"--env", "VAULT_ADDR=https://"+address+":8200", "--env", "VAULT_CACERT=/etc/sallyport/vault-ca.pem", "--env", "VAULT_ROLE_ID="+s.roleID(t, role),
		"sallyport:app", "sidecar", "--role", role, "--wrapping-token-file", "/run/box/token", "--config", "/etc/sallyport/sidecar.yaml", "--", "/app"))
	b.ready(t)
	b.testGuarded(t)
	b.testOrphans(t)
	b.testConfined(t)
	b.testSmall(t)
	b.stop(t, "--time", "60")
	s.deliver(t, role, "/run/box/token")
	s.run(t, "docker", "start", b.id)
	b.ready(t)
	b.testGuarded(t)
	b.stop(t, "--time", "60")
	s.run(t, "docker", "rm", b.id)
}

// importApp makes an image of the binary and the application.
func (s *stand) importApp(t *testing.T) {
	t.Helper()
	build := command("go", "build", "-C", filepath.Join(root, "deploy", "dev"), "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(folder, "app", "app"), "./swarm/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := build.Run(); err != nil {
		t.Fatal(err)
	}
	s.run(t, "tar", "--create", "--file", "app.tar", "--directory", filepath.Join(root, ".build", "plugin", "rootfs"), "sallyport",
		"--directory", filepath.Join(folder, "app"), "app")
	s.run(t, "docker", "import", "--change", `ENTRYPOINT ["/sallyport"]`, "app.tar", "sallyport:app")
}

// deliver puts a fresh wrapping token where the container finds it.
func (s *stand) deliver(t *testing.T, role, file string) {
	t.Helper()
	_ = os.Remove(file) // the one before is used
	s.run(t, "sallyport", "introduce", "--role", role, "--file", file)
	if err := os.Chown(file, nobody, nobody); err != nil {
		t.Fatal(err)
	}
}

// ready waits until the sidecar says that it and its application are.
func (b *box) ready(t *testing.T) {
	t.Helper()
	defer func() {
		if t.Failed() {
			_, said, _ := b.try("docker", "logs", b.id)
			t.Logf("the container says\n%s", said)
		}
	}()
	eventually(t, "the sidecar is ready", func() error {
		out, said, err := b.try("docker", append([]string{"exec", b.id}, b.health...)...)
		if err != nil && b.inspect(t, "{{.State.Running}}") != "true" {
			t.Fatal("the container has ended")
		}
		if err != nil {
			return fmt.Errorf("%w: %s%s", err, out, said)
		}
		return nil
	})
	found := strings.Fields(b.inspect(t, "{{.State.Pid}}{{range .NetworkSettings.Networks}} {{.IPAddress}}{{end}}"))
	var err error
	if b.pid, err = strconv.Atoi(found[0]); err != nil {
		t.Fatal(err)
	}
	b.ip = found[1]
}

// inspect asks the engine for something of the container.
func (b *box) inspect(t *testing.T, format string) string {
	t.Helper()
	return strings.TrimSpace(b.run(t, "docker", "inspect", "--format", format, b.id))
}

// testGuarded asks the application by its sidecar, and tries to reach it past that: from
// another container, and from the host.
func (b *box) testGuarded(t *testing.T) {
	t.Helper()
	res, err := b.gateway(t).Get("https://" + b.ip + ":8443/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello " {
		t.Errorf("by the sidecar: status %d, %q, %v", res.StatusCode, body, err)
	}
	dial := func(port string) (string, error) {
		_, said, err := b.try("docker", "run", "--rm", "--entrypoint", "/app", "sallyport:app", "dial", b.ip+":"+port)
		return said, err
	}
	if said, err := dial("8443"); err != nil {
		t.Errorf("another container does not reach the sidecar: %v, %s", err, said)
	}
	for _, port := range []string{"3000", "9091"} {
		if said, err := dial(port); err == nil || !strings.Contains(said, "connection refused") {
			t.Errorf("another container reaches port %s past the sidecar: %v, %s", port, err, said)
		}
	}
	if _, err := admin().Get("http://" + b.ip + ":3000/"); err == nil {
		t.Error("the host reaches the application past its sidecar")
	}
	if _, err := b.insecure().Get("https://" + b.ip + ":8443/"); err == nil {
		t.Error("somebody without the gateway's certificate is let in")
	}
}

// gateway is what a gateway is to the sidecar.
func (b *box) gateway(t *testing.T) *http.Client {
	t.Helper()
	var answer struct {
		Data struct {
			Certificate string
			CA          string   `json:"issuing_ca"`
			Chain       []string `json:"ca_chain"`
			PrivateKey  string   `json:"private_key"`
		}
	}
	b.mustVault(t, "POST", "pki-backend/issue/sallyport-gateway", map[string]string{"common_name": "gateway.sallyport.internal"}, &answer)
	chain := strings.Join(append([]string{answer.Data.Certificate}, answer.Data.Chain...), "\n")
	pair, err := tls.X509KeyPair([]byte(chain), []byte(answer.Data.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(answer.Data.CA))
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: pool, ServerName: b.name, MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}}}
}

func (b *box) insecure() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

// process is one in the container.
type process struct {
	pid         int
	name, state string
}

// processes are those of the container, by the control group that the engine made for it.
func (b *box) processes(t *testing.T) []process {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var all []process
	for _, file := range stats {
		group, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cgroup"))
		if err != nil || !strings.Contains(string(group), b.id) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has gone
		}
		if found := regexp.MustCompile(`^(\d+) \((.*)\) (\S)`).FindStringSubmatch(string(text)); found != nil {
			pid, err := strconv.Atoi(found[1])
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, process{pid, found[2], found[3]})
		}
	}
	return all
}

// testOrphans has the application leave orphans behind, and waits until process 1, which is
// the sidecar, has waited for them.
func (b *box) testOrphans(t *testing.T) {
	t.Helper()
	if before := b.processes(t); len(before) != 3 {
		t.Errorf("in the container run %+v, expected the sidecar, its helper and the application", before)
	}
	b.run(t, "docker", "exec", b.id, "/app", "ask", "http://127.0.0.1:3000/orphans")
	eventually(t, "orphans are reaped", func() error {
		if now := b.processes(t); len(now) != 3 {
			return fmt.Errorf("there are %+v", now)
		}
		return nil
	})
}

// testConfined looks at what the kernel knows of the sidecar, and at what it says itself.
func (b *box) testConfined(t *testing.T) {
	t.Helper()
	status := read(t, fmt.Sprintf("/proc/%d/status", b.pid))
	for _, want := range []string{fmt.Sprintf("Uid:\t%[1]d\t%[1]d", nobody), "NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NSpid:"} {
		if !strings.Contains(status, want) {
			t.Errorf("the sidecar's status has no %q\n%s", want, status)
		}
	}
	_, said, err := b.try("docker", "logs", b.id)
	if err != nil || !strings.Contains(said, `"msg":"confined"`) {
		t.Errorf("it does not say what it keeps: %v\n%s", err, said)
	}
	t.Logf("the kernel's Landlock, through the engine's seccomp filter: ABI %s", regexp.MustCompile(`"landlock":(\d+)`).FindString(said))
	t.Logf("steps of the start: %s", regexp.MustCompile(`"startup":\{[^}]*\}`).FindString(said))
}

// testSmall measures what the sidecar and its helper take: pages that they share count once.
func (b *box) testSmall(t *testing.T) {
	t.Helper()
	eventually(t, "the sidecar is small", func() error {
		sum, told := 0, ""
		for _, one := range b.processes(t) {
			if one.pid != b.pid && one.name != "launch-helper" {
				continue // the application, or one that asks for the health
			}
			pss, anonymous := b.size(t, one.pid, "smaps_rollup", "Pss"), b.size(t, one.pid, "status", "RssAnon")
			sum += pss
			told += fmt.Sprintf("%s: Pss %d KiB, RssAnon %d KiB, VmRSS %d KiB; ", one.name, pss, anonymous, b.size(t, one.pid, "status", "VmRSS"))
		}
		if !strings.Contains(told, "launch-helper: ") || sum > mostKiB {
			return errors.New(told)
		}
		t.Logf("%stogether %d KiB", told, sum)
		return nil
	})
}

// size reads a line of a process's file, in KiB.
func (b *box) size(t *testing.T, pid int, file, name string) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindStringSubmatch(read(t, fmt.Sprintf("/proc/%d/%s", pid, file)))
	if found == nil {
		t.Fatalf("no %s of process %d", name, pid)
	}
	size, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// stop ends the container as an engine does. The flags are those of docker stop.
func (b *box) stop(t *testing.T, flags ...string) {
	t.Helper()
	b.run(t, "docker", append(append([]string{"stop"}, flags...), b.id)...)
	if code := b.inspect(t, "{{.State.ExitCode}}"); code != "0" {
		_, said, _ := b.try("docker", "logs", b.id)
		t.Errorf("it ends with exit code %s\n%s", code, said)
	}
}
