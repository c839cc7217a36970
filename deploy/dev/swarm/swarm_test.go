//go:build swarm

package swarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	role       = "sallyport-sidecar-notes"
	driverRole = "sallyport-secret-driver"
	plugin     = "sallyport/secret-driver"
	service    = "shop_notes"
)

// TestEveryTaskIsIntroducedByItself goes through the life of a service: start,
// loss of a task, growth, update. Each task gets a token that works, and no two
// get the same. Before, while the engine is in no Swarm, it runs a sidecar with its
// application in one container.
func TestEveryTaskIsIntroducedByItself(t *testing.T) {
	t.Parallel()
	s := theStand(t)
	s.testWithoutASwarm(t)
	s.testContainer(t)
	s.run(t, "docker", "swarm", "init", "--advertise-addr", address)
	s.install(t)
	s.testDeploy(t)

	seen := map[string]string{} // wrapping token by task, of every task that ever ran
	s.introduced(t, 2, seen)
	first := s.running(t, service)
	s.run(t, "docker", "kill", first[0].Status.ContainerStatus.ContainerID)
	eventually(t, "the killed task is gone", func() error {
		if slices.ContainsFunc(s.running(t, service), func(other task) bool { return other.ID == first[0].ID }) {
			return errors.New("it still runs")
		}
		return nil
	})
	s.introduced(t, 2, seen)
	s.run(t, "docker", "service", "scale", "--detach", service+"=3")
	s.introduced(t, 3, seen)
	before := s.running(t, service)
	s.run(t, "docker", "service", "update", "--force", "--detach", service)
	eventually(t, "every task is replaced", func() error {
		for _, old := range before {
			if slices.ContainsFunc(s.running(t, service), func(now task) bool { return now.ID == old.ID }) {
				return fmt.Errorf("task %s still runs", old.ID)
			}
		}
		return nil
	})
	s.introduced(t, 3, seen)

	s.testEngineAsksAgain(t, seen)
	s.testVaultsView(t, seen)
	s.testSecretsOfKV(t)
	s.testRefusals(t)
	s.testDockerSecret(t)
	s.testStop(t)
	s.testStartAgain(t)
	s.testShippedStack(t)
	s.run(t, "docker", "plugin", "disable", "--force", plugin)
}

// testDeploy puts the stack into the Swarm, with a secret of KV.
func (s *stand) testDeploy(t *testing.T) {
	t.Helper()
	write(t, "sidecar.yaml", "name: notes.backend.sallyport.internal\napp: http://127.0.0.1:3000\n")
	s.mustVault(t, "POST", "secret/data/notes/db", map[string]any{"data": map[string]string{"password": "pass-1", "user": "notes"}}, nil)
	s.deploy(t, "shop", "ROLE_ID="+s.roleID(t, role), write(t, "stack.yml", read(t, "testdata/stack.yml")))
}

// deploy has the engine run a stack. The variable is what its files leave to the operator.
func (s *stand) deploy(t *testing.T, name, variable string, files ...string) {
	t.Helper()
	operator := *s
	operator.env = append(slices.Clone(s.env), variable)
	args := []string{"stack", "deploy", "--resolve-image", "never"}
	for _, file := range files {
		args = append(args, "--compose-file", file)
	}
	operator.run(t, "docker", append(args, name)...)
}

// testWithoutASwarm asks an engine that is no manager yet for a Docker secret.
func (s *stand) testWithoutASwarm(t *testing.T) {
	t.Helper()
	_, said, err := s.try("sallyport", "introduce", "--role", role, "--docker-secret", "early")
	if err == nil || !strings.Contains(said, "not a manager of a Swarm") || !strings.Contains(said, "hint: run this on a manager") {
		t.Errorf("introducing without a Swarm: %v\n%s", err, said)
	}
}

// install installs the plugin by the commands of docs/swarm.md.
func (s *stand) install(t *testing.T) {
	t.Helper()
	write(t, "etc/secret-driver.yaml", fmt.Sprintf(`
roles:
  - role: %[1]s
    services: ["shop_n*"]
    stacks: [shop]
  - role: %[1]s
    services: [notes_notes]
    stacks: [notes]
secrets:
  - {path: notes/db, fields: [password], wrapped: true, stacks: [shop]}
`, role))
	write(t, "etc/vault-ca.pem", read(t, s.caFile))
	mkdir(t, "/run/sallyport")
	s.run(t, "sallyport", "introduce", "--role", driverRole, "--file", "/run/sallyport/wrapping-token")
	var answer struct {
		Data struct {
			RoleID string `json:"role_id"`
		}
	}
	s.mustVault(t, "GET", "auth/approle/role/"+driverRole+"/role-id", nil, &answer)
	s.run(t, "docker", "plugin", "create", plugin, filepath.Join(root, ".build", "plugin"))
	s.run(t, "docker", "plugin", "set", plugin,
		"config.source="+filepath.Join(folder, "etc"), "VAULT_ADDR=https://"+address+":8200", "VAULT_ROLE_ID="+answer.Data.RoleID)
	s.enable(t)
}

