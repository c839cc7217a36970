//go:build swarm

package swarm

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// noBalancing is all that is changed of the stack: kernels of build machines may be without
// IPVS, which Swarm has one address for many tasks by.
const noBalancing = "version: \"3.9\"\nservices: {notes: {deploy: {endpoint_mode: dnsrr}}}\n"

// testShippedStack deploys deploy/sidecar/swarm.yml, with the image that the Dockerfile
// beside it makes of a tool.
func (s *stand) testShippedStack(t *testing.T) {
	t.Helper()
	s.run(t, "cp", "--recursive", filepath.Join(root, "deploy", "sidecar"), "notes")
	write(t, "notes/vault-ca.pem", read(t, s.caFile))
	mkdir(t, filepath.Join(folder, "tool/usr/local/bin"))
	s.run(t, "cp", "app/app", "tool/usr/local/bin/notes")
	s.run(t, "tar", "--create", "--file", "tool.tar", "--directory", "tool", "usr")
	s.run(t, "docker", "import", "tool.tar", "notes:latest")
	s.run(t, "docker", "build", "--quiet", "--tag", "notes-guarded:latest", "notes")
	s.deploy(t, "notes", "NOTES_ROLE_ID="+s.roleID(t, role), filepath.Join(folder, "notes", "swarm.yml"), write(t, "notes/test.yml", noBalancing))

	var tasks []task
	// A task of an image with a HEALTHCHECK runs when that has passed.
	eventually(t, "the stack's tasks are healthy", func() error {
		if tasks = s.running(t, "notes_notes"); len(tasks) != 2 {
			return fmt.Errorf("%d run: %+v", len(tasks), s.tasks(t, "notes_notes"))
		}
		return nil
	})
	for _, one := range tasks {
		b := &box{stand: s, name: "notes.backend.sallyport.internal", id: one.Status.ContainerStatus.ContainerID, pid: one.Status.ContainerStatus.PID}
		b.ip = b.bridged(t)
		b.testConfined(t)
		b.testForwards(t)
	}
	s.run(t, "docker", "stack", "rm", "notes")
}

// bridged is the address that the host reaches a task by: an overlay network it does not.
func (b *box) bridged(t *testing.T) string {
	t.Helper()
	sandbox := b.inspect(t, "{{.NetworkSettings.SandboxID}}")
	for line := range strings.Lines(b.run(t, "docker", "network", "inspect", "--format", `{{range .Containers}}{{.Name}} {{.IPv4Address}}{{"\n"}}{{end}}`, "docker_gwbridge")) {
		if address, found := strings.CutPrefix(strings.TrimSpace(line), "gateway_"+sandbox[:12]+" "); found {
			address, _, _ = strings.Cut(address, "/")
			return address
		}
	}
	t.Fatalf("sandbox %s has no address on docker_gwbridge", sandbox)
	return ""
}

// testForwards asks the tool as the gateway does, and tries to get past the sidecar.
func (b *box) testForwards(t *testing.T) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "https://"+b.ip+":8443/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-User", reader)
	res, err := b.gateway(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello "+reader {
		t.Errorf("by the sidecar: status %d, %q, %v", res.StatusCode, body, err)
	}
	if _, err := b.insecure().Get("https://" + b.ip + ":8443/"); err == nil {
		t.Error("somebody without the gateway's certificate is let in")
	}
	if _, err := admin().Get("http://" + b.ip + ":3000/"); err == nil {
		t.Error("the host reaches the tool past its sidecar")
	} else if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the host is answered %v", err)
	}
}
