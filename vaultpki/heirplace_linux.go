package vaultpki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkPlace accepts a folder in memory that nobody else may write to.
func checkPlace(file string, unsafeOnDisk bool) error {
	dir := filepath.Dir(file)
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at its folder: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("folder %q: expected a folder", dir)
	}
	owner := -1
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = int(stat.Uid)
	}
	if err := judgeFolder(info.Mode(), owner, os.Geteuid()); err != nil {
		return fmt.Errorf("folder %q: %w", dir, err)
	}
	var system unix.Statfs_t
	if err := unix.Statfs(dir, &system); err != nil {
		return fmt.Errorf("asking for the file system of %q: %w", dir, err)
	}
	if kind := uint32(system.Type); kind != unix.TMPFS_MAGIC && kind != unix.RAMFS_MAGIC && !unsafeOnDisk { //nolint:gosec // magic numbers have 32 bits
		return fmt.Errorf("folder %q is not in memory (file system %#x): expected tmpfs or ramfs", dir, kind)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("folder %q: expected that this process may write there: %w", dir, err)
	}
	return nil
}

// judgeFolder accepts a folder in which nobody else can replace what is ours, but
// for root. In a sticky one others cannot, save its owner; and what they put there
// before us is refused for its owner.
func judgeFolder(mode fs.FileMode, owner, self int) error {
	if owner != self && owner != 0 {
		return fmt.Errorf("it belongs to user %d: expected %d, the user of this process, or root", owner, self)
	}
	if mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("it has mode %s: expected that only its owner may write there, or that it is sticky", mode.Perm())
	}
	return nil
}

// lockFile takes the lock that no two processes have; the kernel lets it go with
// the process.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := checkOwn(f); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another process has it: two processes cannot share an heir")
		}
		return nil, errors.Join(fmt.Errorf("lock %q: %w", path, err), f.Close())
	}
	return f, nil
}

// openOwn opens a file that is ours alone.
func openOwn(path string) (*os.File, error) {
	// A FIFO would block without O_NONBLOCK.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := checkOwn(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkOwn refuses a file that others may have written, or may read.
func checkOwn(f *os.File) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return err
	}
	switch {
	case stat.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("expected a regular file")
	case int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d: expected %d, the user of this process", stat.Uid, os.Geteuid())
	case stat.Mode&0o077 != 0:
		return fmt.Errorf("it has mode %#o: expected 0600", stat.Mode&0o777)
	}
	return nil
}
