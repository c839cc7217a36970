package main

import (
	"net/http"
	"testing"
	"time"
)

// testStartup prints how long a start takes, from a wrapping token to the first
// request that is served, and its steps as the process tells them. How long that
// is, is for a person to judge: machines differ.
func testStartup(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	file := writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(https, admin, ""))
	roots := s.roots(t, "pki-edge")
	for range 3 {
		intro := s.introduce(t, gatewayRole)
		g := &liveGatewayTest{stand: s, https: https, admin: admin, edge: roots}
		began := time.Now()
		g.p = s.startGateway(t, gatewayRole, intro.file, file)
		for {
			if status, _, err := g.ask(t, doorHost, "/saml/metadata"); err == nil && status == http.StatusOK {
				break
			}
			if time.Since(began) > patience {
				t.Fatalf("nothing is served\n%s", g.p.err.String())
			}
		}
		took := time.Since(began)
		found := false
		for _, line := range g.p.log() {
			if steps, ok := line.fields["startup"].(map[string]any); ok && line.Msg == "serving" {
				found = true
				t.Logf("from the process's start to the first request served %s; told by it: %v", took.Round(time.Millisecond), steps)
				if steps["login"] == nil || steps["secrets"] == nil || steps["certificates"] == nil || steps["all"] == nil {
					t.Errorf("a step is missing: %v", steps)
				}
			}
		}
		if !found {
			t.Errorf("the process does not tell how long its start took\n%s", g.p.err.String())
		}
		if err := g.p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-g.p.done
	}
}
