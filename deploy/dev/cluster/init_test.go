package cluster

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestAHalfInitialisedNodeIsNotFresh has Vault refuse the keys after it began,
// which it does not tell of itself, and begins again as ./init says. The gpg that
// lets such a key pass is a fake: ./init asks the real one first, and with that
// Vault never gets so far.
func TestAHalfInitialisedNodeIsNotFresh(t *testing.T) {
	// The nodes are killed with the thread that started them; see process.Start.
	runtime.LockOSThread()
	c := newCluster(t)
	c.configure(t)
	for _, name := range c.names {
		c.start(t, name)
	}
	c.become(t, "fresh", "fresh", "fresh")

	alice := c.people["alice"]
	alice.gpg(t, nil, "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", "signs@example.com", "ed25519", "sign", "never")
	c.writeKeys(t, alice.gpg(t, nil, "--export", "-a", "signs@example.com"))
	blind := filepath.Join(c.dir, "blind")
	if err := os.Mkdir(blind, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(blind, "gpg"), []byte("#!/bin/sh\necho pub:-::::::::::scESC:\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, code := c.try(t, []string{"PATH=" + blind + ":" + os.Getenv("PATH")}, "init", c.keys()...)
	if code != 1 || !strings.Contains(out, "no valid encryption keys") || !strings.Contains(out, "empty their data folders") {
		t.Fatalf("a key that cannot encrypt: exit code %d\n%s", code, out)
	}
	c.become(t, "broken", "fresh", "fresh")
	out, _ = c.try(t, c.nobody(), "status")
	if !strings.Contains(out, "empty their data folders") {
		t.Errorf("status:\n%s", out)
	}

	for _, name := range c.names {
		c.nodes[name].Kill()
		<-c.nodes[name].Done()
	}
	for _, stale := range []string{"data", "init.failed"} {
		if err := os.RemoveAll(filepath.Join(c.dir, stale)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range c.names {
		c.start(t, name)
	}
	c.become(t, "fresh", "fresh", "fresh")
	c.writeKeys(t, alice.gpg(t, nil, "--export", "-a", "alice@example.com"))
	c.run(t, "init", c.keys()...)
	c.become(t, "sealed", "fresh", "fresh")
}

// writeKeys puts one key into three files.
func (c *cluster) writeKeys(t *testing.T, key []byte) {
	t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.WriteFile(filepath.Join(c.dir, name+".asc"), key, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// keys are the arguments of ./init for them.
func (c *cluster) keys() []string {
	file := func(name string) string { return filepath.Join(c.dir, name+".asc") }
	return []string{"--root-key", file("a"), "--key", file("a"), "--key", file("b"), "--key", file("c")}
}
