package cluster

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/process"
	"github.com/sallyport/sallyport/deploy/dev/vaultbin"
)

// scripts is the folder under test.
const scripts = "../../vault"

// cluster is what a person has who follows the README: the folder that the scripts
// write, the programs, and, here, the nodes as children of the test.
type cluster struct {
	dir    string // the argument of --dir
	vault  string // the program
	names  []string
	ports  map[string]int
	nodes  map[string]*process.Child
	people map[string]operator
	token  string // the root token, once somebody has decrypted it
}

// newCluster finds a Vault and makes the operators; nothing runs yet.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	// Not t.TempDir: the sockets of gpg-agent want a short path.
	dir, err := os.MkdirTemp("", "vault-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the nodes' logs stay in", dir)
			return
		}
		os.RemoveAll(dir)
	})
	c := &cluster{
		dir: dir, vault: findVault(t), names: []string{"vault-1", "vault-2", "vault-3"},
		ports: map[string]int{}, nodes: map[string]*process.Child{}, people: map[string]operator{},
	}
	for _, name := range []string{"alice", "bob", "carol"} {
		c.people[name] = newOperator(t, dir, name)
	}
	for _, name := range c.names {
		c.ports[name] = freePair(t)
	}
	return c
}

// findVault returns SALLYPORT_VAULT_BIN, else what `make vault` would use.
func findVault(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SALLYPORT_VAULT_BIN"); path != "" {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	found, err := vaultbin.Ensure(t.Context(), vaultbin.Config{ModuleDir: "../vault", CacheDir: filepath.Join(cache, "sallyport"), Out: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	return found.Path
}

// freePair returns a port that was free a moment ago, as was the one after it:
// that is where nodes talk to each other.
func freePair(t *testing.T) int {
	t.Helper()
	for range 100 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+1))
		first.Close()
		if err == nil {
			second.Close()
			return port
		}
	}
	t.Fatal("found no two free ports in a row")
	return 0
}

// try runs a script as somebody, and returns what it said and how it ended.
func (c *cluster) try(t *testing.T, who []string, script string, args ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(scripts, script), append([]string{"--dir", c.dir}, args...)...)
	cmd.Env = append(slices.Clone(who), "VAULT_BIN="+c.vault)
	if c.token != "" {
		cmd.Env = append(cmd.Env, "VAULT_TOKEN="+c.token)
	}
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return both.String(), cmd.ProcessState.ExitCode()
}

// run is try for what must work.
func (c *cluster) run(t *testing.T, script string, args ...string) string {
	t.Helper()
	out, code := c.try(t, c.nobody(), script, args...)
	if code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s", script, args, code, out)
	}
	return out
}

// refuses is try for what must not work, and must say why.
func (c *cluster) refuses(t *testing.T, code int, why, script string, args ...string) {
	t.Helper()
	out, got := c.try(t, c.nobody(), script, args...)
	if got != code || !strings.Contains(out, why) {
		t.Errorf("%s %s: exit code %d, expected %d and %q\n%s", script, args, got, code, why, out)
	}
}

// nobody is the environment of a person without keys.
func (c *cluster) nobody() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(c.dir, "nobody")}
}

// unseal has an operator give their share, to all nodes if none is named.
func (c *cluster) unseal(t *testing.T, name string, nodes ...string) string {
	t.Helper()
	args := append([]string{"--share", filepath.Join(c.dir, "shares", name+".share")}, nodes...)
	out, code := c.try(t, c.people[name].environment(), "unseal", args...)
	if code != 0 {
		t.Fatalf("%s unseals %s: exit code %d\n%s", name, nodes, code, out)
	}
	return out
}

// start runs a node until the test ends.
func (c *cluster) start(t *testing.T, name string) {
	t.Helper()
	folder := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Join(c.dir, "data", name), 0o700); err != nil {
		t.Fatal(err)
	}
	child, err := process.Start(process.Spec{
		Name: name, Path: c.vault, Args: []string{"server", "-config=" + filepath.Join(folder, "vault.hcl")},
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder}, Log: filepath.Join(folder, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := child.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	c.nodes[name] = child
}

// states is what ./status says of each node, by name.
func (c *cluster) states(t *testing.T) map[string]string {
	t.Helper()
	out, _ := c.try(t, c.nobody(), "status")
	states := map[string]string{}
	for name, port := range c.ports {
		for line := range strings.Lines(out) {
			words := strings.Fields(line)
			if len(words) > 1 && words[0] == fmt.Sprintf("https://127.0.0.1:%d", port) {
				states[name] = words[1]
			}
		}
	}
	return states
}

// become waits until the nodes are in these states, in any order.
func (c *cluster) become(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, fmt.Sprintf("nodes that are %q", want), func() error {
		states := c.states(t)
		var got []string
		for _, state := range states {
			got = append(got, state)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("they are %v", states)
		}
		return nil
	})
}

// active is the node that decides.
func (c *cluster) active(t *testing.T) string {
	t.Helper()
	for name, state := range c.states(t) {
		if state == "active" {
			return name
		}
	}
	t.Fatal("no node is active")
	return ""
}

// ask runs Vault's own program against one node, as whoever has the token.
func (c *cluster) ask(t *testing.T, node string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(c.vault, args...)
	cmd.Env = append(c.nobody(), c.environment(node)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("vault %s: %w: %s", args, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func (c *cluster) environment(node string) []string {
	return []string{
		fmt.Sprintf("VAULT_ADDR=https://127.0.0.1:%d", c.ports[node]), "VAULT_CACERT=" + filepath.Join(c.dir, "ca.pem"), "VAULT_TOKEN=" + c.token,
	}
}

// must is ask for what has to work at once.
func (c *cluster) must(t *testing.T, node string, args ...string) string {
	t.Helper()
	out, err := c.ask(t, node, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
