//go:build unix

// Package disk opens, makes and syncs the files that records are kept in. A name that
// leads elsewhere is not followed: whoever may write to a directory of a log could have it
// write over any file of the process's user.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Open is os.OpenFile for a file that is no symbolic link.
func Open(name string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW, mode)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%q is a symbolic link, expected the file itself: %w", name, err)
	}
	return f, err
}

// Create makes a file to write to and read from, in place of a leftover of that name.
// Nobody else makes it meanwhile.
func Create(name string, mode fs.FileMode) (*os.File, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
}

// SyncDir has the names in a directory outlive the machine, if it can be synced at all.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(Sync(d), d.Close())
}

// Sync has what was written to f outlive the machine. What cannot be synced, such as a
// pipe, needs none. After an error nobody knows which of it is on disk, and another Sync
// that succeeds says nothing of that: the system may have dropped what it could not write.
// It is to be written again before.
func Sync(f *os.File) error {
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
