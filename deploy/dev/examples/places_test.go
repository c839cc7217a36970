package examples

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAPasswordThatChangesIsReadAgainOnSIGHUP is the bundle of an agent and a Python
// application: the file in memory changes, the application is told by a signal, and the
// process that answers is the same, also when a lease has been revoked.
func TestAPasswordThatChangesIsReadAgainOnSIGHUP(t *testing.T) {
	t.Parallel()
	d := house.postgres
	s := runExample(t, &house, "python-sighup", map[string]string{"DB_HOST=postgres": "DB_HOST=127.0.0.1", "DB_PORT=5432": "DB_PORT=" + d.port})
	folder := s.inside(t, "/app/secrets")
	if file, dir := modeOf(t, filepath.Join(folder, "db.json")), modeOf(t, folder); file != 0o400 || dir != 0o700 {
		t.Errorf("the file has mode %o, its folder %o", file, dir)
	}
	var mounted syscall.Statfs_t
	if err := syscall.Statfs(folder, &mounted); err != nil || mounted.Blocks*uint64(mounted.Bsize) != 20<<20 {
		t.Errorf("the folder is of %d bytes, %v; expected a tmpfs of 20 MB", mounted.Blocks*uint64(mounted.Bsize), err)
	}
	client := s.gateway(t)
	users := map[string]bool{}
	var told struct {
		User string `json:"database_user"`
		PID  int    `json:"pid"`
	}
	s.get(t, client, &told)
	first := told.PID
	await(t, "another user", s.child, func() bool {
		s.get(t, client, &told)
		users[told.User] = true
		return len(users) >= 2
	})
	// An operator takes the credentials away, as after a break-in. Until the sidecar
	// notices, the application has none.
	call(t, "PUT", "sys/leases/revoke-prefix/reports-database/creds/reports", nil)
	await(t, "a user whom nobody has revoked", s.child, func() bool {
		told.User = ""
		s.try(t, client, &told)
		return told.User != "" && !users[told.User]
	})
	if !s.says("is gone before its time") {
		t.Error("the sidecar does not say that a lease was revoked")
	}
	if told.PID != first {
		t.Errorf("the application was restarted: process %d, and then %d", first, told.PID)
	}
	if err := s.child.Stop(patience); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s.memory["/app/secrets"])
	for _, stay := range d.stays(t, "v-approle-reports-") {
		if !stay.dropped {
			t.Errorf("%s is left behind", stay.user)
		}
	}
}

// TestABuildServerHasItsSecretsBeforeItStarts is a tool that wants an SSH key, a
// certificate and a token at places of its own.
func TestABuildServerHasItsSecretsBeforeItStarts(t *testing.T) {
	t.Parallel()
	s := runExample(t, &house, "jenkins-like", nil)
	home := s.memory["/run/builds"]
	for _, file := range []string{".ssh/deploy", "github-token", "tls.pem"} {
		if mode := modeOf(t, filepath.Join(home, file)); mode != 0o400 {
			t.Errorf("%s has mode %o", file, mode)
		}
	}
	if mode := modeOf(t, filepath.Join(home, ".ssh")); mode != 0o700 {
		t.Errorf(".ssh has mode %o, which OpenSSH may refuse", mode)
	}
	var told struct {
		SSHKey      string `json:"ssh_key"`
		Certificate string `json:"certificate"`
		TokenLength int    `json:"token_length"`
	}
	client := s.gateway(t)
	s.get(t, client, &told)
	if !strings.HasPrefix(told.SSHKey, house.deployKey) || told.TokenLength != len(githubToken) {
		t.Errorf("the server has %+v; expected the SSH key %s and a token of %d bytes", told, house.deployKey, len(githubToken))
	}
	first := told.Certificate
	await(t, "the next certificate", s.child, func() bool {
		s.get(t, client, &told)
		return told.Certificate != first
	})
	if err := s.child.Stop(patience); err != nil {
		t.Error(err)
	}
	nothingLeft(t, home)
}

// TestABuildServerWithoutItsTokenDoesNotStart: what is missing is named, and the server
// is not started half-configured.
func TestABuildServerWithoutItsTokenDoesNotStart(t *testing.T) {
	call(t, "DELETE", "secret/metadata/builds/github", nil)
	t.Cleanup(func() {
		if err := house.vault.Call(context.WithoutCancel(t.Context()), "POST", "secret/data/builds/github", map[string]any{"data": map[string]string{"token": githubToken}}, nil); err != nil {
			t.Error(err)
		}
	})
	s := begin(t, &house, "jenkins-like", nil)
	select {
	case <-s.child.Done():
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	tail := s.child.Tail(40)
	if s.child.Ending() == "exit status 0" || !strings.Contains(tail, "secret/data/builds/github") || strings.Contains(tail, "builds: cannot start") {
		t.Errorf("%s:\n%s", s.child.Ending(), tail)
	}
	nothingLeft(t, s.memory["/run/builds"])
}

// nothingLeft says which files there are.
func nothingLeft(t *testing.T, folder string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			t.Errorf("%s is left behind", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

// get asks the application, through the guard.
func (s *sidecar) get(t *testing.T, client *http.Client, into any) {
	t.Helper()
	if status, body := s.try(t, client, into); status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
}

// try is get for an application that may not be well.
func (s *sidecar) try(t *testing.T, client *http.Client, into any) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
	}
	return res.StatusCode, string(raw)
}
