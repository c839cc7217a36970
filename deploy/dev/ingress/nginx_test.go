package ingress

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// startNginx runs nginx with the file of deploy/ingress, as the holder of a certificate.
func startNginx(t *testing.T, s *stage, holder string) *front {
	t.Helper()
	at := free(t)
	conf := s.file("nginx.conf",
		"listen 443 ssl", "listen "+at+" ssl", "/etc/nginx/tls/ingress", filepath.Join(s.dir, holder), "/etc/nginx/tls", s.dir,
		"server gateway:8444", "server "+s.asked, "https://gateway:8443", "https://"+s.gateway, "http://grafana:3000", "http://"+s.tool,
		"events {}", "events {}\npid "+filepath.Join(s.dir, "pid")+";\ndaemon off;\nmaster_process off;\nerror_log stderr;",
		"http {", "http {\naccess_log off;\n"+tempPaths(s.dir))
	return s.run("nginx", at, "nginx", "-p", s.dir, "-c", conf, "-e", "stderr")
}

// tempPaths has nginx keep its files in dir.
func tempPaths(dir string) string {
	var lines strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		lines.WriteString(name + "_temp_path " + filepath.Join(dir, name) + ";\n")
	}
	return lines.String()
}

func TestNginxAsks(t *testing.T) { testFront(t, startNginx(t, newStage(t), "ingress")) }

// An ingress that cannot prove who it is learns nothing, and so lets nobody in.
func TestStrangersNginxLetsNobodyIn(t *testing.T) {
	s := newStage(t)
	f := startNginx(t, s, "stranger")
	res, _ := f.send("GET / HTTP/1.1", "Host: "+toolHost, "Cookie: "+f.cookie(toolHost, "alice@example.com", "engineers"))
	if res.StatusCode != http.StatusForbidden || len(f.toolPlain.seen()) > 0 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// A gateway that is not there lets nobody in either.
func TestNginxWithoutAGatewayLetsNobodyIn(t *testing.T) {
	s := newStage(t)
	s.asked = free(t)
	f := startNginx(t, s, "ingress")
	res, _ := f.send("GET / HTTP/1.1", "Host: "+toolHost, "Cookie: "+f.cookie(toolHost, "alice@example.com", "engineers"))
	if res.StatusCode < 500 || len(f.toolPlain.seen()) > 0 {
		t.Errorf("status %d", res.StatusCode)
	}
}
