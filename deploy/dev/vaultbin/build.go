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

// vaultPackage is the main package of the server. The minimal tag leaves out the
// storage, auth and secrets plugins that neither the demo nor the tests use.
const vaultPackage = "github.com/hashicorp/vault"

// say reports progress. That nobody reads it is no reason to stop a build.
func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format, args...)
}

func buildFlags() []string {
	return []string{"-tags", "minimal", "-trimpath"}
}

// build compiles Vault into the file at path and reports progress on cfg.Out.
func build(ctx context.Context, cfg Config, path string) error {
	say(cfg.Out, "vault: none on PATH and none cached; building it from source.\n")
	say(cfg.Out, "vault: the first build on a machine takes minutes (about 8 on two cores) and is kept.\n")

	p := &progress{started: time.Now()}
	args := append([]string{"build", "-v", "-o", path}, buildFlags()...)
	cmd := exec.CommandContext(ctx, "go", append(args, vaultPackage)...) //nolint:gosec // our own arguments
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
		return fmt.Errorf("building Vault: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("building Vault: %w; the end of its output:\n%s", err, p.tail())
	}
	return nil
}

// progress reads the output of go build -v: one line per module that is fetched
// and one per package that is compiled. Safe for concurrent use.
type progress struct {
	started time.Time

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
	return fmt.Sprintf("vault: building, %s: %d modules downloaded, %d of ~1,900 packages built",
		time.Since(p.started).Round(time.Second), p.downloaded, p.compiled)
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
