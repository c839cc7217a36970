package cluster

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestClusterFromNothing is the life of a cluster as the README tells it: three
// nodes, three operators of whom any two open a node, an audit device, what
// Sallyport needs; then the loss of the active node, its return, and the loss of
// its successor.
func TestClusterFromNothing(t *testing.T) {
	// The nodes are killed with the thread that started them; see process.Start.
	runtime.LockOSThread()
	c := newCluster(t)
	c.configure(t)
	for _, name := range c.names {
		c.start(t, name)
	}
	c.become(t, "fresh", "fresh", "fresh")
	c.initialise(t)
	c.open(t)
	c.switchAuditOn(t)
	c.provision(t)
	c.must(t, "vault-1", "secrets", "enable", "-path=kept", "-version=1", "kv")
	c.must(t, "vault-1", "write", "kept/first", "value=before")

	lost := c.active(t)
	c.lose(t, lost)
	c.goesOnWithout(t, lost, "second")
	c.bringBack(t, lost)
	// It counts again: without it, the loss of another would be one too many.
	successor := c.active(t)
	c.lose(t, successor)
	c.goesOnWithout(t, successor, "third")
	for key, want := range map[string]string{"first": "before", "second": "without " + lost, "third": "without " + successor} {
		if got := c.must(t, lost, "read", "-field=value", "kept/"+key); got != want {
			t.Errorf("kept/%s is %q, want %q", key, got, want)
		}
	}
	c.bringBack(t, successor)
	c.backUp(t)
	c.knowsNoSecret(t)
}

