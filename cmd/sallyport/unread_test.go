package main

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// testUnread has nobody read the access logs of a gateway and a sidecar: nobody is let in, and
// a stop is as orderly as ever.
func testUnread(t *testing.T, s *stand) {
	t.Run("gateway", func(t *testing.T) {
		t.Parallel()
		https, admin := free(t), free(t)
		p := s.startWith(t, unread(t), "gateway", "--role", gatewayRole, "--role-id", s.roleIDs[gatewayRole],
			"--wrapping-token-file", s.introduce(t, gatewayRole).file, "--config", writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(https, admin, "")))
		p.letsNobodyIn(t, admin)
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(t); code != exitOK {
			t.Errorf("exit code %d\n%s", code, p.err.String())
		}
	})
	t.Run("sidecar", func(t *testing.T) {
		t.Parallel()
		address, admin := free(t), free(t)
		config := "name: " + sidecarName + "\napp: http://" + address + "\nlisten: \"" + free(t) + "\"\nadmin: \"" + admin + "\"\nchild: {output: prefix}\n"
		ended := writeFile(t, t.TempDir(), "ended", "")
		p := s.startWith(t, unread(t), append(s.sidecarArgs(t, config), "--", "/bin/sh", "-c",
			"trap 'echo in order > "+ended+"; exit 0' TERM; echo waits > "+ended+"; echo a line; while :; do sleep 0.05; done")...)
		p.letsNobodyIn(t, admin)
		p.eventually(t, "the app waits for its end", func() (string, bool) { return read(t, ended), read(t, ended) == "waits\n" })
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(t); code != exitOK || read(t, ended) != "in order\n" {
			t.Errorf("exit code %d, and the app ended %q\n%s", code, read(t, ended), p.err.String())
		}
	})
}

// unread has a process write to a pipe that nobody reads.
func unread(t *testing.T) func(*process) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = reader.Close()
	t.Cleanup(func() { _ = writer.Close() })
	return func(p *process) { p.cmd.Stdout = writer }
}

// letsNobodyIn waits until it says that its access log cannot be written.
func (p *process) letsNobodyIn(t *testing.T, admin string) {
	t.Helper()
	p.eventually(t, "nobody is let in", func() (string, bool) {
		status, body, err := get(admin, "/readyz")
		if err != nil {
			return err.Error(), false
		}
		return body, status == http.StatusServiceUnavailable && strings.Contains(body, syscall.EPIPE.Error())
	})
}
