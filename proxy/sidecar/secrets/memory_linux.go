package secrets

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkMemory accepts a folder whose file system is in memory alone.
func checkMemory(folder *os.File) error {
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(folder.Fd()), &system); err != nil {
		return fmt.Errorf("asking for the file system of its folder: %w", err)
	}
	kind := uint32(system.Type) //nolint:gosec // magic numbers have 32 bits
	if kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC {
		return nil
	}
	name, known := disks[kind]
	if !known {
		name = fmt.Sprintf("a file system of type %#x", kind)
	}
	return fmt.Errorf("its folder is not in memory but on %s, expected tmpfs or ramfs", name)
}

// disks are the file systems that a folder is on by mistake.
var disks = map[uint32]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.F2FS_SUPER_MAGIC: "f2fs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay, the container's own file system", unix.NFS_SUPER_MAGIC: "nfs", zfsMagic: "zfs",
}

// zfsMagic is of ZFS, which is no part of the kernel.
const zfsMagic = 0x2fc12fc1

// checkWritable accepts a folder in which this process may make files.
func checkWritable(folder *os.File) error {
	err := unix.Faccessat(int(folder.Fd()), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	if err == nil {
		return nil
	}
	return fmt.Errorf("the process, with user %d and group %d, may not write to its folder: %w", os.Geteuid(), os.Getegid(), err)
}

// ownerOf is the user to whom a file or folder belongs; -1 if that cannot be told.
func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}
