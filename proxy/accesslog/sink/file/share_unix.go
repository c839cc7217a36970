//go:build unix

package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// share marks a file as one that is written to, for as long as it is open. errBusy if
// somebody has it for himself.
func share(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errBusy
	}
	return err
}

// claim opens a file to read, and has it for itself; errBusy if somebody writes to it.
func claim(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errBusy
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
