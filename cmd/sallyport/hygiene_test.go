package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// testSecretsStayInMemory takes a gateway through what it does in a life, puts
// secrets where they do not belong, and looks for them everywhere that somebody
// but the process could look.
func testSecretsStayInMemory(t *testing.T, s *stand) {
	home := t.TempDir()
	g := &liveGatewayTest{stand: s, https: free(t), admin: free(t), saml: s.saml, place: "cases/canary"}
	g.writeKV(t, g.place+"/saml", g.saml)
	g.writeKV(t, g.place+"/session", s.session)
	g.configure(t, g.yaml(notesRoute))
	intro := s.introduce(t, caseRole)
	g.p = s.startIn(t, home, "gateway", "--role", caseRole, "--role-id", s.roleIDs[caseRole],
		"--wrapping-token-file", intro.file, "--config", "vault:secret/"+g.place+"/gateway")
	g.p.ready(t, g.admin)

	shown := map[string]string{}
	see := func(host, path string) {
		status, body, err := g.ask(t, host, path)
		shown["https://"+host+path] = fmt.Sprint(status, body, err)
	}
	for _, path := range []string{"/", "/saml/metadata", "/saml/acs", "/.sallyport/sign_in?begin=x", "/.sallyport/whoami", "/nowhere", "/%00"} {
		see(doorHost, path)
		see(notesHost, path)
	}
	// Secrets in the wrong fields, for errors to quote.
	key, _ := g.newPair(t)
	for i, fields := range []map[string]string{
		with(g.saml, fieldIdPMetadata, key),
		with(g.saml, fieldSPCert, key),
		with(g.saml, fieldSPKey, strings.ReplaceAll(key, "PRIVATE", "SECRET")),
		with(g.saml, fieldSPKey+suffixNext, key),
	} {
		g.writeKV(t, g.place+"/saml", fields)
		g.refuses(t, g.place+"/saml", strconv.Itoa(i+2), "")
	}
	g.writeKV(t, g.place+"/session", with(s.session, fieldNextKey, "canary-session-key"))
	g.refuses(t, g.place+"/session", "2", "")
	g.configure(t, "door: {host: "+s.vault.RootToken+"}\n")
	g.refuses(t, g.place+"/gateway", "2", "")
	renew := s.start(t, "certificates", "renew", "--all", "--admin-url", "http://"+g.admin)
	renew.wait(t)
	for _, path := range []string{"/metrics", "/status", "/readyz", "/livez", "/debug/pprof/", "/debug/vars"} {
		status, body, err := get(g.admin, path)
		shown["admin"+path] = fmt.Sprint(status, body, err)
	}
	if !strings.HasPrefix(shown["admin/debug/pprof/"], "404") || !strings.HasPrefix(shown["admin/debug/vars"], "404") {
		t.Errorf("the admin listener shows what is in memory: %.100s", shown["admin/debug/pprof/"])
	}
	shown["log"], shown["access log"], shown["renew"] = g.p.err.String(), g.p.out.String(), renew.out.String()+renew.err.String()
	addProcess(t, g.p, shown)
	g.p.signal(t, syscall.SIGTERM)
	if code := g.p.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	addFiles(t, home, shown)

	secrets := append(g.secrets, s.vault.RootToken, s.session[fieldCurrentKey], s.saml[fieldSPKey], intro.token, "canary-session-key")
	for where, text := range shown {
		if what, found := leak(strings.ReplaceAll(text, "-----BEGIN CERTIFICATE", ""), secrets, s.roleIDs[caseRole]); found {
			t.Errorf("%s shows a secret, %s:\n%.2000s", where, what, text)
		}
	}
}

// addProcess adds what the kernel shows of a running process: its arguments, its
// environment, and what it has open, which must be no file but the given ones.
func addProcess(t *testing.T, p *process, shown map[string]string) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	for _, name := range []string{"cmdline", "environ"} {
		text, err := os.ReadFile(proc + name)
		if err != nil && os.Geteuid() == 0 { // nobody else may, which is the point
			t.Error(err)
		}
		shown[name] = string(text)
	}
	entries, err := os.ReadDir(proc + "fd")
	if err != nil {
		return // not ours to look at, nor anybody's but root's
	}
	for _, entry := range entries {
		target, err := os.Readlink(filepath.Join(proc, "fd", entry.Name()))
		if err == nil && strings.HasPrefix(target, "/") && !strings.HasPrefix(target, "/dev/") && !strings.HasPrefix(target, "/sys/") && !strings.HasPrefix(target, "/proc/") {
			t.Errorf("the process has a file open: %s", target)
		}
	}
}

// addFiles adds every file that was written into the process's only folder.
func addFiles(t *testing.T, home string, shown map[string]string) {
	t.Helper()
	err := filepath.WalkDir(home, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			text, readErr := os.ReadFile(path)
			shown["file "+path], err = string(text), readErr
			t.Errorf("the process wrote a file: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// startIn is start in a folder that is also the process's home and place for
// temporary files.
func (s *stand) startIn(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return s.startWith(t, func(p *process) {
		p.cmd.Dir = dir
		p.cmd.Env = append(p.cmd.Env, "HOME="+dir, "TMPDIR="+dir, "XDG_CACHE_HOME="+dir, "XDG_DATA_HOME="+dir)
	}, args...)
}
