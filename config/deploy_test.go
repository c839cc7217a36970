package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// The folders that operators copy.
var deployments = []string{"../deploy/compose/compose.yml", "../deploy/swarm/stack.yml", "../deploy/swarm/driver-stack.yml"}

// stack is the part of a Compose file that the tests look at. Keys that are
// not listed here are the engine's business.
type stack struct {
	Services map[string]service
	Networks map[string]any
	Volumes  map[string]any
	Configs  map[string]struct{ File string }
	Secrets  map[string]struct {
		File     string
		External bool
		Driver   string
		Labels   map[string]string
	}
}

type service struct {
	Image       string
	Command     []string
	Environment map[string]string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Restart     string
	NetworkMode string `yaml:"network_mode"`
	Networks    []string
	Tmpfs       []string
	Ulimits     map[string]int
	Grace       string `yaml:"stop_grace_period"`
	Ports       []any
	Configs     []struct{ Source, Target string }
	Secrets     []struct{ Source, Target string }
	Deploy      struct {
		Replicas      int
		Labels        map[string]string
		RestartPolicy struct{ Condition string } `yaml:"restart_policy"`
	}
}

// ours reports whether a service runs our image.
func (s service) ours() bool { return strings.HasPrefix(s.Image, "sallyport:") }

func loadStack(t *testing.T, file string) stack {
	t.Helper()
	var loaded stack
	if err := yaml.Unmarshal(read(t, file), &loaded); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(loaded.Services) < 3 {
		t.Fatalf("%s: %d services", file, len(loaded.Services))
	}
	return loaded
}

// eachOfOurs calls check for every service of every deployment that runs our
// image.
func eachOfOurs(t *testing.T, check func(t *testing.T, folder string, whole stack, s service)) {
	t.Helper()
	for _, file := range deployments {
		whole, found := loadStack(t, file), 0
		for name, s := range whole.Services {
			if s.ours() {
				found++
				t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) { check(t, filepath.Dir(file), whole, s) })
			}
		}
		if found < 2 {
			t.Errorf("%s: %d services run our image, want a gateway and a sidecar at least", file, found)
		}
	}
}

func TestShippedServicesAreLockedDown(t *testing.T) {
	eachOfOurs(t, func(t *testing.T, folder string, _ stack, s service) {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("read_only %v, cap_drop %v", s.ReadOnly, s.CapDrop)
		}
		if core, set := s.Ulimits["core"]; !set || core != 0 {
			t.Errorf("core dumps are not off: %v", s.Ulimits)
		}
		if filepath.Base(folder) == "swarm" {
			return // where the engine ignores the two below
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("security_opt %v", s.SecurityOpt)
		}
		if !slices.ContainsFunc(s.Tmpfs, func(mount string) bool { return strings.HasPrefix(mount, "/run/secrets:") }) {
			t.Errorf("tmpfs %v, want /run/secrets", s.Tmpfs)
		}
	})
}

// TestShippedServicesStopInTheirOwnTime: an engine that kills before the drain is over
// cuts what a stop would not.
func TestShippedServicesStopInTheirOwnTime(t *testing.T) {
	stop := defaultStop()
	// And then the log's last records, what a collector still gets of them, and a signature.
	longest := stop.Announce.Duration + stop.Drain.Duration + 20*time.Second
	eachOfOurs(t, func(t *testing.T, _ string, _ stack, s service) {
		if grace, err := time.ParseDuration(s.Grace); err != nil || grace < longest {
			t.Errorf("stop_grace_period %q, want %s at least", s.Grace, longest)
		}
	})
}

// TestShippedServicesHaveOneIntroductionEach guards against the false alarm
// that a token raises when it is used twice: by a second replica, or by a
// container that restarts. The secret driver makes one for each of them.
func TestShippedServicesHaveOneIntroductionEach(t *testing.T) {
	for _, file := range deployments {
		tokens, whole := map[string]string{}, loadStack(t, file)
		for name, s := range whole.Services {
			if !s.ours() {
				continue
			}
			if len(s.Secrets) != 1 || s.Secrets[0].Target != "vault_wrapping_token" {
				t.Errorf("%s: %s has secrets %v, want the wrapping token alone", file, name, s.Secrets)
				continue
			}
			if other, taken := tokens[s.Secrets[0].Source]; taken {
				t.Errorf("%s: %s and %s share the token %s", file, name, other, s.Secrets[0].Source)
			}
			tokens[s.Secrets[0].Source] = name
			if whole.Secrets[s.Secrets[0].Source].Driver != "" {
				continue
			}
			if once := s.Restart == "no" || s.Deploy.Replicas == 1 && s.Deploy.RestartPolicy.Condition == "none"; !once {
				t.Errorf("%s: %s may start twice with one token", file, name)
			}
		}
	}
}

