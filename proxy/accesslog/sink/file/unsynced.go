//go:build unix

package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

// After a sync that failed, the system may have dropped what it could not write, and the
// next sync succeeds without it. So what was written since the last one that succeeded is
// kept, and after a failure written again, to the very same places, before another counts.

// mostUnsynced is how much is kept at most; then it is synced, whoever asks for it.
const mostUnsynced = 8 << 20

// unsynced is what was written since the last sync that succeeded.
type unsynced struct {
	text    []byte
	parts   []part // where it stands in the file
	suspect bool   // a sync has failed since
	name    bool   // so has the name of the file, which is new
}

// part is some bytes in one place: others may write between.
type part struct{ at, length int64 }

// add keeps what was just appended to f.
func (u *unsynced) add(f *os.File, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	end, err := f.Seek(0, io.SeekCurrent) // where an append leaves it
	if err != nil {
		return err
	}
	u.text = append(u.text, text...)
	at, length := end-int64(len(text)), int64(len(text))
	if last := len(u.parts) - 1; last >= 0 && u.parts[last].at+u.parts[last].length == at {
		u.parts[last].length += length
		return nil
	}
	u.parts = append(u.parts, part{at, length})
	return nil
}

// clear forgets everything: it is on disk.
func (u *unsynced) clear() {
	u.text, u.parts, u.suspect = u.text[:0], u.parts[:0], false
}

// again writes everything once more to where it stands.
func (u *unsynced) again(f *os.File) error {
	fd := f.Fd()
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	// While it is appended to, Linux writes at the end, whatever the place.
	if _, err := unix.FcntlInt(fd, unix.F_SETFL, flags&^unix.O_APPEND); err != nil {
		return err
	}
	err = u.rewrite(int(fd))
	_, back := unix.FcntlInt(fd, unix.F_SETFL, flags)
	return errors.Join(err, back)
}

func (u *unsynced) rewrite(fd int) error {
	text := u.text
	for _, p := range u.parts {
		for at, end := p.at, p.at+p.length; at < end; {
			n, err := unix.Pwrite(fd, text[:end-at], at)
			if err != nil {
				return err
			}
			at += int64(n)
			text = text[n:]
		}
	}
	return nil
}

// flush syncs what is written to the file, and its name.
func (f *File) flush() error {
	if f.unsynced.suspect {
		if err := f.unsynced.again(f.f); err != nil {
			return fmt.Errorf("writing access log again, after a sync that failed: %w", err)
		}
	}
	if err := f.sync(f.f); err != nil {
		f.unsynced.suspect = true
		return fmt.Errorf("syncing access log: %w", err)
	}
	f.unsynced.clear()
	return f.flushName()
}

// flushName does that with the name of a file that is new.
func (f *File) flushName() error {
	if !f.unsynced.name {
		return nil
	}
	err := disk.SyncDir(filepath.Dir(f.cfg.Path))
	if errors.Is(err, fs.ErrPermission) { // who may not read it never can
		f.cfg.Log.Warn("directory of the access log cannot be synced", "sink", f.cfg.Name, "error", err)
	} else if err != nil {
		return fmt.Errorf("syncing directory of access log: %w", err)
	}
	f.unsynced.name = false
	return nil
}
