//go:build swarm

package swarm

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// composition is a Compose file, as far as its sidecar's container goes. Debian has no
// Compose: what that would ask of the engine is asked here.
type composition struct {
	Services map[string]map[string]any
	Configs  map[string]source
	Secrets  map[string]source

	folder string // of the file, from where its paths begin
}

// source is a file that a container gets.
type source struct{ File string }

// reference is where it gets it.
type reference struct{ Source, Target string }

// composed is a service. A key that is not here is an error: a test that left it out
// would run another container than the file says.
type composed struct {
	Build       string
	Image       string
	Command     []string
	Environment map[string]string
	Restart     string
	User        string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Ulimits     map[string]int
	MemLimit    string `yaml:"mem_limit"`
	SwapLimit   string `yaml:"memswap_limit"`
	PidsLimit   int    `yaml:"pids_limit"`
	Grace       string `yaml:"stop_grace_period"`
	Tmpfs       []string
	Networks    []string
	Configs     []reference
	Secrets     []reference
}

// readComposition reads the file and the service that its sidecar is in.
func readComposition(t *testing.T, file string) (*composition, *composed) {
	t.Helper()
	c := &composition{folder: filepath.Dir(file)}
	if err := yaml.Unmarshal([]byte(read(t, file)), c); err != nil {
		t.Fatal(err)
	}
	for name, service := range c.Services {
		if command, ok := service["command"].([]any); !ok || command[0] != "sidecar" {
			continue
		}
		raw, err := yaml.Marshal(service)
		if err != nil {
			t.Fatal(err)
		}
		found := &composed{}
		if err := yaml.UnmarshalWithOptions(raw, found, yaml.Strict()); err != nil {
			t.Fatalf("service %s of %s: %v", name, file, err)
		}
		return c, found
	}
	t.Fatalf("no sidecar in %s", file)
	return nil, nil
}

// arguments are those of `docker create` for the service. Variables are the operator's.
func (c *composition) arguments(t *testing.T, service *composed, variables map[string]string) []string {
	t.Helper()
	grace, err := time.ParseDuration(service.Grace)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"--user", service.User, "--restart", service.Restart, "--memory", service.MemLimit, "--memory-swap", service.SwapLimit,
		"--pids-limit", strconv.Itoa(service.PidsLimit), "--stop-timeout", strconv.Itoa(int(grace.Seconds())),
		"--read-only=" + strconv.FormatBool(service.ReadOnly), "--network", service.Networks[0],
	}
	for flag, values := range map[string][]string{"--cap-drop": service.CapDrop, "--security-opt": service.SecurityOpt, "--tmpfs": service.Tmpfs} {
		for _, value := range values {
			args = append(args, flag, value)
		}
	}
	for name, limit := range service.Ulimits {
		args = append(args, "--ulimit", fmt.Sprintf("%s=%d", name, limit))
	}
	for name, value := range service.Environment {
		args = append(args, "--env", name+"="+expand(t, value, variables))
	}
	for _, mounted := range slices.Concat(c.mounts(t, service.Configs, c.Configs, "/"), c.mounts(t, service.Secrets, c.Secrets, "/run/secrets")) {
		args = append(args, "--mount", mounted)
	}
	return append(append(args, service.Image), service.Command...)
}

// expand fills in what stands as ${NAME:?what it is}.
func expand(t *testing.T, value string, variables map[string]string) string {
	t.Helper()
	return os.Expand(value, func(name string) string {
		name, _, _ = strings.Cut(name, ":?")
		known, there := variables[name]
		if !there {
			t.Fatalf("nobody sets %s", name)
		}
		return known
	})
}

// mounts are files that can be read and not written, as Compose mounts them.
func (c *composition) mounts(t *testing.T, references []reference, sources map[string]source, below string) []string {
	t.Helper()
	var all []string
	for _, one := range references {
		file, there := sources[one.Source]
		if !there {
			t.Fatalf("no %s among %v", one.Source, slices.Collect(maps.Keys(sources)))
		}
		path, target := file.File, one.Target
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.folder, path)
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(below, target)
		}
		all = append(all, "type=bind,readonly,source="+path+",target="+target)
	}
	return all
}
