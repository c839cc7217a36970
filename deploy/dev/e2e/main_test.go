package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// shared is what the tests of TestStack use together. It is set once, before any
// test runs.
var shared struct {
	bin     string // the programs under test
	demo    *demo
	browser *browser
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := setUp(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer shared.browser.close()
	code := m.Run()
	if err := shared.demo.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

func setUp(dir string) error {
	chromium, err := findTools()
	if err != nil {
		return err
	}
	if shared.bin, err = build(); err != nil {
		return err
	}
	if shared.demo, err = startDemo(filepath.Join(dir, "state")); err != nil {
		return err
	}
	shared.browser, err = startBrowser(chromium, filepath.Join(dir, "home"), shared.demo.caFile())
	if err != nil {
		return errors.Join(err, shared.demo.stop())
	}
	return nil
}

// findTools fails for what is missing, and never skips a test for it.
func findTools() (chromium string, err error) {
	if chromium, err = exec.LookPath("chromium"); err != nil {
		return "", errors.New("no chromium on PATH: run `make test` as root once, or: apt-get install chromium")
	}
	if _, err := exec.LookPath("certutil"); err != nil {
		return "", errors.New("no certutil on PATH: run `make test` as root once, or: apt-get install libnss3-tools")
	}
	return chromium, nil
}

// build makes the programs with the race detector: what it finds while the tests
// drive them ends up in their logs, which the last test reads.
func build() (bin string, err error) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		return "", err
	}
	bin = filepath.Join(root, ".build", "race")
	cmd := exec.CommandContext(context.Background(), "make", "-C", root, "build", "vault", "BUILD="+bin, "RACE=-race")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("building what is tested: %w", err)
	}
	return bin, nil
}
