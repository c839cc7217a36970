// Package vaultbin finds a Vault server to run in the demo and in the tests, and
// builds one when the machine has none. For the tests it builds plugins, too, which
// the server that it builds does without: the Kubernetes auth method, and those of
// the database engine for MySQL and for PostgreSQL.
//
// It prefers what the operator already has: a vault or bao on PATH, asked for its
// version before it is believed. Otherwise it builds the module next to it (fixed
// version, fixed sums, see deploy/dev/vault) and keeps the binary in the user's
// cache directory, under a key made of everything that goes into it, so that the
// minutes of the first build are paid once per machine and not once per clone.
//
// It is for development only: nothing here is part of the product, and the
// server that it builds is Vault's own, under Vault's own licence.
package vaultbin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Config says where to look and where to report. It is not modified.
type Config struct {
	ModuleDir string    // the module that builds Vault; required
	CacheDir  string    // where built binaries are kept; required, made if absent
	Out       io.Writer // progress, in whole lines unless Terminal is set; required
	Terminal  bool      // Out is a terminal: the progress line is rewritten in place
}

// Binary is a program that answered when it was asked what it is.
type Binary struct {
	Path    string // absolute
	Version string // first line of a server's answer, e.g. "Vault v1.21.1 (…)"
	Origin  string // how it was found: "from PATH", "cached build", "built just now"
}

// Ensure returns a Vault server, building it if it must. It blocks for minutes in
// that case, and while another process builds the same one. A cancelled ctx stops
// the build and leaves nothing half-made in the cache.
func Ensure(ctx context.Context, cfg Config) (Binary, error) {
	if found, ok := onPath(ctx); ok {
		return found, nil
	}
	return cached(ctx, cfg, server())
}

// EnsurePlugin returns one of Vault's plugins, kubernetes, mysql or postgresql, at the
// version that belongs to the server of Ensure, building it if it must: as Ensure does,
// but whatever is on PATH. All lie in one folder, which may be a server's
// plugin_directory.
func EnsurePlugin(ctx context.Context, cfg Config, name string) (Binary, error) {
	what, known := plugins()[name]
	if !known {
		return Binary{}, fmt.Errorf("looking for a plugin: found %q, expected one of %q", name, slices.Sorted(maps.Keys(plugins())))
	}
	return cached(ctx, cfg, what)
}

// onPath asks vault, then bao. A program of that name that does not answer like a
// server of either kind is passed over: some machines have a wrapper there.
func onPath(ctx context.Context) (Binary, bool) {
	for _, name := range []string{"vault", "bao"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if version, err := askVersion(ctx, path); err == nil {
			return Binary{Path: path, Version: version, Origin: "from PATH"}, true
		}
	}
	return Binary{}, false
}

// askVersion asks a server what it is.
func askVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "", fmt.Errorf("asking %s for its version: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if !strings.HasPrefix(line, "Vault v") && !strings.HasPrefix(line, "OpenBao v") {
		return "", fmt.Errorf("asking %s for its version: answered %q, which is neither Vault nor OpenBao", path, line)
	}
	return strings.TrimSpace(line), nil
}

// askPlugin runs a plugin, which tells everybody but a Vault what it is and fails.
func askPlugin(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path).CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		return "", fmt.Errorf("asking %s what it is: %w", path, err)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if !strings.HasPrefix(line, "This binary is a plugin") {
		return "", fmt.Errorf("asking %s what it is: answered %q, which is no plugin's answer", path, line)
	}
	return line, nil
}

func goVersion(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("asking go for its version: %w", err)
	}
	return strings.Join(strings.Fields(string(out)), " "), nil
}
