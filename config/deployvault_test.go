package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// vaultStack is what the tests look at in the files of deploy/vault.
type vaultStack struct {
	Services map[string]vaultNode
	Volumes  map[string]any
	Configs  map[string]struct{ File string }
	Secrets  map[string]struct{ File string }
}

type vaultNode struct {
	Image, User, Hostname string
	Entrypoint, Command   []string
	ReadOnly              bool     `yaml:"read_only"`
	CapAdd                []string `yaml:"cap_add"`
	CapDrop               []string `yaml:"cap_drop"`
	Ulimits               map[string]int
	MemLimit              string `yaml:"mem_limit"`
	MemSwapLimit          string `yaml:"memswap_limit"`
	Healthcheck           struct{ Test []string }
	Environment           map[string]string
	Volumes               []string
	Configs, Secrets      []struct{ Source, Target string }
}

var vaultDeployments = []string{"../deploy/vault/compose.yml", "../deploy/vault/stack.yml"}

func loadVault(t *testing.T, file string) vaultStack {
	t.Helper()
	var loaded vaultStack
	if err := yaml.Unmarshal(read(t, file), &loaded); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(loaded.Services) != 3 {
		t.Fatalf("%s: %d services, want one for each of three nodes", file, len(loaded.Services))
	}
	return loaded
}

// TestVaultNodesHaveWhatTheScriptsMake runs the scripts as the comments of the
// files say, and looks for every file that they name.
func TestVaultNodesHaveWhatTheScriptsMake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	script(t, "config", "--dir", dir, "vault-1", "vault-2", "vault-3")
	script(t, "certs", "--dir", dir)
	for _, file := range vaultDeployments {
		whole := loadVault(t, file)
		made := map[string]string{} // by source
		for source, config := range whole.Configs {
			made[source] = config.File
		}
		for source, secret := range whole.Secrets {
			made[source] = secret.File
		}
		for name, node := range whole.Services {
			want := map[string]string{
				"vault.hcl": name + "/vault.hcl", "tls.pem": name + "/tls.pem", "tls.key": name + "/tls.key", "ca.pem": "ca.pem",
			}
			hcl := string(read(t, filepath.Join(dir, name, "vault.hcl")))
			for _, mount := range append(slices.Clone(node.Configs), node.Secrets...) {
				from, below := strings.CutPrefix(made[mount.Source], "./cluster/")
				if !below || from != want[filepath.Base(mount.Target)] {
					t.Errorf("%s: %s mounts %q at %s", file, name, made[mount.Source], mount.Target)
				}
				read(t, filepath.Join(dir, from))
				used := strings.Contains(hcl, `"`+mount.Target+`"`)
				if !used && mount.Target != "/etc/vault/ca.pem" && !slices.Contains(node.Command, "-config="+mount.Target) {
					t.Errorf("%s: %s mounts %s, which nothing reads", file, name, mount.Target)
				}
			}
			if len(node.Secrets) != 1 || len(node.Configs) != 4 || node.Hostname != name {
				t.Errorf("%s: %s has configs %v, secrets %v, host name %q", file, name, node.Configs, node.Secrets, node.Hostname)
			}
		}
	}
}

// script runs a script of deploy/vault.
func script(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(filepath.Join("../deploy/vault", name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func TestVaultNodesAreLockedDown(t *testing.T) {
	pinned := regexp.MustCompile(`^hashicorp/vault:\d+\.\d+\.\d+$`)
	volumes := map[string]string{}
	for _, file := range vaultDeployments {
		for name, node := range loadVault(t, file).Services {
			if !pinned.MatchString(node.Image) || !strings.Contains(string(read(t, file)), "@sha256:") {
				t.Errorf("%s: %s runs %s: expected a version, and a word about the digest", file, name, node.Image)
			}
			if user, _, _ := strings.Cut(node.User, ":"); user == "" || user == "0" || user == "root" {
				t.Errorf("%s: %s runs as %q", file, name, node.User)
			}
			core, set := node.Ulimits["core"]
			if !node.ReadOnly || !slices.Equal(node.CapDrop, []string{"ALL"}) || len(node.CapAdd) > 0 || core != 0 || !set {
				t.Errorf("%s: %s: read_only %v, cap_drop %v, cap_add %v, ulimits %v", file, name, node.ReadOnly, node.CapDrop, node.CapAdd, node.Ulimits)
			}
			if node.MemLimit != node.MemSwapLimit {
				t.Errorf("%s: %s may swap: %q of %q", file, name, node.MemSwapLimit, node.MemLimit)
			}
			if test := strings.Join(node.Healthcheck.Test, " "); !strings.Contains(test, "vault status") || !strings.Contains(test, "= 2 ]") {
				t.Errorf("%s: %s has the health check %q: a sealed node must pass", file, name, test)
			}
			for _, volume := range node.Volumes {
				if other, taken := volumes[file+volume]; taken {
					t.Errorf("%s: %s and %s share %s", file, name, other, volume)
				}
				volumes[file+volume] = name
			}
		}
	}
}

// TestVaultUnitStartsTheSameConfiguration holds the unit to the paths that
// ./config writes by default.
func TestVaultUnitStartsTheSameConfiguration(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	script(t, "config", "--dir", dir, "vault-1")
	hcl, err := os.ReadFile(filepath.Join(dir, "vault-1", "vault.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	unit := string(read(t, "../deploy/vault/vault@.service"))
	for _, pair := range [][2]string{
		{"-config=/etc/vault/%i/vault.hcl", `"/etc/vault/vault-1/tls.key"`},
		{"StateDirectory=vault/%i", `"/var/lib/vault/vault-1"`},
	} {
		if !strings.Contains(unit, pair[0]) || !strings.Contains(string(hcl), pair[1]) {
			t.Errorf("the unit says %s, want it to go with %s in vault.hcl:\n%s", pair[0], pair[1], hcl)
		}
	}
	if word := regexp.MustCompile(`@[A-Z_]+@`).Find(hcl); word != nil {
		t.Errorf("%s was not filled in:\n%s", word, hcl)
	}
}
