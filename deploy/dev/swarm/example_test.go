//go:build swarm

package swarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// reader is whom the gateway has signed in.
const reader = "alice@example.com"

// reports is the container of deploy/examples/python-sighup.
type reports struct {
	box
	role, token string // of the sidecar; the file of its introduction
	client      *http.Client
}

// TestExampleRunsInAContainer runs an example as its README says: the image that its
// Dockerfile makes, with the options of its Compose file, beside a real Vault and a real
// PostgreSQL.
func TestExampleRunsInAContainer(t *testing.T) {
	t.Parallel()
	s := theStand(t)
	s.prepareReports(t)
	r := s.createReports(t)
	r.start(t)
	r.testSecretsAreInMemory(t)
	r.testLimits(t)
	first := r.testRotation(t)
	r.testHealthy(t)
	r.testRevocation(t, first)
	r.testSmall(t)
	r.stop(t)
	if users := r.users(t); len(users) > 0 {
		t.Errorf("users %q are left in the database of a container that was stopped", users)
	}
	r.start(t)
	r.testKill(t)
}

// prepareReports does what the README has people do once.
func (s *stand) prepareReports(t *testing.T) {
	t.Helper()
	s.buildExample(t, example)
	s.startPostgreSQL(t)
	s.query(t, "postgres", "CREATE DATABASE reports")
	statements := write(t, "reports.sql", strings.ReplaceAll(read(t, filepath.Join(folder, example, "database.sql")), "@PASSWORD@", "first-password"))
	s.run(t, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file", statements, administrator+"reports")

	s.registerPlugin(t)
	s.run(t, "env", "PATH="+filepath.Join(root, ".build")+":/usr/bin:/bin", "VAULT_DB_PASSWORD=first-password", "DB_ADDRESS="+address+":5432", "DB_SSLMODE=disable",
		"DEFAULT_TTL=15s", "MAX_TTL=30s", filepath.Join(folder, example, "vault.sh"))
}

// createReports makes the container as the Compose file says. Its database is elsewhere.
func (s *stand) createReports(t *testing.T) *reports {
	t.Helper()
	file, service := readComposition(t, filepath.Join(folder, example, "compose.yml"))
	r := &reports{
		box:  box{stand: s, name: "reports.backend.sallyport.internal", health: []string{"sallyport", "health"}},
		role: service.Command[slices.Index(service.Command, "--role")+1], token: file.Secrets["token"].File,
	}
	mkdir(t, filepath.Dir(r.token))
	for _, network := range service.Networks {
		s.run(t, "docker", "network", "create", network)
	}
	args := file.arguments(t, service, map[string]string{"VAULT_ADDR": "https://" + address + ":8200", "ROLE_ID": s.roleID(t, r.role)})
	s.deliver(t, r.role, r.token)
	r.id = strings.TrimSpace(s.run(t, "docker", append([]string{"create", "--add-host", "postgres:" + address}, args...)...))
	for _, network := range service.Networks[1:] {
		s.run(t, "docker", "network", "connect", network, r.id)
	}
	return r
}

// start starts it, with an introduction of its own.
func (r *reports) start(t *testing.T) {
	t.Helper()
	r.deliver(t, r.role, r.token)
	r.run(t, "docker", "start", r.id)
	r.ready(t)
	r.client = r.gateway(t)
}

// answer is the application's.
type answer struct {
	Reports int
	User    string `json:"database_user"`
	Reader  string
	PID     int
}

// ask asks the application as the gateway does.
func (r *reports) ask() (told answer, err error) {
	req, err := http.NewRequest(http.MethodGet, "https://"+r.ip+":8443/", nil)
	if err != nil {
		return told, err
	}
	req.Header.Set("X-Forwarded-User", reader)
	res, err := r.client.Do(req)
	if err != nil {
		return told, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return told, err
	}
	if res.StatusCode != http.StatusOK {
		return told, fmt.Errorf("status %d: %s", res.StatusCode, raw)
	}
	return told, json.Unmarshal(raw, &told)
}

// inside is a path of the container as it is seen from here.
func (r *reports) inside(path string) string { return fmt.Sprintf("/proc/%d/root%s", r.pid, path) }

// testSecretsAreInMemory looks at the folder of the application's secrets as the kernel has it.
func (r *reports) testSecretsAreInMemory(t *testing.T) {
	t.Helper()
	for path, mode := range map[string]os.FileMode{"/app/secrets": os.ModeDir | 0o700, "/app/secrets/db.json": 0o400} {
		info, err := os.Stat(r.inside(path))
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); info.Mode() != mode || owner.Uid != nobody || owner.Gid != nobody {
			t.Errorf("%s has mode %s and is of %d:%d", path, info.Mode(), owner.Uid, owner.Gid)
		}
	}
	mount := ""
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/mountinfo", r.pid))) {
		if strings.Contains(line, " /app/secrets ") {
			mount = line
		}
	}
	for _, want := range []string{" - tmpfs ", "size=20480k", "mode=700", "nosuid", "nodev", "noexec"} {
		if !strings.Contains(mount, want) {
			t.Errorf("/app/secrets is mounted without %q: %s", want, mount)
		}
	}
}

