package vaultbin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// cacheKey covers everything that decides what the binary is: the module's
// requirements and sums, the toolchain with its target, and the build flags.
func cacheKey(moduleDir, goVersion string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(moduleDir, name))
		if err != nil {
			return "", fmt.Errorf("reading the Vault build module: %w", err)
		}
		say(sum, "%s %d\n%s", name, len(data), data)
	}
	say(sum, "%s\n%q\n", goVersion, buildFlags())
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// cached returns what is wanted, building it under the cache's lock when it is
// missing or does not run.
func cached(ctx context.Context, cfg Config, what program) (Binary, error) {
	goVersion, err := goVersion(ctx, cfg.ModuleDir)
	if err != nil {
		return Binary{}, err
	}
	key, err := cacheKey(cfg.ModuleDir, goVersion)
	if err != nil {
		return Binary{}, err
	}
	dir := filepath.Join(cfg.CacheDir, "vault-"+key)
	path := filepath.Join(dir, what.name)
	if version, err := what.ask(ctx, path); err == nil {
		return Binary{Path: path, Version: version, Origin: "cached build"}, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return Binary{}, fmt.Errorf("making the cache folder: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"), cfg.Out)
	if err != nil {
		return Binary{}, err
	}
	defer unlock()

	// Whoever held the lock before us may have built it meanwhile.
	if version, err := what.ask(ctx, path); err == nil {
		return Binary{Path: path, Version: version, Origin: "cached build"}, nil
	}
	if err := buildInto(ctx, cfg, what, path); err != nil {
		return Binary{}, err
	}
	version, err := what.ask(ctx, path)
	if err != nil {
		return Binary{}, err
	}
	return Binary{Path: path, Version: version, Origin: "built just now"}, nil
}

// buildInto builds next to path and renames, so that path is either absent or whole.
func buildInto(ctx context.Context, cfg Config, what program, path string) error {
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(tmp) //nolint:errcheck // it is gone after a build that went well
	if err := build(ctx, cfg, what, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("putting %s in place: %w", what.noun, err)
	}
	return nil
}

// lock takes an advisory lock on the file at path, which the kernel releases when
// the process ends, however it ends. It says on out when it has to wait.
func lock(ctx context.Context, path string, out io.Writer) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the build lock: %w", err)
	}
	for told := false; ; told = true {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			file.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
		if !told {
			say(out, "vault: another build of the same Vault is running; waiting for it\n")
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("waiting for the build lock: %w", ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}
