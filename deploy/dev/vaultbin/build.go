package vaultbin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// program is one of those that the module builds.
type program struct {
	name     string // of its file
	label    string // of what is said on Config.Out
	noun     string // what errors call it
	pkg      string // its main package
	packages string // about how many there are to build
	notice   string // what to expect of a build
	// ask runs the program and returns the first line of its answer, which proves
	// that it is whole and executable here: its presence alone does not.
	ask func(ctx context.Context, path string) (string, error)
}

// server is Vault itself. The minimal tag leaves out the storage, auth and secrets
// plugins that neither the demo nor most tests use.
func server() program {
	return program{
		name: "vault", label: "vault", noun: "Vault", pkg: "github.com/hashicorp/vault", packages: "~1,900", ask: askVersion,
		notice: "none on PATH and none cached; building it from source.\n" +
			"vault: the first build on a machine takes minutes (about 8 on two cores) and is kept.",
	}
}

// plugins are what the tests have a server run that was built without them: the
// Kubernetes auth method and two databases. Each shares most packages with the
// server, and so its build cache.
func plugins() map[string]program {
	const module = "github.com/hashicorp/vault"
	return map[string]program{
		"kubernetes": plugin("vault-plugin-auth-kubernetes", "Vault's Kubernetes auth method", module+"-plugin-auth-kubernetes/cmd/vault-plugin-auth-kubernetes"),
		"mysql":      plugin("vault-plugin-database-mysql", "Vault's plugin for MySQL and MariaDB", module+"/plugins/database/mysql/mysql-database-plugin"),
		"postgresql": plugin("vault-plugin-database-postgresql", "Vault's plugin for PostgreSQL", module+"/plugins/database/postgresql/postgresql-database-plugin"),
	}
}

func plugin(name, noun, pkg string) program {
	return program{
		name: name, label: "plugin", noun: noun, pkg: pkg, packages: "~700", ask: askPlugin,
		notice: "building " + noun + " (seconds after Vault's own build, else minutes).",
	}
}

// say reports progress. That nobody reads it is no reason to stop a build.
func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format, args...)
}

func buildFlags() []string {
	return []string{"-tags", "minimal", "-trimpath"}
}

// build compiles what into the file at path and reports progress on cfg.Out.
func build(ctx context.Context, cfg Config, what program, path string) error {
	say(cfg.Out, "%s: %s\n", what.label, what.notice)

	p := &progress{label: what.label, packages: what.packages, started: time.Now()}
	args := append([]string{"build", "-v", "-o", path}, buildFlags()...)
	cmd := exec.CommandContext(ctx, "go", append(args, what.pkg)...) //nolint:gosec // our own arguments
	cmd.Dir = cfg.ModuleDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	cmd.Stdout, cmd.Stderr = p, p
	// An interrupted go command removes its own temporary files; a killed one cannot.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second

	stop := p.report(cfg.Out, cfg.Terminal)
	err := cmd.Run()
	stop()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("building %s: %w", what.noun, ctx.Err())
	case err != nil:
		return fmt.Errorf("building %s: %w; the end of its output:\n%s", what.noun, err, p.tail())
	}
	return nil
}

// progress reads the output of go build -v: one line per module that is fetched
// and one per package that is compiled. Safe for concurrent use.
type progress struct {
	label    string
	packages string // about how many there are
	started  time.Time

	mu         sync.Mutex
	partial    []byte   // a line whose end has not come yet
	downloaded int      // modules
	compiled   int      // packages
	last       []string // the newest lines, for the error message
}

const tailLines = 25

// Write implements io.Writer. It never fails.
func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partial = append(p.partial, b...)
	for {
		line, rest, whole := bytes.Cut(p.partial, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		p.line(string(line))
		p.partial = rest
	}
}

// line counts one line. Compiler messages have spaces or a leading '#'; import
// paths have neither.
func (p *progress) line(s string) {
	switch {
	case strings.HasPrefix(s, "go: downloading "):
		p.downloaded++
	case s != "" && !strings.ContainsAny(s, " \t#"):
		p.compiled++
	}
	p.last = append(p.last, s)
	if len(p.last) > tailLines {
		p.last = p.last[1:]
	}
}

func (p *progress) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "\n")
}

// String is the progress line. It fits into 80 columns: a terminal rewrites one row.
func (p *progress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%s: building, %s: %d modules downloaded, %d of %s packages built",
		p.label, time.Since(p.started).Round(time.Second), p.downloaded, p.compiled, p.packages)
}

// report writes the progress line to out until stop is called: every second in
// place on a terminal, else every 15 seconds on a line of its own.
func (p *progress) report(out io.Writer, terminal bool) (stop func()) {
	every, format := 15*time.Second, "%s\n"
	if terminal {
		every, format = time.Second, "\r\x1b[K%s"
	}
	ended := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				say(out, format, p)
			}
		}
	})
	return func() {
		close(ended)
		done.Wait()
		if terminal {
			say(out, "\r\x1b[K")
		}
	}
}