// testLimits looks at what has been taken from the container.
func (r *reports) testLimits(t *testing.T) {
	t.Helper()
	r.testConfined(t)
	if limits := read(t, fmt.Sprintf("/proc/%d/limits", r.pid)); !strings.Contains(limits, "Max core file size        0                    0") {
		t.Errorf("core dumps are not off:\n%s", limits)
	}
	if err := os.WriteFile(r.inside("/srv/reports/x"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing to the root file system: %v", err)
	}
	// The engine leaves out what the kernel's control groups cannot do.
	able := strings.Fields(r.run(t, "docker", "info", "--format", "{{.MemoryLimit}} {{.SwapLimit}} {{.PidsLimit}}"))
	for i, limit := range []struct{ field, want string }{{"Memory", "536870912"}, {"MemorySwap", "536870912"}, {"PidsLimit", "256"}} {
		switch set := r.inspect(t, "{{.HostConfig."+limit.field+"}}"); {
		case able[i] != "true":
			t.Logf("this kernel's control groups do not limit %s", limit.field)
		case set != limit.want:
			t.Errorf("the limit %s is %s, expected %s", limit.field, set, limit.want)
		}
	}
}

// testRotation asks again and again until the database has seen another user, without a
// request that fails. It returns what the first of them was answered.
func (r *reports) testRotation(t *testing.T) (first answer) {
	t.Helper()
	var err error
	if first, err = r.ask(); err != nil {
		t.Fatal(err)
	}
	if first.Reader != reader || first.PID == 0 {
		t.Errorf("the application answers %+v, expected the reader %s", first, reader)
	}
	eventually(t, "the application has other credentials", func() error {
		now, err := r.ask()
		switch {
		case err != nil:
			t.Fatalf("a request fails while credentials change: %v", err)
		case now.PID != first.PID:
			t.Fatalf("the application was started anew: process %d, and then %d", first.PID, now.PID)
		case now.User == first.User:
			return fmt.Errorf("the user is still %s", now.User)
		}
		return nil
	})
	return first
}

// testHealthy waits for the engine's own opinion, which it has of HEALTHCHECK.
func (r *reports) testHealthy(t *testing.T) {
	t.Helper()
	eventually(t, "the engine finds the container healthy", func() error {
		if health := r.inspect(t, "{{.State.Health.Status}}"); health != "healthy" {
			return errors.New(r.inspect(t, "{{json .State.Health}}"))
		}
		return nil
	})
}

// testRevocation takes the credentials away, as an operator does after a break-in.
func (r *reports) testRevocation(t *testing.T, first answer) {
	t.Helper()
	before := r.users(t)
	r.mustVault(t, "PUT", "sys/leases/revoke-prefix/reports-database/creds/reports", nil, nil)
	for _, user := range r.users(t) { // the next may be there already
		if slices.Contains(before, user) {
			t.Errorf("user %s is left in the database", user)
		}
	}
	eventually(t, "the application has credentials again", func() error {
		now, err := r.ask()
		if err == nil && now.PID != first.PID {
			t.Fatalf("the application was started anew: process %d, and then %d", first.PID, now.PID)
		}
		return err
	})
}

// users are those that Vault has made for the container.
func (r *reports) users(t *testing.T) []string {
	t.Helper()
	return r.query(t, "postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-approle-%'")
}
