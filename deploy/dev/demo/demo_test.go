package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

// environment is what getenv finds.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, pair := range pairs {
			if key, value, _ := strings.Cut(pair, "="); key == name {
				return value
			}
		}
		return ""
	}
}

func TestSettings(t *testing.T) {
	metadata := filepath.Join(t.TempDir(), "idp.xml")
	if err := os.WriteFile(metadata, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Dir(program)
	tests := []struct {
		name    string
		env     []string
		want    settings
		problem string
	}{
		{"nothing given", nil, settings{Bin: bin, State: filepath.Join(filepath.Dir(bin), ".demo"), Port: 8443}, ""},
		{"everything given", []string{"DEMO_PORT=9443", "DEMO_STATE=/tmp/x", "DEMO_IDP_METADATA=" + metadata},
			settings{Bin: bin, State: "/tmp/x", Port: 9443, IdPMetadata: metadata}, ""},
		{"a port that is no number", []string{"DEMO_PORT=https"}, settings{}, `"https"`},
		{"a port without room above", []string{"DEMO_PORT=65530"}, settings{}, "1 to 65525"},
		{"port nought", []string{"DEMO_PORT=0"}, settings{}, `"0"`},
		{"metadata that is not there", []string{"DEMO_IDP_METADATA=/nowhere"}, settings{}, "/nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readSettings(environment(tt.env...))
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("error %v, want one with %s", err, tt.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortsAreDistinctAndInRange(t *testing.T) {
	set := settings{Port: 9443}
	seen := make(map[int]string)
	for _, use := range set.portUses() {
		if other, twice := seen[use.port]; twice {
			t.Errorf("port %d is for %s and for %s", use.port, other, use.purpose)
		}
		seen[use.port] = use.purpose
		if use.port < set.Port || use.port >= set.Port+portCount {
			t.Errorf("port %d, for %s, is outside of what is announced", use.port, use.purpose)
		}
	}
	if len(seen) != portCount {
		t.Errorf("%d ports, %d announced", len(seen), portCount)
	}
}

func TestTakenPortNamesWhatItIsForAndWhoHasIt(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	err = checkPorts(t.Context(), []portUse{{port, "Vault"}})
	for _, want := range []string{strconv.Itoa(port), "for Vault", "process " + strconv.Itoa(os.Getpid()), "DEMO_PORT"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
	ln.Close()
	if err := checkPorts(t.Context(), []portUse{{port, "Vault"}}); err != nil {
		t.Errorf("a free port: %v", err)
	}
}

func TestStateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	release, err := prepareState(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v; want 0700", info.Mode(), err)
	}
	if _, err := prepareState(dir); err == nil || !strings.Contains(err.Error(), "another demo") {
		t.Errorf("while it is in use: error %v", err)
	}
	old, stays := filepath.Join(dir, "log", "old.log"), filepath.Join(dir, "vault", "storage.json")
	for _, path := range []string{old, stays} {
		if err := save(path, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	release()
	release, err = prepareState(dir)
	if err != nil {
		t.Fatalf("the second time: %v", err)
	}
	defer release()
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the log of an earlier demo is there: %v", err)
	}
	if _, err := os.Stat(stays); err != nil {
		t.Errorf("what Vault holds is gone: %v", err)
	}
}

func TestStorageIsKeptForTheSameServerOnly(t *testing.T) {
	made := storage{Server: "Vault", UnsealKey: "key", RootToken: "token"}
	tests := []struct {
		name, server string
		content      string // of the file that is kept; "" for what was saved
		kept         bool
	}{
		{"the same server", "Vault", "", true},
		{"another server", "OpenBao", "", false},
		{"a file that is torn", "Vault", "{", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := settings{State: t.TempDir()}
			file := filepath.Join(set.raftDir(), "vault.db")
			if err := errors.Join(os.MkdirAll(set.raftDir(), 0o700), save(file, nil), set.saveStorage(made)); err != nil {
				t.Fatal(err)
			}
			if tt.content != "" {
				if err := save(set.storageFile(), []byte(tt.content)); err != nil {
					t.Fatal(err)
				}
			}
			got, kept, err := set.readStorage(tt.server)
			if err != nil || kept != tt.kept {
				t.Fatalf("kept: %v, error %v; want kept: %v", kept, err, tt.kept)
			}
			if kept && got != made {
				t.Errorf("got %+v, want %+v", got, made)
			}
			if _, err := os.Stat(file); (err == nil) != tt.kept {
				t.Errorf("the storage: %v, want it kept: %v", err, tt.kept)
			}
		})
	}
}

func TestStateFolderOfSomebodyElseIsRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := prepareState(dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

// TestConfigurationIsGood has the product judge what the demo writes for it.
func TestConfigurationIsGood(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "sallyport")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/sallyport")
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building sallyport: %v\n%s", err, out)
	}
	set := settings{State: filepath.Join(dir, "a folder with spaces"), Port: 9443}
	release, err := prepareState(set.State)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := set.writeFiles(); err != nil {
		t.Fatal(err)
	}
	checks := [][]string{{"check", "--config", set.in("gateway.yaml")}}
	for _, tool := range set.tools() {
		checks = append(checks, []string{"check", "--sidecar", "--config", set.sidecarFile(tool)})
	}
	for _, args := range checks {
		if out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput(); err != nil {
			t.Errorf("sallyport %q: %v\n%s", args, err, out)
		}
	}
}

func TestReadyLines(t *testing.T) {
	built := settings{Bin: "/b", State: "/s", Port: 8443}
	own := built
	own.IdPMetadata = "/corp/idp.xml"
	tests := []struct {
		name  string
		set   settings
		has   []string
		lacks []string
	}{
		{"with the built-in identity provider", built, []string{
			"\nready: https://door.sallyport.localhost:8443/\n",
			"alice  password alice-pw", "bob    password bob-pw", "opens headers, notes", "opens headers\n", "erin   password erin-pw", "opens the audit page: https://door.sallyport.localhost:8443/.sallyport/audit\n",
			"/b/sallyport saml trace --admin-url http://127.0.0.1:8446 ", "/b/sallyport audit verify --vault --token-file ", "/s/gateway.yaml", "/s/ca.pem", "https://127.0.0.1:8445", "root token the-token", "gateway.log", "sidecar-notes.log", "kill " + strconv.Itoa(os.Getpid()),
		}, []string{"give it"}},
		{"with another one", own, []string{"/corp/idp.xml", "https://door.sallyport.localhost:8443/saml/metadata"}, []string{"alice-pw", "idp.log"}},
		{"on the usual port", settings{Port: 443}, []string{"\nready: https://door.sallyport.localhost/\n"}, []string{":443/"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			newReporter(&out).ready(tt.set, "the-token")
			for _, want := range tt.has {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in:\n%s", want, &out)
				}
			}
			for _, no := range tt.lacks {
				if strings.Contains(out.String(), no) {
					t.Errorf("%q is in:\n%s", no, &out)
				}
			}
		})
	}
}

// newTestStack is a stack in a folder of its own, with nothing running.
func newTestStack(t *testing.T) (s *stack, out *bytes.Buffer, ctx context.Context) {
	t.Helper()
	set := settings{State: filepath.Join(t.TempDir(), "state"), Port: 9443}
	release, err := prepareState(set.State)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	out = new(bytes.Buffer)
	s = newStack(set, out, cancel)
	t.Cleanup(s.killAll)
	return s, out, ctx
}

func startShell(t *testing.T, s *stack, name, script string) {
	t.Helper()
	if _, err := s.start(process.Spec{Name: name, Path: "/bin/sh", Args: []string{"-c", script}}); err != nil {
		t.Fatal(err)
	}
}

// waitForFile waits until a child has made the file.
func waitForFile(t *testing.T, path string) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("nobody made %s", path)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestStackStopsInOrder(t *testing.T) {
	s, _, _ := newTestStack(t)
	order := filepath.Join(s.set.State, "order")
	// vault is started again last, as after a restart.
	for _, name := range []string{"idp", "app", "sidecar", "gateway", "vault"} {
		up := filepath.Join(s.set.State, name+".up")
		startShell(t, s, name, "trap 'echo "+name+" >>"+order+"; exit 0' TERM; touch "+up+"; while :; do sleep 0.02; done")
		waitForFile(t, up)
	}
	if err := s.stopAll(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(order)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("gateway\nsidecar\napp\nidp\nvault\n", string(got)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestStackEndsWhenAChildDoes(t *testing.T) {
	s, _, ctx := newTestStack(t)
	startShell(t, s, "sidecar-notes", "echo something is wrong >&2; exit 11")
	<-ctx.Done()
	err := context.Cause(ctx)
	for _, want := range []string{"sidecar-notes", "exit status 11", "something is wrong", "sidecar-notes.log"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if err := s.stopAll(); err != nil {
		t.Errorf("stopping what is left: %v", err)
	}
}

func TestStackSaysWhichChildStoppedBadly(t *testing.T) {
	s, _, _ := newTestStack(t)
	up := filepath.Join(s.set.State, "up")
	startShell(t, s, "gateway", "trap 'exit 3' TERM; touch "+up+"; while :; do sleep 0.02; done")
	waitForFile(t, up)
	if err := s.stopAll(); err == nil || !strings.Contains(err.Error(), "stopping gateway: exit status 3") {
		t.Errorf("error %v", err)
	}
}

func TestChildrenGetASmallEnvironment(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "somebody's own")
	t.Setenv("HTTPS_PROXY", "http://proxy.example")
	for _, pair := range baseEnvironment() {
		if strings.HasPrefix(pair, "VAULT_") || strings.HasPrefix(pair, "HTTPS_") {
			t.Errorf("children get %s", pair)
		}
	}
}
