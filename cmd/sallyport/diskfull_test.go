package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// testGatewayDiskFull fills the disk of a gateway's access log: nobody is let in until
// there is room, and then every request of the whole time has its record.
func testGatewayDiskFull(t *testing.T, s *stand) {
	dir := smallDisk(t, 512)
	ballast, name := filepath.Join(dir, "ballast"), filepath.Join(dir, "access.log")
	if err := os.WriteFile(ballast, make([]byte, 448<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	https, admin := free(t), free(t)
	config := gatewayYAML(https, admin, "access_log: {file: "+name+"}\n")
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, writeFile(t, t.TempDir(), "gateway.yaml", config))
	p.ready(t, admin)
	ask, asked := s.browser(t, https), map[string]int{}
	once := func() int {
		status := ask(http.MethodGet, "/saml/metadata", nil)
		asked[fmt.Sprint(status)]++
		return status
	}
	for asked["200"] < 500 && once() == http.StatusOK {
	}
	for range 20 {
		if status := once(); status != http.StatusServiceUnavailable {
			t.Errorf("somebody is let in while the disk is full: status %d", status)
		}
	}
	if status, body, err := get(admin, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "access log: ") || !strings.Contains(body, syscall.ENOSPC.Error()) {
		t.Errorf("/readyz: %d %q, %v", status, body, err)
	}
	checkMetrics(t, admin, "sallyport_ready 0", `sallyport_access_log_failing{sink="`)
	if p.told("access log cannot be written; nobody is let in") != 1 {
		t.Errorf("the alarm is told %d times, want once", p.told("access log cannot be written; nobody is let in"))
	}
	if err := os.Truncate(ballast, 0); err != nil {
		t.Fatal(err)
	}
	p.ready(t, admin)
	if status := once(); status != http.StatusOK {
		t.Errorf("when there is room again: status %d", status)
	}
	checkMetrics(t, admin, "sallyport_access_log_dropped_total 0")
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, expected 0\n%s", code, p.err.String())
	}
	if diff := cmp.Diff(asked, statusesOf(t, name)); diff != "" {
		t.Errorf("answers by status (-those that came +those on record):\n%s", diff)
	}
}

// statusesOf counts the records of requests by status, in a log that must be a whole
// chain from its start to its end.
func statusesOf(t *testing.T, name string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	statuses, previous, last := map[string]int{}, strings.Repeat("A", 43), ""
	sequence := uint64(0)
	for line := range strings.Lines(string(text)) {
		var record struct {
			Action string `json:"event.action"`
			Status int    `json:"http.response.status_code"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		sequence++
		seal, ok := accesslog.ParseSeal([]byte(line))
		if !ok || seal.Sequence != sequence || seal.Previous != previous {
			t.Fatalf("record %d breaks the chain: %s", sequence, line)
		}
		previous, last = accesslog.HashOf([]byte(line)), record.Action
		if record.Status != 0 {
			statuses[fmt.Sprint(record.Status)]++
		}
	}
	if last != string(accesslog.ActionLogEnd) {
		t.Errorf("the last record is %q", last)
	}
	return statuses
}

// smallDisk is a folder on a file system of its own, of that many KiB: a tmpfs in
// namespaces of its own, which needs no privilege, reached through a process in there.
func smallDisk(t *testing.T, kib int) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o "size=$1k" none "$2" && echo mounted && exec cat`, "sh", fmt.Sprint(kib), dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "mounted\n" {
		t.Fatalf("mounting a small disk: %q, %v", line, err)
	}
	return fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir)
}
