package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/sidecar/confine"
)

func TestWhatASidecarKeeps(t *testing.T) {
	load := func(more string) *config.Sidecar {
		cfg, err := config.LoadSidecar("sidecar.yaml", []byte("name: notes.backend.sallyport.internal\napp: http://127.0.0.1:3000\n"+more))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	flags := func(change func(*identityFlags)) *identityFlags {
		f := &identityFlags{method: "approle", wrappingFile: "/run/secrets/token"}
		f.address = "https://vault-1:8200,https://vault-2"
		change(f)
		return f
	}
	everybody := confine.Config{Read: hostFiles[:], Write: []string{"/dev/null"}, Bind: []uint16{8443, 9091}, Connect: []uint16{53, 3000, 8200, 443}}
	tests := map[string]struct {
		cfg         *config.Sidecar
		from        source
		flags       *identityFlags
		read, write []string
		connect     []uint16
	}{
		"a configuration in a folder": {
			load(""), "/etc/sallyport/sidecar.yaml", flags(func(*identityFlags) {}),
			[]string{"/etc/sallyport/sidecar.yaml", "/etc/sallyport"}, []string{"/run/secrets/token", "/run/secrets"}, nil,
		},
		"a configuration beside everything": {
			load(""), "/etc/sidecar.yaml", flags(func(f *identityFlags) { f.wrappingToken = "hvs.x" }), []string{"/etc/sidecar.yaml"}, nil, nil,
		},
		"a configuration in Vault": {
			load("confine: {read: [/srv/a], write: [/srv/b], connect: [8201]}"), "vault:secret/notes", flags(func(f *identityFlags) { f.method = "cert"; f.certFile = "/etc/vault/cert.pem" }),
			[]string{"/etc/vault/cert.pem", "/etc/vault", "/srv/a"}, []string{"/srv/b"}, []uint16{8201},
		},
		"a collector": {
			load("tracing: {endpoint: https://collector:4317, ca_file: /etc/otel/ca.pem}"), "vault:secret/notes", flags(func(f *identityFlags) { f.method, f.tokenFile = "token-file", "/run/agent/token" }),
			[]string{"/run/agent/token", "/run/agent", "/etc/otel/ca.pem", "/etc/otel"}, nil, []uint16{4317},
		},
		"a pod": {
			load(""), "vault:secret/notes", flags(func(f *identityFlags) { f.method = "kubernetes" }),
			[]string{"/var/run/secrets/kubernetes.io/serviceaccount", "/var/run/secrets/kubernetes.io/serviceaccount/token"}, nil, nil,
		},
		"an heir": {
			load(""), "vault:secret/notes", flags(func(f *identityFlags) { f.method, f.heirFile = "secret-id", "/run/heir/next" }), nil, []string{"/run/heir/next", "/run/heir"}, nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := confinement(test.cfg, test.from, test.flags)
			if err != nil {
				t.Fatal(err)
			}
			want := everybody
			want.Read, want.Write = slices.Concat(want.Read, test.read), slices.Concat(want.Write, test.write)
			want.Connect = slices.Concat(want.Connect, test.connect)
			for _, list := range [][]string{got.Read, want.Read, got.Write, want.Write} {
				slices.Sort(list)
			}
			slices.Sort(got.Connect)
			slices.Sort(want.Connect)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// testConfinement has a sidecar live on within its confinement, and meet its bounds.
func testConfinement(t *testing.T, s *stand) {
	_, appPort, _ := strings.Cut(free(t), ":")
	https, admin := free(t), free(t)
	yaml := func(more string) string {
		return fmt.Sprintf("name: %s\napp: http://127.0.0.1:%s\nlisten: %q\nadmin: %q\nrefresh: 1s\n%s", sidecarName, appPort, https, admin, more)
	}
	folder, elsewhere := t.TempDir(), t.TempDir()
	file := writeFile(t, folder, "sidecar.yaml", yaml(""))
	p := s.start(t, "sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole], "--wrapping-token-file", s.introduce(t, sidecarRole).file, "--config", file)
	p.ready(t, admin)
	if err := confine.Check(); err != nil {
		t.Logf("NOT TESTED in full: %v", err)
		p.eventually(t, "it says what is missing", func() (string, bool) {
			return p.err.String(), strings.Contains(p.err.String(), "confined less than wanted")
		})
	}
	if !strings.Contains(p.err.String(), `"msg":"confined"`) || !strings.Contains(p.err.String(), folder) {
		t.Errorf("it does not say what it keeps\n%s", p.err.String())
	}
	status := read(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if !strings.Contains(status, "NoNewPrivs:\t1") {
		t.Errorf("no_new_privs is not set\n%s", status)
	}
	checkMetrics(t, admin, "process_resident_memory_bytes") // of files below /proc

	replace := func(text string) { // as an editor does
		t.Helper()
		if err := os.Rename(writeFile(t, folder, "next", text), file); err != nil {
			t.Fatal(err)
		}
	}
	says := func(what string) {
		t.Helper()
		p.eventually(t, what, func() (string, bool) { return p.err.String(), strings.Contains(p.err.String(), what) })
	}
	replace(yaml("record_users: false\n"))
	says(`"msg":"new version in use"`)
	_, another, _ := strings.Cut(free(t), ":")
	replace(strings.ReplaceAll(yaml(""), ":"+appPort, ":"+another))
	says("it needs connecting to port " + another + ", from which this process has confined itself")
	replace(yaml("confine: {connect: [" + another + "]}\n"))
	says("confine")
	if confine.Check() != nil {
		return
	}
	// The kernel itself, and not our own reckoning:
	if err := os.Symlink(writeFile(t, elsewhere, "sidecar.yaml", yaml("")), filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(folder, "link"), file); err != nil {
		t.Fatal(err)
	}
	says("permission denied")
}

// testAppNotConfined has a confined sidecar start its application, twice: it has what its
// sidecar has given up.
func testAppNotConfined(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	folder, others := t.TempDir(), t.TempDir()
	secret := writeFile(t, others, "of-the-app", "the app's own\n")
	yaml := fmt.Sprintf("name: %s\napp: http://127.0.0.1:1\nlisten: %q\nadmin: %q\nchild: {restart: always, backoff: {first: 100ms}, check: {command: [/bin/cat, %s]}}\n", sidecarName, https, admin, secret)
	// In one line, between which and the next there may be records of the sidecar's.
	script := `echo "$(cat ` + secret + `) $(grep NoNewPrivs /proc/self/status) app $$"; exec sleep 1000`
	p := s.start(t, "sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole], "--wrapping-token-file", s.introduce(t, sidecarRole).file,
		"--config", writeFile(t, folder, "sidecar.yaml", yaml), "--", "/bin/sh", "-c", script)
	p.ready(t, admin)
	lines := regexp.MustCompile(`(?m)^the app's own NoNewPrivs:\t0 app (\d+)$`)
	started := func(times int) int {
		t.Helper()
		var found [][]string
		p.eventually(t, fmt.Sprintf("the app was started %d times", times), func() (string, bool) {
			found = lines.FindAllStringSubmatch(p.out.String(), -1)
			return p.out.String(), len(found) == times
		})
		pid, err := strconv.Atoi(found[times-1][1])
		if err != nil {
			t.Fatal(err)
		}
		if status := read(t, fmt.Sprintf("/proc/%d/status", pid)); !strings.Contains(status, fmt.Sprintf("PPid:\t%d\n", p.cmd.Process.Pid)) {
			t.Errorf("the app is no child of its sidecar\n%s", status)
		}
		return pid
	}
	if err := syscall.Kill(started(1), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	started(2)
	p.ready(t, admin)
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
}
