package config

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// container is the part of a Kubernetes container that the tests look at.
type container struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Number int `yaml:"containerPort"`
	}
	ReadinessProbe struct {
		Exec struct{ Command []string }
	} `yaml:"readinessProbe"`
	Env      []struct{ Name, Value string }
	Security struct {
		Escalation   *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities struct{ Drop []string }
	} `yaml:"securityContext"`
	Mounts []struct {
		Name string
		Path string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

// manifest is the same of any object.
type manifest struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	Spec     struct {
		Selector map[string]any
		Ports    []struct{ Port int }
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Automount *bool `yaml:"automountServiceAccountToken"`
				Security  struct {
					RunAsNonRoot bool `yaml:"runAsNonRoot"`
				} `yaml:"securityContext"`
				Containers []container
				Volumes    []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
					Projected struct {
						Sources []struct {
							Token struct{ Path, Audience string } `yaml:"serviceAccountToken"`
						}
					}
				}
			}
		}
		PodSelector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		} `yaml:"podSelector"`
		PolicyTypes []string `yaml:"policyTypes"`
		Ingress     []struct {
			From  []any
			Ports []struct{ Port int }
		}
	}
}

// kubernetesRecipe reads the objects by their kinds.
func kubernetesRecipe(t *testing.T) map[string]manifest {
	t.Helper()
	objects := map[string]manifest{}
	for decoder := yaml.NewDecoder(bytes.NewReader(read(t, "../deploy/sidecar/kubernetes.yaml"))); ; {
		var one manifest
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if one.Metadata.Namespace != "tools" {
			t.Errorf("%s %s is in the namespace %q", one.Kind, one.Metadata.Name, one.Metadata.Namespace)
		}
		objects[one.Kind] = one
	}
}

// TestKubernetesRecipeLeavesOneWayIn holds a pod to its sidecar's configuration: what is
// offered to the network is the sidecar's port, in the pod, the service and the policy.
func TestKubernetesRecipeLeavesOneWayIn(t *testing.T) {
	objects := kubernetesRecipe(t)
	cfg, err := LoadSidecar("sidecar.yaml", []byte(objects["ConfigMap"].Data["sidecar.yaml"]))
	if err != nil {
		t.Fatal(err)
	}
	_, number, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		t.Fatal(err)
	}
	listen, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	pod := objects["Deployment"].Spec.Template
	if len(pod.Spec.Containers) != 2 || pod.Spec.Automount == nil || *pod.Spec.Automount || !pod.Spec.Security.RunAsNonRoot {
		t.Fatalf("pod %+v", pod.Spec)
	}
	sidecar, tool := pod.Spec.Containers[0], pod.Spec.Containers[1]
	for _, c := range pod.Spec.Containers {
		if c.Security.Escalation == nil || *c.Security.Escalation || !c.Security.ReadOnly || !slices.Equal(c.Security.Capabilities.Drop, []string{"ALL"}) {
			t.Errorf("container %s is not locked down: %+v", c.Name, c.Security)
		}
	}
	if len(sidecar.Ports) != 1 || sidecar.Ports[0].Number != listen || len(tool.Ports) != 0 {
		t.Errorf("ports %v of the sidecar, which listens on %d, and %v of the tool", sidecar.Ports, listen, tool.Ports)
	}
	if want := net.JoinHostPort(cfg.App.Host, strconv.Itoa(cfg.App.Port)); tool.Env[0].Value != want {
		t.Errorf("the tool listens on %s, the sidecar expects it on %s", tool.Env[0].Value, want)
	}
	if probe := sidecar.ReadinessProbe.Exec.Command; !slices.Contains(probe, "http://"+cfg.Admin+"/readyz") {
		t.Errorf("the probe is %v, the sidecar answers on %s", probe, cfg.Admin)
	}
	if ports := objects["Service"].Spec.Ports; len(ports) != 1 || ports[0].Port != listen {
		t.Errorf("the service has %v", ports)
	}
	policy := objects["NetworkPolicy"].Spec
	if len(policy.Ingress) != 1 || len(policy.Ingress[0].From) != 1 || len(policy.Ingress[0].Ports) != 1 || policy.Ingress[0].Ports[0].Port != listen ||
		policy.PodSelector.MatchLabels["app"] != pod.Metadata.Labels["app"] || !slices.Equal(policy.PolicyTypes, []string{"Ingress"}) {
		t.Errorf("policy %+v", policy)
	}
	checkVolumes(t, objects, sidecar)
}

// checkVolumes holds the files that the sidecar is told of to what is mounted there.
func checkVolumes(t *testing.T, objects map[string]manifest, sidecar container) {
	t.Helper()
	mounted := map[string]string{}
	for _, mount := range sidecar.Mounts {
		mounted[mount.Name] = mount.Path
	}
	for _, volume := range objects["Deployment"].Spec.Template.Spec.Volumes {
		for _, source := range volume.Projected.Sources {
			if file := filepath.Join(mounted[volume.Name], source.Token.Path); !slices.Contains(sidecar.Args, file) || source.Token.Audience != "vault" {
				t.Errorf("the pod's token for %q is at %s, and the arguments are %v", source.Token.Audience, file, sidecar.Args)
			}
		}
		if volume.ConfigMap.Name == objects["ConfigMap"].Metadata.Name && !slices.Contains(sidecar.Args, mounted[volume.Name]+"/sidecar.yaml") {
			t.Errorf("the configuration is below %s, and the arguments are %v", mounted[volume.Name], sidecar.Args)
		}
	}
}

// TestSwarmRecipeRunsTheToolBehindItsSidecar holds the stack of one container to its image
// and its configuration.
func TestSwarmRecipeRunsTheToolBehindItsSidecar(t *testing.T) {
	const folder = "../deploy/sidecar"
	var whole stack
	if err := yaml.Unmarshal(read(t, folder+"/swarm.yml"), &whole); err != nil {
		t.Fatal(err)
	}
	s := whole.Services["notes"]
	if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.Ports) > 0 {
		t.Errorf("the service is not locked down: %+v", s)
	}
	if at := slices.Index(s.Command, "--"); at < 0 || at+1 == len(s.Command) || whole.Secrets["token"].Driver != "sallyport/secret-driver" ||
		!slices.Contains(s.Command, whole.Secrets["token"].Labels["sallyport.role"]) {
		t.Errorf("command %v, secrets %v", s.Command, whole.Secrets)
	}
	cfg, err := LoadSidecar("sidecar.yaml", read(t, filepath.Join(folder, whole.Configs["sidecar"].File)))
	if err != nil {
		t.Fatal(err)
	}
	image := string(read(t, folder+"/Dockerfile"))
	_, port, _ := strings.Cut(cfg.Listen, ":")
	for _, want := range []string{`"sidecar", "--config", "` + s.Configs[0].Target + `"`, "EXPOSE " + port + "\n", "SALLYPORT_HEALTH_URL=http://" + cfg.Admin + "/readyz", "\nUSER 65532:65532\n"} {
		if !strings.Contains(image, want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
}
