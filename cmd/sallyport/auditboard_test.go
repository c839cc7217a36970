package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/vaultpki"
)

// TestOldCheckpointsAreRemoved, and no others: of instances that have ended in order, by
// what Vault has signed, and for whoever may.
func TestOldCheckpointsAreRemoved(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	const seed = "0123456789abcdef0123456789abcdef"
	key := ed25519.NewKeyFromSeed([]byte(seed))
	s.call(t, "POST", "sys/mounts/transit-board", map[string]string{"type": "transit"}, nil)
	s.call(t, "POST", "transit-board/keys/log", map[string]any{"type": "ed25519"}, nil)
	client, err := vaultpki.WithToken(vaultpki.Server{Address: s.vault.Address, CAFile: s.vault.CAFile}, s.vault.RootToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	transit, err := vaultpki.NewTransitKey(client, "transit-board", "log")
	if err != nil {
		t.Fatal(err)
	}
	board, err := vaultpki.NewBoard(client, "secret", "board-test/log")
	if err != nil {
		t.Fatal(err)
	}
	signer := transitSigner{transit, "transit-board", "log"}
	publish := func(letter string, days int, ended, forged bool) {
		t.Helper()
		head, err := checkpoint.HeadOf(strings.Repeat(letter, 26), 7, strings.Repeat("A", 43))
		if err != nil {
			t.Fatal(err)
		}
		c := &checkpoint.Checkpoint{Head: head, Time: time.Now().UTC().Truncate(time.Microsecond).AddDate(0, 0, -days)}
		c.Key, c.Signature, err = signer.Sign(t.Context(), func(key string) []byte { c.Key = key; return c.Message() })
		if err != nil {
			t.Fatal(err)
		}
		if forged {
			c.Signature = ed25519.Sign(key, c.Message())
		}
		if _, err := checkpoint.Publish(t.Context(), vaultBoard{board}, c, ended); err != nil {
			t.Fatal(err)
		}
	}
	publish("a", 10, true, false)
	publish("b", 500, true, false)
	publish("c", 500, true, true)
	publish("d", 500, false, false)
	if _, err := board.Put(t.Context(), "odd", map[string]string{"checkpoint": base64.StdEncoding.EncodeToString([]byte("x"))}); err != nil {
		t.Fatal(err)
	}
	run := func(want string, args ...string) {
		t.Helper()
		p := s.start(t, append([]string{"audit", "board", "--token-file", s.tokenFile, "--transit-key", "transit-board/log", "--log-path", "board-test/log"}, args...)...)
		if code, out := p.wait(t), p.out.String(); code != exitOK || !strings.HasSuffix(out, want+"\n") {
			t.Errorf("exit code %d, expected %q\n%s%s", code, want, out, p.err.String())
		}
	}
	run("5 published, 0 removed")
	run("5 published, 1 removed", "--prune")
	run("4 published, 0 removed", "--prune")
	run("4 published, 1 removed", "--prune", "--killed")
	if names, err := board.Names(t.Context()); err != nil || strings.Join(names, " ") != strings.Repeat("a", 26)+" "+strings.Repeat("c", 26)+" odd" {
		t.Errorf("left: %v, %v", names, err)
	}
	p := s.start(t, "audit", "board", "--token-file", s.tokenFile, "--older-than", "soon")
	if code := p.wait(t); code != exitUsage {
		t.Errorf("an age that is none: exit code %d", code)
	}
}
