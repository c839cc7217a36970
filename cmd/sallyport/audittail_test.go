package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
)

// sealed is a record about somebody, as a line.
func sealed(chain *logtest.Chain, user, decision string) []byte {
	r := accesslog.Record{
		Time: time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC), Action: accesslog.ActionAccess, Decision: decision, Reason: "because", User: user,
		Method: "GET", Host: "wiki.example.com", Path: "/\x1b[31m", Status: 200, ClientAddress: "192.0.2.7", RequestID: "abcd",
	}
	return chain.Seal(nil, r.AppendJSON(nil, "sallyport-gateway"))
}

// TestAuditTailFollowsTheLogOverRotation shows what is asked for, before and behind a
// rename, and ends without an error when it is interrupted.
func TestAuditTailFollowsTheLogOverRotation(t *testing.T) {
	name, chain := filepath.Join(t.TempDir(), "access.log"), logtest.NewChain("a")
	add := func(name, user, decision string) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(sealed(chain, user, decision)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	add(name, "alice", "deny")
	add(name, "bob", "allow")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	var notes bytes.Buffer
	ended := make(chan int)
	go func() {
		std := stdio{Out: writer, Err: &notes, Env: func(string) (string, bool) { return "", false }}
		code := run(ctx, []string{"audit", "tail", "-f", "--log", name, "--decision", "deny"}, std)
		_ = writer.Close() // never fails
		ended <- code
	}()
	lines := bufio.NewScanner(reader)
	expect := func(user string) {
		t.Helper()
		want := "2026-11-26 08:00:00 deny    " + user + ` GET wiki.example.com/\u001b[31m 200 because from 192.0.2.7 #abcd`
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("line %q, expected %q", lines.Text(), want)
		}
	}
	expect("alice")
	add(name, "bob", "allow")
	add(name, "carol", "deny")
	expect("carol")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	add(name+".1", "dave", "deny")
	expect("dave")
	add(name, "erin", "deny")
	expect("erin")
	cancel()
	if code := <-ended; code != 0 || notes.Len() > 0 {
		t.Errorf("exit code %d: %s", code, notes.String())
	}
}

// TestAuditTailPaintsWithItsOwnColoursAlone has somebody's name that would paint.
func TestAuditTailPaintsWithItsOwnColoursAlone(t *testing.T) {
	entry, ok := audit.Decode(bytes.TrimSpace(sealed(logtest.NewChain("a"), "\x1b[5mmallory", "deny")))
	if !ok {
		t.Fatal("no record")
	}
	text := (&tail{coloured: true}).text(&entry)
	if !strings.Contains(text, colourBad+"deny   "+colourOff) {
		t.Errorf("no colour in %q", text)
	}
	for _, own := range []string{colourBad, colourDim, colourOff} {
		text = strings.ReplaceAll(text, own, "")
	}
	if strings.ContainsRune(text, '\x1b') || !strings.Contains(text, `\u001b[5mmallory`) {
		t.Errorf("line %q", text)
	}
}
