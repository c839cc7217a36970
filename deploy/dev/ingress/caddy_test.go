package ingress

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startCaddy runs the Caddy of module deploy/dev/caddy, or the one that SALLYPORT_CADDY
// names.
func startCaddy(t *testing.T, s *stage) *front {
	t.Helper()
	program := os.Getenv("SALLYPORT_CADDY")
	if program == "" {
		var err error
		if program, err = filepath.Abs(filepath.Join("..", "..", "..", ".build", "caddy")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("no Caddy: run `make caddy` or set SALLYPORT_CADDY: %v", err)
	}
	at := free(t)
	conf := s.file("Caddyfile",
		"grafana.example.com {", "{\nadmin off\nauto_https disable_redirects\nskip_install_trust\n}\nhttps://grafana.example.com:"+at[strings.LastIndexByte(at, ':')+1:]+" {\nbind 127.0.0.1\ntls "+filepath.Join(s.dir, "grafana.pem")+" "+filepath.Join(s.dir, "grafana.key"),
		"/etc/caddy/tls", s.dir, "https://gateway:8444", "https://"+s.asked, "https://gateway:8443", "https://"+s.gateway, "http://grafana:3000", "http://"+s.tool)
	return s.run("caddy", at, program, "run", "--config", conf, "--adapter", "caddyfile")
}

func TestCaddyAsks(t *testing.T) { testFront(t, startCaddy(t, newStage(t))) }
