package config

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// eachExample calls check for the container of every folder of deploy/examples that a
// sidecar starts in.
func eachExample(t *testing.T, check func(t *testing.T, folder string, whole stack, s service)) {
	t.Helper()
	files, err := filepath.Glob("../deploy/examples/*/compose.yml")
	if err != nil || len(files) != 4 {
		t.Fatalf("%q, %v; expected four examples", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			var whole stack
			if err := yaml.Unmarshal(read(t, file), &whole); err != nil {
				t.Fatal(err)
			}
			found := 0
			for _, s := range whole.Services {
				if len(s.Command) > 0 && s.Command[0] == "sidecar" {
					found++
					check(t, filepath.Dir(file), whole, s)
				}
			}
			if found != 1 {
				t.Errorf("%d sidecars", found)
			}
		})
	}
}

func TestExamplesAreLockedDown(t *testing.T) {
	stop := defaultStop()
	longest := stop.Announce.Duration + stop.Drain.Duration + 20*time.Second
	eachExample(t, func(t *testing.T, _ string, _ stack, s service) {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("read_only %v, cap_drop %v, security_opt %v", s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		if core, set := s.Ulimits["core"]; !set || core != 0 {
			t.Errorf("core dumps are not off: %v", s.Ulimits)
		}
		if s.Restart != "no" || len(s.Ports) > 0 {
			t.Errorf("restart %q, and ports %v; expected one start for one introduction, and a gateway in front", s.Restart, s.Ports)
		}
		if grace, err := time.ParseDuration(s.Grace); err != nil || grace < longest {
			t.Errorf("stop_grace_period %q, want %s at least", s.Grace, longest)
		}
	})
}

// TestExamplesRenderIntoMemory: each file is below a tmpfs of the container that nobody
// but the application may enter.
func TestExamplesRenderIntoMemory(t *testing.T) {
	eachExample(t, func(t *testing.T, folder string, whole stack, s service) {
		file := filepath.Join(folder, whole.Configs[s.configSource(t)].File)
		sidecar, err := LoadSidecar(file, read(t, file))
		if err != nil {
			t.Fatal(err)
		}
		if want := "http://" + sidecar.Admin + "/readyz"; s.Environment["SALLYPORT_HEALTH_URL"] != want {
			t.Errorf("SALLYPORT_HEALTH_URL is %s, the sidecar answers at %s", s.Environment["SALLYPORT_HEALTH_URL"], want)
		}
		if len(sidecar.Secrets.Files) == 0 || !slices.Contains(s.Command, "--") {
			t.Errorf("%d files for the application, command %v", len(sidecar.Secrets.Files), s.Command)
		}
		for _, secret := range sidecar.Secrets.Files {
			mounted := slices.ContainsFunc(s.Tmpfs, func(mount string) bool {
				place, options, _ := strings.Cut(mount, ":")
				return strings.HasPrefix(secret.Path, place+"/") && strings.Contains(options, "mode=0700") && strings.Contains(options, "uid=65532")
			})
			if !mounted || secret.Mode != "0400" {
				t.Errorf("%s with mode %s is in none of %q", secret.Path, secret.Mode, s.Tmpfs)
			}
		}
	})
}

// TestExamplesAreProvisionedForTheRoleThatTheyStartWith holds provision.yaml to the
// sidecar's configuration and to the command.
func TestExamplesAreProvisionedForTheRoleThatTheyStartWith(t *testing.T) {
	eachExample(t, func(t *testing.T, folder string, _ stack, s service) {
		file := filepath.Join(folder, "provision.yaml")
		provision, err := LoadProvision(file, read(t, file))
		if err != nil {
			t.Fatal(err)
		}
		sidecar, err := LoadSidecar("sidecar.yaml", read(t, filepath.Join(folder, "sidecar.yaml")))
		if err != nil {
			t.Fatal(err)
		}
		if len(provision.Sidecars) != 1 || provision.Sidecars[0].Name != sidecar.Name || len(provision.Sidecars[0].Policies) != 1 {
			t.Fatalf("provisioned is %+v, the sidecar is %s", provision.Sidecars, sidecar.Name)
		}
		if policy := provision.Sidecars[0].Policies[0]; !strings.Contains(string(read(t, filepath.Join(folder, "vault.sh"))), "vault policy write "+policy+" ") {
			t.Errorf("vault.sh does not write the policy %s", policy)
		}
		if role := "sallyport-sidecar-" + sidecar.Name.Label(); !slices.Contains(s.Command, role) {
			t.Errorf("command %v, expected the role %s", s.Command, role)
		}
	})
}