// TestShippedAllowListFitsTheShippedStack holds three places together that have to
// agree: the secret's label, the service's, and the driver's allow-list. The role is
// also the one that the command asks for.
func TestShippedAllowListFitsTheShippedStack(t *testing.T) {
	const name, file = "sallyport", "../deploy/swarm/secret-driver.yaml"
	driver, err := LoadSecretDriver(file, read(t, file))
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]string{} // the service of each role
	for _, role := range driver.Roles {
		if len(role.Services) != 1 || !slices.Equal(role.Stacks, []string{name}) {
			t.Errorf("%s: role %s is for services %v of stacks %v", file, role.Role, role.Services, role.Stacks)
			continue
		}
		allowed[role.Role] = role.Services[0]
	}
	whole := loadStack(t, "../deploy/swarm/driver-stack.yml")
	for service, s := range whole.Services {
		if !s.ours() {
			continue
		}
		secret, role := whole.Secrets[s.Secrets[0].Source], "sallyport-gateway" // the default of a gateway
		if at := slices.Index(s.Command, "--role"); at > 0 {
			role = s.Command[at+1]
		}
		if secret.Labels["sallyport.role"] != role || s.Deploy.Labels["sallyport.role"] != role || allowed[role] != name+"_"+service {
			t.Errorf("service %s starts as %s, its label is %v, its secret's %v, and the role is for %s", service, role, s.Deploy.Labels, secret.Labels, allowed[role])
		}
		delete(allowed, role)
	}
	if len(allowed) > 0 {
		t.Errorf("%s allows what nobody has: %v", file, allowed)
	}
}

// TestShippedPluginIsWhatTheDriverExpects holds the plugin's description to the
// defaults of the driver and to what it reads.
func TestShippedPluginIsWhatTheDriverExpects(t *testing.T) {
	type mount struct {
		Destination string
		Options     []string
	}
	var plugin struct {
		Interface struct {
			Types  []string
			Socket string
		}
		Entrypoint []string
		Args       struct{ Value []string }
		Env        []struct{ Name, Value string }
		Mounts     []mount
		Linux      struct{ Capabilities []string }
	}
	if err := json.Unmarshal(read(t, "../deploy/swarm/plugin.json"), &plugin); err != nil {
		t.Fatal(err)
	}
	if want := "/run/docker/plugins/" + plugin.Interface.Socket; defaultSecretDriver().Socket != want {
		t.Errorf("the engine looks at %s, the driver listens at %s", want, defaultSecretDriver().Socket)
	}
	if !slices.Equal(plugin.Interface.Types, []string{"docker.secretprovider/1.0"}) || !slices.Equal(plugin.Entrypoint, []string{"/sallyport", "secret-driver"}) {
		t.Errorf("types %v, entry point %v", plugin.Interface.Types, plugin.Entrypoint)
	}
	if len(plugin.Linux.Capabilities) > 0 || len(plugin.Mounts) != 2 || !slices.Contains(plugin.Mounts[0].Options, "ro") {
		t.Errorf("capabilities %v, mounts %v", plugin.Linux.Capabilities, plugin.Mounts)
	}
	for _, value := range append(plugin.Args.Value, plugin.Env[1].Value) {
		_, place, _ := strings.Cut("="+value, "/")
		if !slices.ContainsFunc(plugin.Mounts, func(m mount) bool { return strings.HasPrefix("/"+place, m.Destination+"/") }) {
			t.Errorf("%s is not below a mount", value)
		}
	}
}

func TestShippedStacksDeclareWhatTheyUse(t *testing.T) {
	for _, file := range deployments {
		whole := loadStack(t, file)
		for name, s := range whole.Services {
			for _, used := range s.Configs {
				if whole.Configs[used.Source].File == "" {
					t.Errorf("%s: %s uses the config %s, which is not declared", file, name, used.Source)
				}
			}
			for _, used := range s.Secrets {
				if secret := whole.Secrets[used.Source]; secret.File == "" && !secret.External && secret.Driver == "" {
					t.Errorf("%s: %s uses the secret %s, which is not declared", file, name, used.Source)
				}
			}
			for _, used := range s.Networks {
				if _, declared := whole.Networks[used]; !declared {
					t.Errorf("%s: %s uses the network %s, which is not declared", file, name, used)
				}
			}
			for variable, value := range s.Environment {
				if regexp.MustCompile(`TOKEN|SECRET|PASSWORD`).MatchString(variable) {
					t.Errorf("%s: %s has %s=%s in its environment", file, name, variable, value)
				}
			}
		}
	}
}

// TestShippedConfigurationsAreLoaded loads the configuration that each service
// of ours gets, by the way it gets it: command, config, file.
func TestShippedConfigurationsAreLoaded(t *testing.T) {
	eachOfOurs(t, func(t *testing.T, folder string, whole stack, s service) {
		file := filepath.Join(folder, whole.Configs[s.configSource(t)].File)
		switch s.Command[0] {
		case "gateway":
			gateway, err := LoadGateway(file, read(t, file))
			if err != nil {
				t.Fatal(err)
			}
			if warnings := gateway.Warnings(); len(warnings) > 0 {
				t.Errorf("warnings %q", warnings)
			}
			checkRoutes(t, folder, gateway)
		case "sidecar":
			sidecar, err := LoadSidecar(file, read(t, file))
			if err != nil {
				t.Fatal(err)
			}
			if want := "http://" + sidecar.Admin + "/readyz"; s.Environment["SALLYPORT_HEALTH_URL"] != want {
				t.Errorf("SALLYPORT_HEALTH_URL is %s, the sidecar answers at %s", s.Environment["SALLYPORT_HEALTH_URL"], want)
			}
		default:
			t.Errorf("command %v", s.Command)
		}
	})
}