// configure makes configurations and certificates, once.
func (c *cluster) configure(t *testing.T) {
	t.Helper()
	dir, err := filepath.Abs(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	c.refuses(t, 1, "run ./config first", "certs")
	args := []string{"--etc", dir, "--state", filepath.Join(dir, "data"), "--listen", "127.0.0.1"}
	for _, name := range c.names {
		args = append(args, fmt.Sprintf("%s=127.0.0.1:%d", name, c.ports[name]))
	}
	c.refuses(t, 2, `node "vault 1"`, "config", "vault 1")
	c.refuses(t, 2, "given twice", "config", "a", "b", "a")
	c.run(t, "config", args...)
	c.refuses(t, 1, "not overwritten", "config", args...)
	c.run(t, "certs")
	c.refuses(t, 1, "not overwritten", "certs")
	if out, code := c.try(t, c.nobody(), "status"); code != 1 || strings.Count(out, "away") != 3 {
		t.Errorf("status before the start: exit code %d\n%s", code, out)
	}
}

// initialise has Vault encrypt each share for one operator, once.
func (c *cluster) initialise(t *testing.T) {
	t.Helper()
	key := func(name string) string { return filepath.Join(c.dir, name+".asc") }
	keys := []string{"--key", key("alice"), "--key", key("bob"), "--key", key("carol")}
	root := []string{"--root-key", key("alice")}
	c.refuses(t, 2, "root token would be shown", "init", keys...)
	c.refuses(t, 2, "unseal alone", "init", append(append(root, keys...), "--threshold", "1")...)
	c.refuses(t, 2, "give more keys", "init", append(root, keys[:4]...)...)
	c.refuses(t, 2, "same name", "init", append(append(root, keys...), "--key", key("alice"))...)
	c.refusesKeys(t, append(root, keys[:4]...))
	c.run(t, "init", append(root, keys...)...)
	c.refuses(t, 1, "not overwritten", "init", append(root, keys...)...)
	for name := range c.people {
		info, err := os.Stat(filepath.Join(c.dir, "shares", name+".share"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the share of %s: %v, %v", name, info, err)
		}
	}
}

// refusesKeys offers, as the third, keys that Vault would have choked on half way.
func (c *cluster) refusesKeys(t *testing.T, args []string) {
	t.Helper()
	alice := c.people["alice"]
	alice.gpg(t, nil, "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "signs@example.com", "ed25519", "sign", "never")
	for why, content := range map[string][]byte{
		"cannot encrypt":           alice.gpg(t, nil, "--export", "-a", "signs@example.com"),
		"absent or empty":          {},
		"no public key in":         []byte("canary"),
		"more than one public key": alice.gpg(t, nil, "--export", "-a", "signs@example.com", "alice@example.com"),
	} {
		file := filepath.Join(c.dir, "useless.asc")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c.refuses(t, 1, why, "init", append(slices.Clone(args), "--key", file)...)
	}
	if out, _ := c.try(t, c.nobody(), "status"); strings.Count(out, "fresh") != 3 {
		t.Errorf("status after refused keys:\n%s", out)
	}
}

// open has two operators unseal each node; not always the same two.
func (c *cluster) open(t *testing.T) {
	t.Helper()
	out, code := c.try(t, c.people["bob"].environment(), "unseal", "--share", filepath.Join(c.dir, "shares", "alice.share"), "vault-1")
	if code != 1 || !strings.Contains(out, "did not take the share") {
		t.Errorf("bob with the share of alice: exit code %d\n%s", code, out)
	}
	if out := c.unseal(t, "alice", "vault-1"); !strings.Contains(out, "has your share: 1/2") {
		t.Errorf("alice alone: %s", out)
	}
	c.unseal(t, "bob", "vault-1")
	c.unseal(t, "carol", "vault-2", "vault-3") // which waits until they have joined
	c.unseal(t, "alice", "vault-2", "vault-3")
	c.become(t, "active", "standby", "standby")
	if out := c.unseal(t, "bob"); strings.Count(out, "is unsealed already") != 3 {
		t.Errorf("bob, when nothing is to do: %s", out)
	}
	c.token = c.people["alice"].decrypt(t, filepath.Join(c.dir, "root-token.pgp"))
	c.vote(t)
}

// vote waits until all three nodes count: until then the cluster does not survive
// the loss of one.
func (c *cluster) vote(t *testing.T) {
	t.Helper()
	eventually(t, "three voters", func() error {
		out, code := c.try(t, c.nobody(), "status", "--peers")
		if code != 0 || strings.Count(out, " true") != 3 {
			return fmt.Errorf("exit code %d:\n%s", code, out)
		}
		return nil
	})
}

// switchAuditOn uses the token of alice.
func (c *cluster) switchAuditOn(t *testing.T) {
	t.Helper()
	token := c.token
	c.token = ""
	c.refuses(t, 1, "permission denied", "audit", "--path", filepath.Join(c.dir, "audit.log"))
	c.token = token
	c.run(t, "audit", "--path", filepath.Join(c.dir, "audit.log"))
	c.refuses(t, 1, "left as it is", "audit", "--path", filepath.Join(c.dir, "audit.log"))
}

// provision applies a gateway's configuration with the product's own command, by
// way of a standby.
func (c *cluster) provision(t *testing.T) {
	t.Helper()
	program := filepath.Join(c.dir, "sallyport")
	build := exec.Command("go", "build", "-C", "../../..", "-o", program, "./cmd/sallyport")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building sallyport: %v\n%s", err, out)
	}
	standby := c.names[0]
	if c.active(t) == standby {
		standby = c.names[1]
	}
	apply := func() string {
		cmd := exec.Command(program, "provision", "apply", "--config", "../../compose/gateway.yaml")
		cmd.Env = append(c.nobody(), c.environment(standby)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("sallyport provision apply: %v\n%s", err, out)
		}
		return string(out)
	}
	if out := apply(); !strings.Contains(out, "+ approle sallyport-gateway") {
		t.Errorf("provision: %s", out)
	}
	if out := apply(); strings.Contains(out, "+ ") {
		t.Errorf("provision, once more: %s", out)
	}
}

// lose kills a node as a power cut does.
func (c *cluster) lose(t *testing.T, name string) {
	t.Helper()
	c.nodes[name].Kill()
	<-c.nodes[name].Done()
	c.become(t, "away", "active", "standby")
}

// goesOnWithout writes and reads through each of the nodes that are left.
func (c *cluster) goesOnWithout(t *testing.T, lost, key string) {
	t.Helper()
	for _, name := range c.names {
		if name == lost {
			continue
		}
		value := "without " + lost
		// A standby may look for the new active node for a moment.
		eventually(t, "a write by way of "+name, func() error {
			_, err := c.ask(t, name, "write", "kept/"+key, "value="+value)
			return err
		})
		if got := c.must(t, name, "read", "-field=value", "kept/"+key); got != value {
			t.Errorf("%s: kept/%s is %q, want %q", name, key, got, value)
		}
	}
}

// bringBack starts a node that was lost; two operators unseal it.
func (c *cluster) bringBack(t *testing.T, name string) {
	t.Helper()
	c.start(t, name)
	c.become(t, "sealed", "active", "standby")
	c.unseal(t, "bob", name)
	c.unseal(t, "carol", name)
	c.become(t, "active", "standby", "standby")
	c.vote(t)
}

// backUp saves a snapshot. A node that has only just become active may give one
// that Vault's own program then finds incomplete.
func (c *cluster) backUp(t *testing.T) {
	t.Helper()
	eventually(t, "a whole snapshot", func() error {
		_, err := c.ask(t, c.active(t), "operator", "raft", "snapshot", "save", filepath.Join(c.dir, "backup.snap"))
		return err
	})
}

// knowsNoSecret looks for the root token and the shares in every file: what the
// scripts wrote, the logs, the audit device's lines, the storage and a backup.
func (c *cluster) knowsNoSecret(t *testing.T) {
	t.Helper()
	secrets := [][]byte{[]byte(c.token)}
	for name, who := range c.people {
		secrets = append(secrets, []byte(who.decrypt(t, filepath.Join(c.dir, "shares", name+".share"))))
	}
	err := filepath.WalkDir(c.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || entry.Name() == "sallyport" {
			return err
		}
		content, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(content, secret) {
				t.Errorf("%s holds a secret", path)
			}
		}
		if entry.Name() == "audit.log" && bytes.Count(content, []byte(`"kept/second"`)) < 4 {
			t.Errorf("the audit device's file has not every request:\n%s", content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOwnCertificates gives the nodes what somebody else made, and refuses what
// does not fit.
func TestOwnCertificates(t *testing.T) {
	run := func(script string, args ...string) (string, error) {
		out, err := exec.Command(filepath.Join(scripts, script), args...).CombinedOutput()
		return string(out), err
	}
	must := func(script string, args ...string) {
		t.Helper()
		if out, err := run(script, args...); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	// Another cluster's certificates serve as those of a company.
	company, own := filepath.Join(t.TempDir(), "company"), t.TempDir()
	must("config", "--dir", company, "vault-1", "vault-2")
	must("certs", "--dir", company)
	copyFile(t, filepath.Join(company, "ca.pem"), filepath.Join(own, "ca.pem"))
	for _, node := range []string{"vault-1", "vault-2"} {
		copyFile(t, filepath.Join(company, node, "tls.pem"), filepath.Join(own, node+".pem"))
		copyFile(t, filepath.Join(company, node, "tls.key"), filepath.Join(own, node+".key"))
	}
	fits := filepath.Join(t.TempDir(), "cluster")
	must("config", "--dir", fits, "vault-1", "vault-2")
	must("certs", "--dir", fits, "--own", own)
	if _, err := os.Stat(filepath.Join(fits, "vault-2", "tls.key")); err != nil {
		t.Error(err)
	}

	for why, spoil := range map[string]func(dir string){
		"no certificate for vault-2": func(dir string) {
			copyFile(t, filepath.Join(own, "vault-1.pem"), filepath.Join(dir, "vault-2.pem"))
		},
		"is not the key of": func(dir string) {
			copyFile(t, filepath.Join(own, "vault-1.key"), filepath.Join(dir, "vault-2.key"))
		},
		"no certificate for vault-1": func(dir string) {
			other := filepath.Join(t.TempDir(), "other")
			must("config", "--dir", other, "vault-1")
			must("certs", "--dir", other)
			copyFile(t, filepath.Join(other, "ca.pem"), filepath.Join(dir, "ca.pem"))
		},
	} {
		bad, cluster := t.TempDir(), filepath.Join(t.TempDir(), "cluster")
		if err := os.CopyFS(bad, os.DirFS(own)); err != nil {
			t.Fatal(err)
		}
		spoil(bad)
		must("config", "--dir", cluster, "vault-1", "vault-2")
		if out, err := run("certs", "--dir", cluster, "--own", bad); err == nil || !strings.Contains(out, why) {
			t.Errorf("expected %q, got error %v:\n%s", why, err, out)
		}
		if _, err := os.Stat(filepath.Join(cluster, "vault-1", "tls.key")); err == nil {
			t.Errorf("%s: a part was taken", why)
		}
	}
}

// copyFile overwrites to.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
