package secrets

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// checkMemory accepts a folder whose file system is in memory alone.
func checkMemory(folder *os.File) error {
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(folder.Fd()), &system); err != nil {
		return fmt.Errorf("asking for the file system of its folder: %w", err)
	}
	if kind := uint32(system.Type); kind != unix.TMPFS_MAGIC && kind != unix.RAMFS_MAGIC { //nolint:gosec // magic numbers have 32 bits
		return fmt.Errorf("its folder is not in memory (file system %#x), expected tmpfs or ramfs", kind)
	}
	return nil
}
