package examples

import (
	"errors"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// runsSince is what the answer about health says of the application's process.
var runsSince = regexp.MustCompile(`app: runs since \S+`)

// TestVaultMayBeAwayForLongerThanALeaseLives stops a Vault of its own through the whole
// life of two applications' leases, and their end. While it is away nobody is ended for
// that, and everybody who asks is told since when the secrets are stale; MariaDB's user,
// whom nobody but Vault drops, works on. When it is back, both applications have new
// credentials, and are the processes that they were.
func TestVaultMayBeAwayForLongerThanALeaseLives(t *testing.T) {
	t.Parallel()
	const life = 8 * time.Second
	h := newHome(t)
	maria, postgres := h.leased(t, life)
	oldUser, oldPassword := postgres.credentials(t)
	processes := []string{maria.process(t), postgres.process(t)}
	l := apply(t, maria)

	h.vault.Stop()
	for _, s := range []*sidecar{maria, postgres} {
		await(t, "the secrets to be stale", s.child, func() bool { return s.staysReady(t, "secrets: stale since ") })
		for _, line := range []string{"a secret of the application could not be kept fresh", `"state":"ended","kind":"app_secret"`} {
			await(t, "the log to say "+line, s.child, func() bool { return s.says(line) })
		}
		s.command(t, "secrets: stale since ", "health", "--url", "http://"+s.admin+"/readyz")
		s.command(t, "secrets: stale since ", "status", "--admin-url", "http://"+s.admin)
	}
	e := *notes["notes-postgresql"]
	e.database = func() *database { return h.postgres }
	await(t, "PostgreSQL to refuse who is past VALID UNTIL", postgres.child, func() bool {
		out, err := e.as(oldUser, oldPassword, "SELECT 1;")
		return err != nil && strings.Contains(out, e.denied)
	})
	if written, read, failed := l.end(); len(failed) > 0 || written == 0 || read == 0 {
		t.Errorf("while Vault was away: %d notes written, %d pages read, failed: %q", written, read, failed)
	}

	if err := h.vault.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, s := range []*sidecar{maria, postgres} {
		await(t, "the application to be told", s.child, func() bool { return s.says("the application was told of its new secrets") })
		await(t, "fresh secrets", s.child, func() bool { return s.health(t, "secrets: rendered, and valid until ") })
		client := s.gateway(t)
		await(t, "the application to serve", s.child, func() bool { return s.serves(t, client) })
		if process := s.process(t); process != processes[i] {
			t.Errorf("%s: expected %q still, found %q", s.name, processes[i], process)
		}
	}
	if user, _ := postgres.credentials(t); user == oldUser {
		t.Error("the credentials are the old ones")
	}
	for _, s := range []*sidecar{maria, postgres} {
		if err := s.child.Stop(patience); err != nil {
			t.Error(err)
		}
	}
}

// leased runs the notes applications of a home of its own, with leases of such a life.
func (h *home) leased(t *testing.T, life time.Duration) (maria, postgres *sidecar) {
	t.Helper()
	var err error
	if h.postgres, err = startPostgreSQL(h.dir); err != nil {
		t.Fatal(err)
	}
	_, err = h.postgres.run("CREATE DATABASE notes_webapp;")
	err = errors.Join(err, h.mariadb.prepare("notes-mariadb", firstPassword), h.postgres.prepare("notes-postgresql", firstPassword, "notes_webapp"))
	for example, d := range map[string]*database{"notes-mariadb": h.mariadb, "notes-postgresql": h.postgres} {
		err = errors.Join(err, h.script(example, "DB_ADDRESS="+d.address(), "DB_SSLMODE=disable", "VAULT_DB_PASSWORD="+firstPassword,
			"DEFAULT_TTL="+life.String(), "MAX_TTL=5m"))
	}
	if err != nil {
		t.Fatal(err)
	}
	// Whether PostgreSQL lets a worker in that has no connection yet depends on the moment,
	// and so would its check.
	unchecked := h.postgres.here()
	unchecked["  check: {http: http://127.0.0.1:8000/health}"] = "  restart: never"
	maria, postgres = begin(t, h, "notes-mariadb", h.mariadb.here()), begin(t, h, "notes-postgresql", unchecked)
	for _, s := range []*sidecar{maria, postgres} {
		await(t, "the sidecar to be ready", s.child, func() bool { return s.ready(t) })
	}
	return maria, postgres
}

// credentials are those that the application has now.
func (s *sidecar) credentials(t *testing.T) (user, password string) {
	t.Helper()
	for line := range strings.Lines(string(readFile(t, filepath.Join(s.memory["/run/notes"], "notes.ini")))) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), " = "); key {
		case "user":
			user = value
		case "password":
			password = value
		}
	}
	return user, password
}

// process says since when the application runs.
func (s *sidecar) process(t *testing.T) string {
	t.Helper()
	_, body := s.ask(t, "/readyz")
	return runsSince.FindString(body)
}

// staysReady says whether the answer about health has a text, and fails a test in which it
// is not "ready".
func (s *sidecar) staysReady(t *testing.T, text string) bool {
	t.Helper()
	status, body := s.ask(t, "/readyz")
	if status != http.StatusOK {
		t.Fatalf("%s: status %d\n%s", s.name, status, body)
	}
	return strings.Contains(body, text)
}

// health says whether the answer about health has a text.
func (s *sidecar) health(t *testing.T, text string) bool {
	t.Helper()
	_, body := s.ask(t, "/readyz")
	return strings.Contains(body, text)
}

// command runs one of ours, which has to succeed and to say a text.
func (s *sidecar) command(t *testing.T, text string, args ...string) {
	t.Helper()
	if out, err := onceAsUs(environment(), nil, shared.binary, args...); err != nil || !strings.Contains(string(out), text) {
		t.Errorf("%q: %v, expected %q in\n%s", args, err, text, out)
	}
}

// serves says whether the application shows its page.
func (s *sidecar) serves(t *testing.T, client *http.Client) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-User", "alice@example.com")
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}
