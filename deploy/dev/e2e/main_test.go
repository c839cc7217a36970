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
	bin     string    // the programs under test
	way     *vaultWay // between the demo's processes and its Vault
	demo    *demo
	browser *browser
	serials map[string]string // of the first certificates, by name
	// authority certifies what the tests serve themselves.
	authority *authority
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sallyport-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := runIn(dir, m)
	if code != 0 {
		fmt.Fprintln(os.Stderr, "e2e: the state and the logs of the demo stay in", dir)
		return code
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	return code
}

func runIn(dir string, m *testing.M) int {
	if err := setUp(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer shared.way.stop()
	defer shared.browser.close()
	defer shared.demo.stop() //nolint:errcheck // for runs of some tests only; the last one stops it
	return m.Run()
}

func setUp(dir string) error {
	shared.serials = make(map[string]string)
	chromium, err := findTools()
	if err != nil {
		return err
	}
	if shared.bin, err = build(); err != nil {
		return err
	}
	port, err := freePorts()
	if err != nil {
		return err
	}
	if shared.way, err = startNetwork(port + 2); err != nil {
		return err
	}
	if shared.demo, err = startDemoAt(port, filepath.Join(dir, "state"), "DEMO_VAULT_ADDR="+shared.way.address()); err != nil {
		return err
	}
	ours := filepath.Join(dir, "authority.pem")
	if shared.authority, err = newAuthority(ours); err != nil {
		return errors.Join(err, shared.demo.stop())
	}
	shared.browser, err = startBrowser(chromium, filepath.Join(dir, "home"), shared.demo.caFile(), ours)
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