// configSource returns the config that the command names.
func (s service) configSource(t *testing.T) string {
	t.Helper()
	at := slices.Index(s.Command, "--config")
	if at < 0 || at+1 == len(s.Command) {
		t.Fatalf("command %v names no configuration", s.Command)
	}
	for _, used := range s.Configs {
		if used.Target == s.Command[at+1] {
			return used.Source
		}
	}
	t.Fatalf("nothing is mounted at %s", s.Command[at+1])
	return ""
}

// checkRoutes fails unless each route leads to a sidecar of the same folder:
// to its name and its port.
func checkRoutes(t *testing.T, folder string, gateway *Gateway) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*-sidecar.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no sidecars in %s (%v)", folder, err)
	}
	listening := map[string]bool{}
	for _, file := range files {
		sidecar, err := LoadSidecar(file, read(t, file))
		if err != nil {
			t.Fatal(err)
		}
		listening[string(sidecar.Name)+sidecar.Listen] = true
	}
	for _, route := range gateway.Routes {
		if leads := fmt.Sprintf("%s:%d", route.Backend.Name, route.Backend.URL.Port); !listening[leads] {
			t.Errorf("route %s leads to %s; the sidecars are %v", route.Name, leads, listening)
		}
	}
}

// TestToolsCannotBeReachedPastTheirSidecar looks at the services that are not
// ours: they publish nothing, share their sidecar's network and listen on its
// loopback.
func TestToolsCannotBeReachedPastTheirSidecar(t *testing.T) {
	for _, file := range deployments {
		whole := loadStack(t, file)
		for name, s := range whole.Services {
			if s.ours() {
				continue
			}
			sidecar := whole.Services[name+"-sidecar"]
			shared := s.NetworkMode == "service:"+name+"-sidecar" && len(s.Networks) == 0 ||
				slices.Equal(s.Networks, []string{"node"}) && slices.Equal(sidecar.Networks, s.Networks)
			if !sidecar.ours() || !shared || len(s.Ports) > 0 || s.Environment["GF_SERVER_HTTP_ADDR"] != "127.0.0.1" {
				t.Errorf("%s: %s: network mode %q, networks %v, ports %v, address %q", file, name, s.NetworkMode, s.Networks, s.Ports, s.Environment["GF_SERVER_HTTP_ADDR"])
			}
		}
	}
}

// TestImageIsMadeFromScratch reads the Dockerfile for what must not slip: where
// the final image comes from, who it runs as, and how it is built.
func TestImageIsMadeFromScratch(t *testing.T) {
	text := string(read(t, "../Dockerfile"))
	build, final, ok := strings.Cut(text, "\nFROM scratch\n")
	if !ok || strings.Contains(final, "\nFROM ") || strings.Contains(final, "\nRUN ") {
		t.Fatal("the last stage is not FROM scratch, or does more than copy")
	}
	for _, line := range []string{"USER 65532:65532", `ENTRYPOINT ["/sallyport"]`, "COPY --from=build /out/sallyport /sallyport"} {
		if !strings.Contains(final, "\n"+line+"\n") {
			t.Errorf("the last stage lacks %s", line)
		}
	}
	if !regexp.MustCompile(`\nHEALTHCHECK .*CMD \["/sallyport", "health"\]\n`).MatchString(final) {
		t.Error("no HEALTHCHECK by sallyport health")
	}
	for _, part := range []string{"CGO_ENABLED=0", "-trimpath", "-buildvcs=true", `-ldflags="-s -w -buildid="`, "SOURCE_DATE_EPOCH"} {
		if !strings.Contains(build, part) {
			t.Errorf("the build lacks %s", part)
		}
	}
	if strings.Count(final, "COPY") != 1 {
		t.Error("more than the binary is copied into the image")
	}
}

// TestImageIsBuiltWithTheGoOfTheModule holds the builder's Go to go.mod's.
func TestImageIsBuiltWithTheGoOfTheModule(t *testing.T) {
	module := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(read(t, "../go.mod"))
	image := regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+)`).FindSubmatch(read(t, "../Dockerfile"))
	if module == nil || image == nil || string(module[1]) != string(image[1]) {
		t.Errorf("go.mod says Go %s, the Dockerfile %s", module, image)
	}
}

// TestNothingSecretIsShipped looks for what should only exist where it is used.
func TestNothingSecretIsShipped(t *testing.T) {
	secret := regexp.MustCompile(`-----BEGIN|hv[sbr]\.[A-Za-z0-9]{8}`)
	for _, folder := range []string{"../deploy/compose", "../deploy/swarm"} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if file := filepath.Join(folder, entry.Name()); secret.Match(read(t, file)) {
				t.Errorf("%s holds a key, a certificate or a token", file)
			}
		}
	}
}
