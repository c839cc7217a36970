//go:build unix

package file

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
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

// How often a lock is asked for, and how long is waited between: what is done under it
// takes milliseconds, and nobody may hold up the log by it.
const (
	lockTries = 200
	lockPause = 10 * time.Millisecond
)

// alone does something while no other process of ours renames, opens, claims or removes
// files of a log. What is done is short. Where no lock can be had, it is done without. The
// lock is nobody else's: whoever may only read the log could hold it for ever.
func alone(path string, do func() error) error {
	dir, name := filepath.Split(path)
	lock, err := os.OpenFile(filepath.Join(dir, "."+name+".lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err == nil {
		defer lock.Close()
		_ = lock.Chmod(0o600) // of an earlier version; if it cannot be, somebody else owns it
		for range lockTries {
			if err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil || !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
				break
			}
			<-time.After(lockPause)
		}
	}
	return do()
}

// claim opens a file to read, and has it for itself; errBusy if somebody writes to it, or
// has put another in its place meanwhile.
func claim(path string) (*os.File, error) {
	f, err := disk.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	if err := own(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// setTime sets when an open file was written last.
func setTime(f *os.File, at time.Time) error {
	stamp := unix.NsecToTimeval(at.UnixNano())
	return unix.Futimes(int(f.Fd()), []unix.Timeval{stamp, stamp})
}

// own has an open file for itself, and sees to it that it is still the one at the path:
// as long as it is locked, nobody puts another there.
func own(f *os.File, path string) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errBusy
		}
		return err
	}
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(opened, now) {
		return errBusy
	}
	return nil
}
