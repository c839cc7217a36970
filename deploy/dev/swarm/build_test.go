//go:build swarm

package swarm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// examples is their folder in the repository; example is the one that is run whole.
const (
	examples = "deploy/examples"
	example  = "python-sighup"
)

// buildExample makes an example's image in a folder of its own, beside what its operator
// adds. Its Dockerfile is whole but for one line: there is no network to install packages
// from, so they are those of this machine.
func (s *stand) buildExample(t *testing.T, name string) {
	t.Helper()
	s.run(t, "cp", "--recursive", filepath.Join(root, examples, name), name)
	write(t, name+"/vault-ca.pem", read(t, s.caFile))
	for _, file := range []string{"vault-ca.pem", "sidecar.yaml"} {
		if err := os.Chmod(filepath.Join(folder, name, file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, packages := withoutApt(t, read(t, filepath.Join(folder, name, "Dockerfile")), "packages.tar")
	write(t, name+"/Dockerfile", text)
	s.pack(t, name+"/packages.tar", s.debian.closure(t, packages...))
	_, service := readComposition(t, filepath.Join(folder, name, "compose.yml"))
	s.run(t, "docker", "build", "--quiet", "--tag", service.Image, name)
}

// TestOtherExamplesAreBuilt makes the images of the examples that are not run in here, and
// starts of each what its Compose file has the sidecar start, with the options of that.
func TestOtherExamplesAreBuilt(t *testing.T) {
	t.Parallel()
	s := theStand(t)
	files, err := filepath.Glob(filepath.Join(root, examples, "*", "compose.yml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		if name == example {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s.buildExample(t, name)
			compose, service := readComposition(t, filepath.Join(folder, name, "compose.yml"))
			app := service.Command[slices.Index(service.Command, "--")+1:]
			service.Command, service.Networks, service.Secrets = []string{"--version"}, []string{"none"}, nil
			args := compose.arguments(t, service, map[string]string{"VAULT_ADDR": "https://" + address + ":8200", "ROLE_ID": "none"})
			said := s.run(t, "docker", append([]string{"run", "--rm", "--entrypoint", app[0]}, args...)...)
			if !strings.Contains(strings.ToLower(said), strings.TrimSuffix(app[0], "3")) {
				t.Errorf("%s says %q", app[0], said)
			}
		})
	}
}
