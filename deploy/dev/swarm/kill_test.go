//go:build swarm

package swarm

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// vaultToken is any that Vault makes.
var vaultToken = regexp.MustCompile(`hv[sb]\.[A-Za-z0-9_-]{20,}`)

// testKill ends process 1 of the container as nothing can be prepared for, and looks for
// what it leaves: in the container's file system, and wherever the engine keeps anything.
func (r *reports) testKill(t *testing.T) {
	t.Helper()
	var secret struct{ User, Password string }
	if err := json.Unmarshal([]byte(read(t, r.inside("/app/secrets/db.json"))), &secret); err != nil {
		t.Fatal(err)
	}
	told, err := r.ask()
	if err != nil || secret.Password == "" {
		t.Fatalf("a password of %d bytes, %+v, %v", len(secret.Password), told, err)
	}
	token := strings.TrimSpace(read(t, r.token))
	r.run(t, "docker", "kill", "--signal", "KILL", r.id)
	eventually(t, "the container has ended", func() error {
		if state := r.inspect(t, "{{.State.Status}} {{.State.ExitCode}}"); state != "exited 137" {
			return errors.New(state)
		}
		return nil
	})
	if left := r.processes(t); len(left) > 0 {
		t.Errorf("processes %+v are left", left)
	}
	r.testNothingWasWritten(t)
	if said, _, err := r.try("docker", "logs", r.id); err != nil || vaultToken.MatchString(said) {
		t.Errorf("the container's output has a token, or cannot be read: %v", err)
	}
	testNothingContains(t, filepath.Join(folder, "data"), r.roleID(t, r.role), secret.Password, token)
	eventually(t, "the credentials end with their lease", func() error {
		if users := r.users(t); len(users) > 0 {
			return fmt.Errorf("there are %q", users)
		}
		return nil
	})
}

// testNothingWasWritten compares the container's file system with its image: places that
// something was mounted at, and none with a byte in it.
func (r *reports) testNothingWasWritten(t *testing.T) {
	t.Helper()
	changed := map[string]bool{}
	for line := range strings.Lines(r.run(t, "docker", "diff", r.id)) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		changed[strings.Trim(path, "/")] = true
	}
	res, err := r.engine.Get("http://docker/containers/" + r.id + "/export")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	files := 0
	for archive := tar.NewReader(res.Body); ; files++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if path := strings.Trim(header.Name, "/"); changed[path] && header.Size > 0 {
			t.Errorf("%s of %d bytes was written", path, header.Size)
		}
	}
	if files < 1000 {
		t.Errorf("%d files, expected a whole Debian", files)
	}
}

// testNothingContains reads every file below a folder in which the engine is at work.
// That known is found shows that it looks well.
func testNothingContains(t *testing.T, folder, known string, secrets ...string) {
	t.Helper()
	found := false
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s has a secret", path)
			}
		}
		found = found || bytes.Contains(content, []byte(known))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil || !found {
		t.Errorf("reading %s: %v; what must be there was found: %v", folder, err, found)
	}
}