// enable starts the plugin.
func (s *stand) enable(t *testing.T) {
	t.Helper()
	s.run(t, "docker", "plugin", "enable", plugin)
	eventually(t, "the plugin is ready", func() error { return call(admin(), "GET", "http://127.0.0.1:9092/readyz", nil, nil) })
}

// admin returns a client of the plugin's admin listener.
func admin() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
}

// task is what the engine says of one.
type task struct {
	ID     string
	Status struct {
		State           string
		Err             string
		ContainerStatus struct {
			ContainerID string
			PID         int
		}
	}
}

// tasks are those of a service, whatever became of them.
func (s *stand) tasks(t *testing.T, service string) []task {
	t.Helper()
	var all []task
	filter := fmt.Sprintf(`{"service":{%q:true}}`, service)
	if err := call(s.engine, "GET", "http://docker/tasks?filters="+filter, nil, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// running are the tasks of the service that run.
func (s *stand) running(t *testing.T, service string) []task {
	t.Helper()
	return slices.DeleteFunc(s.tasks(t, service), func(one task) bool { return one.Status.State != "running" })
}

// introduced waits until just so many tasks run, each of them logged in to Vault,
// and checks that the wrapping token of each is new.
func (s *stand) introduced(t *testing.T, count int, seen map[string]string) {
	t.Helper()
	var tasks []task
	eventually(t, fmt.Sprintf("%d tasks are introduced", count), func() error {
		tasks = s.running(t, service)
		if len(tasks) != count {
			return fmt.Errorf("%d run", len(tasks))
		}
		known := s.loggedIn(t)
		for _, one := range tasks {
			if len(known[one.ID]) == 0 {
				return fmt.Errorf("task %s has not logged in", one.ID)
			}
		}
		return nil
	})
	for _, one := range tasks {
		token := s.mounted(t, one, "vault_wrapping_token")
		if other, there := seen[one.ID]; there && other != token {
			t.Errorf("task %s has another token than before", one.ID)
		}
		seen[one.ID] = token
	}
	if distinct := slices.Compact(slices.Sorted(maps.Values(seen))); len(distinct) != len(seen) {
		t.Errorf("%d tasks were given %d different tokens", len(seen), len(distinct))
	}
}

// mounted reads a secret as the task sees it.
func (s *stand) mounted(t *testing.T, one task, name string) string {
	t.Helper()
	return read(t, fmt.Sprintf("/proc/%d/root/run/secrets/%s", one.Status.ContainerStatus.PID, name))
}

// loggedIn returns Vault's view: the accessors of living tokens by the task that
// their SecretID was made for.
func (s *stand) loggedIn(t *testing.T) map[string][]string {
	t.Helper()
	var list struct{ Data struct{ Keys []string } }
	s.mustVault(t, "LIST", "auth/token/accessors", nil, &list)
	found := map[string][]string{}
	for _, accessor := range list.Data.Keys {
		var token struct {
			Data struct {
				Meta map[string]string
			}
		}
		// A token may end between the two calls.
		if err := s.askVault("POST", "auth/token/lookup-accessor", map[string]string{"accessor": accessor}, &token); err != nil {
			continue
		}
		if id := token.Data.Meta["task_id"]; id != "" {
			found[id] = append(found[id], accessor)
			if meta := token.Data.Meta; meta["service"] != service || meta["stack"] != "shop" || meta["role_name"] != role || !strings.HasSuffix(meta["task"], id) {
				t.Errorf("metadata of task %s: %v", id, meta)
			}
		}
	}
	return found
}

// testEngineAsksAgain asks as the engine does when it lost its connection to a
// node: with the same words, for a task that has its token already.
func (s *stand) testEngineAsksAgain(t *testing.T, seen map[string]string) {
	t.Helper()
	sockets, err := filepath.Glob("/run/docker/plugins/*/sallyport.sock")
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets of the plugin: %v (%v)", sockets, err)
	}
	info, err := os.Stat(sockets[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v (%v)", info.Mode(), err)
	}
	for _, one := range s.running(t, service) {
		var answer struct {
			Value      []byte
			DoNotReuse bool
		}
		request := map[string]any{
			"SecretName": "shop_token", "SecretLabels": map[string]string{"sallyport.role": role, "sallyport.wrap-ttl": "2m"},
			"ServiceName": service, "TaskID": one.ID, "TaskName": service + ".1." + one.ID,
			"ServiceLabels": map[string]string{"sallyport.role": role, "com.docker.stack.namespace": "shop"},
		}
		if err := call(overSocket(sockets[0]), "POST", "http://plugin/SecretProvider.GetSecret", request, &answer); err != nil {
			t.Fatal(err)
		}
		if string(answer.Value) != seen[one.ID] || !answer.DoNotReuse {
			t.Errorf("task %s: asked again, the driver answers something else, or lets it be reused: %t", one.ID, answer.DoNotReuse)
		}
	}
}

// testVaultsView compares what Vault knows with what ran, and with what the driver
// says of itself: one login and one token for each task, though the engine asks
// more than once.
func (s *stand) testVaultsView(t *testing.T, seen map[string]string) {
	t.Helper()
	known := s.loggedIn(t)
	for id := range seen {
		if len(known[id]) != 1 {
			t.Errorf("task %s: %d logins, expected one", id, len(known[id]))
		}
	}
	if len(seen) < 7 {
		t.Errorf("%d tasks were seen, expected 2 at first, 1 after a kill, 1 more by scaling, 3 by the update", len(seen))
	}
	metrics := s.metrics(t)
	if issued := metrics[`kind="introduction",result="issued"`]; issued != len(s.tasks(t, service)) || issued < len(known) {
		t.Errorf("the driver made %d tokens for %d tasks, of which %d logged in", issued, len(s.tasks(t, service)), len(known))
	}
	if metrics[`kind="introduction",result="repeated"`] < 3 {
		t.Errorf("nobody asked again: %v", metrics)
	}
}

// metrics returns the counters of the driver by their labels.
func (s *stand) metrics(t *testing.T) map[string]int {
	t.Helper()
	res, err := admin().Get("http://127.0.0.1:9092/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, line := range regexp.MustCompile(`(?m)^sallyport_secret_driver_requests_total\{(.*)\} (\d+)$`).FindAllStringSubmatch(string(text), -1) {
		count, err := strconv.Atoi(line[2])
		if err != nil {
			t.Fatal(err)
		}
		found[line[1]] = count
	}
	return found
}

// testSecretsOfKV reads what the tasks have: the field itself, and a wrapping token
// each that holds the whole secret.
func (s *stand) testSecretsOfKV(t *testing.T) {
	t.Helper()
	wrapped := map[string]bool{}
	for _, one := range s.running(t, service) {
		if password := s.mounted(t, one, "password"); password != "pass-1" {
			t.Errorf("task %s has the password %q", one.ID, password)
		}
		bundle := s.mounted(t, one, "bundle")
		wrapped[bundle] = true
		var answer struct {
			Data struct{ Data map[string]string }
		}
		s.mustVault(t, "PUT", "sys/wrapping/unwrap", map[string]string{"token": bundle}, &answer)
		if answer.Data.Data["password"] != "pass-1" || answer.Data.Data["user"] != "notes" {
			t.Errorf("task %s unwraps %v", one.ID, answer.Data.Data)
		}
	}
	if len(wrapped) != 3 {
		t.Errorf("3 tasks have %d different wrapped secrets", len(wrapped))
	}
}

// testRefusals starts services that the driver must not serve: each mounts the
// very secret that the others have.
func (s *stand) testRefusals(t *testing.T) {
	t.Helper()
	for name, test := range map[string]struct {
		labels []string
		result string
	}{
		"shop_nolabel": {[]string{"com.docker.stack.namespace=shop"}, "labels_differ"},
		"shop_other":   {[]string{"com.docker.stack.namespace=shop", "sallyport.role=" + role}, "service_not_allowed"},
		"shop_nostack": {[]string{"sallyport.role=" + role}, "service_not_allowed"},
	} {
		counter := fmt.Sprintf("kind=%q,result=%q", "", test.result)
		before := s.metrics(t)[counter]
		args := []string{"service", "create", "--detach", "--no-resolve-image", "--restart-condition", "none", "--name", name, "--secret", "source=shop_token,target=x"}
		for _, label := range test.labels {
			args = append(args, "--label", label)
		}
		s.run(t, "docker", append(args, "sallyport:latest", "version")...)
		eventually(t, name+" is refused", func() error {
			tasks := s.tasks(t, name)
			if len(tasks) != 1 || s.metrics(t)[counter] == before {
				return fmt.Errorf("tasks %+v, counters %v", tasks, s.metrics(t))
			}
			if state := tasks[0].Status.State; state != "rejected" && state != "failed" {
				return fmt.Errorf("the task is %s", state)
			}
			return nil
		})
		s.run(t, "docker", "service", "rm", name)
	}
	if log := read(t, filepath.Join(folder, "dockerd.log")); !strings.Contains(log, `no entry of the allow-list fits service \\\"shop_other\\\" of stack \\\"shop\\\"`) {
		t.Error("the log does not have the whole reason")
	}
}

// testDockerSecret stores one introduction as a Docker secret, which has one value
// for ever.
func (s *stand) testDockerSecret(t *testing.T) {
	t.Helper()
	store := func(args ...string) (string, error) {
		out, said, err := s.try("sallyport", append([]string{"introduce", "--role", role, "--docker-secret", "one_token"}, args...)...)
		if out != "" || strings.Contains(said, "hvs.") {
			t.Errorf("something was printed: %q %q", out, said)
		}
		return said, err
	}
	if said, err := store(); err != nil {
		t.Fatal(said)
	}
	var secrets []struct {
		Spec struct{ Labels map[string]string }
	}
	if err := json.Unmarshal([]byte(s.run(t, "docker", "secret", "inspect", "one_token")), &secrets); err != nil {
		t.Fatal(err)
	}
	if labels := secrets[0].Spec.Labels; labels["sallyport.role"] != role || labels["sallyport.ends"] == "" || len(labels["sallyport.accessor-hash"]) != 12 {
		t.Errorf("labels %v", labels)
	}
	if said, err := store(); err == nil || !strings.Contains(said, "there is a secret of that name already") {
		t.Errorf("a name that is taken: %v\n%s", err, said)
	}
	if said, err := store("--replace"); err != nil {
		t.Errorf("replacing: %v\n%s", err, said)
	}
	s.run(t, "docker", "service", "create", "--detach", "--no-resolve-image", "--restart-condition", "none", "--name", "one", "--secret", "one_token", "sallyport:latest", "version")
	said, err := store("--replace")
	if err == nil || !strings.Contains(said, "a service uses the secret") || !strings.Contains(said, "nothing was delivered, and the token is revoked") {
		t.Errorf("replacing a secret in use: %v\n%s", err, said)
	}
	s.run(t, "docker", "service", "rm", "one")
}

// testStop ends the plugin, which leaves nothing behind.
func (s *stand) testStop(t *testing.T) {
	t.Helper()
	s.run(t, "docker", "plugin", "disable", "--force", plugin)
	log := read(t, filepath.Join(folder, "dockerd.log"))
	if !strings.Contains(log, `\"msg\":\"stopped\"`) || !strings.Contains(log, `\"clean\":true`) {
		t.Error("the plugin did not say that it stopped clean")
	}
	for _, pattern := range []string{"/run/docker/plugins/*.sock", "/run/docker/plugins/*/*.sock"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("sockets are left: %v (%v)", left, err)
		}
	}
	if token, err := os.ReadFile("/run/sallyport/wrapping-token"); err != nil || len(token) != 0 {
		t.Errorf("the driver's own introduction is still there (%v)", err)
	}
	if strings.Contains(log, "hvs.") {
		t.Error("the engine's log, with the plugin's in it, holds a token")
	}
}

// testStartAgain enables the plugin as after a reboot of a manager: by its heir,
// with nobody to introduce it.
func (s *stand) testStartAgain(t *testing.T) {
	t.Helper()
	s.enable(t)
	before := s.running(t, service)
	s.run(t, "docker", "service", "update", "--force", "--detach", service)
	eventually(t, "every task is replaced", func() error {
		now := s.running(t, service)
		if len(now) != 3 || slices.ContainsFunc(now, func(one task) bool {
			return slices.ContainsFunc(before, func(old task) bool { return old.ID == one.ID })
		}) {
			return fmt.Errorf("%d run, or old ones do", len(now))
		}
		known := s.loggedIn(t)
		for _, one := range now {
			if len(known[one.ID]) != 1 {
				return fmt.Errorf("task %s has not logged in", one.ID)
			}
		}
		return nil
	})
}
