//go:build unix

package index

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// stampOf says which file info is of.
func stampOf(info fs.FileInfo) stamp {
	s := stamp{Size: info.Size(), Modified: info.ModTime().UnixNano()}
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		s.Device, s.Inode = uint64(system.Dev), system.Ino //nolint:unconvert // differs between systems
	}
	return s
}

// ownsAlone refuses a folder that others own or may look into: what they could write
// there would hide records, and the index says who has done what.
func ownsAlone(dir *os.Root) error {
	info, err := dir.Stat(".")
	if err != nil {
		return fmt.Errorf("opening the index: %w", err)
	}
	system, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !ok || int(system.Uid) != os.Geteuid() {
		return fmt.Errorf("opening the index: %s is %s, expected a folder of our own that nobody else may enter", dir.Name(), info.Mode())
	}
	return nil
}

// tryLock locks a file that nobody else has locked, and reports whether it did. The
// lock ends when the file is closed.
func tryLock(f *os.File) (bool, error) {
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err {
	case nil:
		return true, nil
	case unix.EWOULDBLOCK, unix.EINTR:
		return false, nil
	default:
		return false, fmt.Errorf("locking the index: %w", err)
	}
}
