package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// testUpstreams looks at a process whose tool has two sidecars that are not there:
// it finds out without anybody asking for the tool, says so, stays ready, and
// forgets nothing of it when something else changes.
func testUpstreams(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	text := func(title, urls, drain string) string {
		return fmt.Sprintf(`door: {host: %s}
listen: {https: "%s", admin: "%s"}
vault: {refresh: 1s}
routes:
  - name: notes
    title: %s
    host: %s
    backend: {urls: [%s], drain: [%s], name: %s, health: {path: /, interval: 1s, timeout: 500ms, unhealthy: 1}}
    allow: {any_signed_in: true}
`, doorHost, https, admin, title, notesHost, urls, drain, sidecarName)
	}
	const one, two = `"https://127.0.0.1:1"`, `"https://127.0.0.1:2"`
	file := writeFile(t, t.TempDir(), "gateway.yaml", text("One", one+", "+two, ""))
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, file)
	p.ready(t, admin)
	live := &liveGatewayTest{stand: s, p: p, https: https, admin: admin}
	var before []upstreamState
	p.eventually(t, "both are known to be down", func() (string, bool) {
		before = live.status(t).Upstreams
		return fmt.Sprint(before), len(before) == 2 && before[0].State == "down" && before[1].State == "down"
	})
	if up := before[0]; up.Route != "notes" || up.Address != "127.0.0.1:1" || !strings.Contains(up.Cause, "connection refused") {
		t.Errorf("the first is %+v", up)
	}
	if status, body, err := get(admin, "/readyz"); status != http.StatusOK {
		t.Errorf("a tool that is down makes the gateway unready: %d %q, %v", status, body, err)
	}
	if _, body, err := get(admin, "/metrics"); err != nil || !strings.Contains(body, `sallyport_upstream_healthy{route="notes",upstream="127.0.0.1:2"} 0`) {
		t.Errorf("the metrics do not say that an upstream is down: %v", err)
	}
	if !strings.Contains(p.err.String(), "backend fails its probes and is left out") {
		t.Error("the log does not say that an upstream is down")
	}
	change := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change(text("Two", one+", "+two, one))
	p.eventually(t, "one is draining, and the other as it was", func() (string, bool) {
		now := live.status(t).Upstreams
		return fmt.Sprint(now), len(now) == 2 && now[0].State == "draining" && now[1] == before[1]
	})
	change(text("Three", two, ""))
	p.eventually(t, "one is gone, and the other as it was", func() (string, bool) {
		now := live.status(t).Upstreams
		return fmt.Sprint(now), len(now) == 1 && now[0] == before[1]
	})
}
