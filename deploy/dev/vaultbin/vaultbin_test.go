package vaultbin

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// machine is a throw-away one: its PATH holds only what the test puts there, and
// its go command is a script that notes each build and writes a runnable "Vault",
// or what answers like a plugin of one.
type machine struct {
	bin, module, cache, builds string
}

func newMachine(t *testing.T) machine {
	t.Helper()
	dir := t.TempDir()
	m := machine{
		bin: filepath.Join(dir, "bin"), module: filepath.Join(dir, "module"),
		cache: filepath.Join(dir, "cache"), builds: filepath.Join(dir, "builds"),
	}
	for _, d := range []string{m.bin, m.module} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(m.module, "go.mod"), "module vault\n")
	write(t, filepath.Join(m.module, "go.sum"), "sums\n")
	t.Setenv("PATH", m.bin+":/bin:/usr/bin")
	m.goCommand(t, `case $4 in
*/vault-plugin-*) printf '#!/bin/sh\necho This binary is a plugin. >&2\nexit 1\n' >"$4" ;;
*) printf '#!/bin/sh\necho Vault v9.9.9\n' >"$4" ;;
esac
chmod +x "$4"`)
	return m
}

// goCommand installs the script; $4 is the output file of a build.
func (m machine) goCommand(t *testing.T, build string) {
	t.Helper()
	m.program(t, "go", `if [ "$1" = env ]; then echo go1.99; exit; fi
echo "$$" >>`+m.builds+`
echo 'go: downloading example.org/a v1.0.0' >&2
echo example.org/a >&2
`+build)
}

func (m machine) program(t *testing.T, name, script string) {
	t.Helper()
	write(t, filepath.Join(m.bin, name), "#!/bin/sh\n"+script+"\n")
}

func (m machine) config(out *bytes.Buffer) Config {
	return Config{ModuleDir: m.module, CacheDir: m.cache, Out: out}
}

func (m machine) built(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(m.builds)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(data), "\n")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestEnsurePrefersAServerOnPath(t *testing.T) {
	tests := []struct {
		name, program, answer, want string
	}{
		{"vault", "vault", "Vault v1.21.1 (abc)", "Vault v1.21.1 (abc)"},
		{"bao", "bao", "OpenBao v2.4.0", "OpenBao v2.4.0"},
		{"a stranger called vault is passed over", "vault", "password vault 3", "Vault v9.9.9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.program(t, tt.program, "echo '"+tt.answer+"'")
			got, err := Ensure(t.Context(), m.config(new(bytes.Buffer)))
			if err != nil {
				t.Fatal(err)
			}
			if got.Version != tt.want {
				t.Errorf("version %q, want %q", got.Version, tt.want)
			}
		})
	}
}

func TestEnsureBuildsOnceAndThenUsesTheCache(t *testing.T) {
	m := newMachine(t)
	var out bytes.Buffer
	first, err := Ensure(t.Context(), m.config(&out))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "takes minutes") {
		t.Errorf("the first build does not warn that it takes minutes:\n%s", &out)
	}
	second, err := Ensure(t.Context(), m.config(&out))
	if err != nil {
		t.Fatal(err)
	}
	if first.Path != second.Path || first.Origin != "built just now" || second.Origin != "cached build" {
		t.Errorf("first %+v, second %+v", first, second)
	}
	if n := m.built(t); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

func TestPluginIsBuiltOnceBesideTheServerOfItsVersion(t *testing.T) {
	for name, want := range map[string]struct{ file, said string }{
		"kubernetes": {"vault-plugin-auth-kubernetes", "Vault's Kubernetes auth method"},
		"mysql":      {"vault-plugin-database-mysql", "Vault's plugin for MySQL and MariaDB"},
		"postgresql": {"vault-plugin-database-postgresql", "Vault's plugin for PostgreSQL"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			server, err := Ensure(t.Context(), m.config(new(bytes.Buffer)))
			if err != nil {
				t.Fatal(err)
			}
			m.program(t, "vault", "echo Vault v1.0.0") // one on PATH brings no plugin along
			var first, second bytes.Buffer
			for _, out := range []*bytes.Buffer{&first, &second} {
				plugin, err := EnsurePlugin(t.Context(), m.config(out), name)
				if err != nil {
					t.Fatal(err)
				}
				if path := filepath.Join(filepath.Dir(server.Path), want.file); plugin.Path != path {
					t.Errorf("plugin at %s, want %s", plugin.Path, path)
				}
			}
			if !strings.Contains(first.String(), "plugin: building "+want.said) || second.Len() > 0 {
				t.Errorf("the build says %q, finding it again %q", &first, &second)
			}
			if n := m.built(t); n != 2 {
				t.Errorf("%d builds, want one of the server and one of the plugin", n)
			}
		})
	}
}

