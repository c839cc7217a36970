//go:build unix

package file

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever may read the log may not hold it up: the lock beside it is the owner's alone, and
// one that is held is not waited for without an end.
func TestTheLockIsNobodyElses(t *testing.T) {
	dir := t.TempDir()
	path, lock := filepath.Join(dir, "access.log"), filepath.Join(dir, ".access.log.lock")
	if err := os.WriteFile(lock, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(lock)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	done := false
	if err := alone(path, func() error { done = true; return nil }); err != nil || !done {
		t.Errorf("done %t, %v", done, err)
	}
	if info, err := os.Stat(lock); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
