package cluster

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// operator is a person with a PGP key of their own.
type operator struct {
	name string
	home string // of gpg
}

// newOperator makes a person and a key, and writes the public one to NAME.asc.
func newOperator(t *testing.T, dir, name string) operator {
	t.Helper()
	o := operator{name, filepath.Join(dir, "gpg-"+name)}
	if err := os.MkdirAll(o.home, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.leave(t) })
	user := name + "@example.com"
	o.gpg(t, nil, "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", user, "default", "default", "never")
	public := o.gpg(t, nil, "--export", "-a", user)
	if err := os.WriteFile(filepath.Join(dir, name+".asc"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// environment has nothing of the caller's own keys.
func (o operator) environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.home, "GNUPGHOME=" + o.home, "LC_ALL=C.UTF-8"}
}

func (o operator) gpg(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{"--batch", "--quiet"}, args...)...)
	cmd.Env, cmd.Stdin = o.environment(), bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %s: %v\n%s", args, err, stderr.String())
	}
	return out
}

// decrypt opens what ./init wrote for this operator.
func (o operator) decrypt(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return string(o.gpg(t, sealed, "--decrypt"))
}

// leave ends the agent that gpg started, and fails if one stays.
func (o operator) leave(t *testing.T) {
	t.Helper()
	cmd := exec.Command("gpgconf", "--kill", "all")
	cmd.Env = o.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("ending the agent of %s: %v\n%s", o.name, err, out)
	}
	eventually(t, "the end of the agent of "+o.name, func() error {
		if left := processesOf(t, o.home); len(left) > 0 {
			return fmt.Errorf("still running: %q", left)
		}
		return nil
	})
}

// processesOf lists the processes whose command line names something in dir.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(dir)) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// eventually polls until ok returns nil. What is waited for is done by real
// processes, so the deadline is real time.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}