func TestPluginThatNobodyKnowsIsRefused(t *testing.T) {
	m := newMachine(t)
	if _, err := EnsurePlugin(t.Context(), m.config(new(bytes.Buffer)), "oracle"); err == nil || !strings.Contains(err.Error(), `found "oracle", expected one of`) {
		t.Errorf("error %v, expected one that names what there is", err)
	}
}

func TestPluginThatDoesNotAnswerAsOneIsRefused(t *testing.T) {
	tests := []struct{ name, build, want string }{
		{"a server", `printf '#!/bin/sh\necho Vault v9.9.9\n' >"$4"`, `answered "Vault v9.9.9"`},
		{"half a file", `printf '\177ELF' >"$4"`, "exec format error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.goCommand(t, tt.build+`; chmod +x "$4"`)
			_, err := EnsurePlugin(t.Context(), m.config(new(bytes.Buffer)), "kubernetes")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestEnsureBuildsAgainWhenItsRequirementsChange(t *testing.T) {
	m := newMachine(t)
	for _, sums := range []string{"one\n", "two\n"} {
		write(t, filepath.Join(m.module, "go.sum"), sums)
		if _, err := Ensure(t.Context(), m.config(new(bytes.Buffer))); err != nil {
			t.Fatal(err)
		}
	}
	if n := m.built(t); n != 2 {
		t.Errorf("%d builds, want 2", n)
	}
}

func TestEnsureBuildsOnceWhenTwoAskTogether(t *testing.T) {
	m := newMachine(t)
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		both.Go(func() { _, errs[i] = Ensure(t.Context(), m.config(new(bytes.Buffer))) })
	}
	both.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if n := m.built(t); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

func TestEnsureShowsTheCompilersWordsWhenTheBuildFails(t *testing.T) {
	m := newMachine(t)
	m.goCommand(t, "echo '# example.org/a' >&2; echo 'a.go:1: no such thing' >&2; exit 1")
	_, err := Ensure(t.Context(), m.config(new(bytes.Buffer)))
	if err == nil || !strings.Contains(err.Error(), "a.go:1: no such thing") {
		t.Errorf("error %v does not show the compiler's output", err)
	}
	left, globErr := filepath.Glob(filepath.Join(m.cache, "*", "vault*"))
	if globErr != nil || len(left) > 0 {
		t.Errorf("left in the cache: %q (%v)", left, globErr)
	}
}

func TestEnsureStopsWhenCancelled(t *testing.T) {
	m := newMachine(t)
	m.goCommand(t, "trap 'exit 1' INT; while :; do sleep 0.05; done")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := Ensure(ctx, m.config(new(bytes.Buffer)))
		ended <- err
	}()
	deadline := time.Now().Add(10 * time.Second)
	for m.built(t) == 0 && time.Now().Before(deadline) {
		<-time.After(10 * time.Millisecond) // a real process is being waited for
	}
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("error %v, want the cancellation", err)
	}
}

func TestProgressCountsWholeLines(t *testing.T) {
	p := &progress{label: "vault", packages: "~1,900", started: time.Now()}
	for _, piece := range []string{"go: downloading a v1\ngo: down", "loading b v2\nexample.org/a\n", "# example.org/b\nb.go:3:1: wrong\n"} {
		say(p, "%s", piece)
	}
	if p.downloaded != 2 || p.compiled != 1 {
		t.Errorf("%d downloaded, %d compiled, want 2 and 1", p.downloaded, p.compiled)
	}
	if got := p.String(); !strings.Contains(got, "2 modules downloaded, 1 of ~1,900 packages") {
		t.Errorf("progress line %q", got)
	}
	p.started, p.downloaded, p.compiled = time.Now().Add(-90*time.Minute), 1234, 1900
	if got := p.String(); len(got) > 80 {
		t.Errorf("progress line of %d characters: %s", len(got), got)
	}
}

func TestReportRewritesItsLineOnATerminal(t *testing.T) {
	p := &progress{started: time.Now()}
	var out bytes.Buffer
	p.report(&out, true)()
	if got := out.String(); got != "\r\x1b[K" {
		t.Errorf("terminal is left with %q, want a cleared line", got)
	}
}
