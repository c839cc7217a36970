package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

const (
	// stampFormat is how the time of a rotation stands in the name of an old file: names
	// are in order as times are.
	stampFormat = "20060102T150405.000Z"
	compressed  = ".gz"
)

// rotate renames the file and begins a new one. If that cannot be done, the file that
// there is grows on: no record waits for it.
func (f *File) rotate(now time.Time) {
	var target string
	err := f.alone(func() (err error) {
		if info, err := os.Stat(f.cfg.Path); err != nil || !f.is(info) {
			return f.reopen() // another process was faster
		}
		if target, err = f.setAside(now); err != nil {
			return err
		}
		f.reached("renamed")
		if err = f.reopen(); err != nil {
			err = errors.Join(err, os.Rename(target, f.cfg.Path))
		}
		return err
	})
	if err == nil && target == "" {
		return
	}
	if err != nil {
		f.failed.Store(&err)
		f.again = now.Add(tryAgain)
		f.cfg.Log.Warn("access log cannot be rotated; it grows", "sink", f.cfg.Name, "error", err)
		return
	}
	f.failed.Store(nil)
	f.reached("begun")
	f.cfg.Log.Info("access log rotated", "sink", f.cfg.Name, "file", target)
}

// setAside renames the file to a name that nobody has.
func (f *File) setAside(now time.Time) (target string, err error) {
	for {
		target = f.cfg.Path + "-" + now.UTC().Format(stampFormat)
		held, err := reserve(target)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, errBusy) {
			now = now.Add(time.Millisecond)
			continue
		}
		if err != nil {
			return "", fmt.Errorf("rotating access log: %w", err)
		}
		f.reached("reserved")
		err = os.Rename(f.cfg.Path, target)
		if err != nil {
			err = errors.Join(fmt.Errorf("rotating access log: %w", err), os.Remove(target))
		}
		_ = held.Close() // is empty
		return target, err
	}
}

// reserve holds a name by an empty file: a rename would replace one with records. It is
// marked as one that is written to, so that nobody takes it for a leftover and removes
// what is renamed to it.
func reserve(name string) (*os.File, error) {
	held, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640) //nolint:gosec // as the log itself
	if err != nil {
		return nil, err
	}
	if err := share(held); err != nil {
		return nil, errors.Join(err, held.Close()) // whoever has it removes it
	}
	// Looked for last: what had the name a moment ago may have become an archive.
	if _, err := os.Lstat(name + compressed); err == nil {
		return nil, errors.Join(fs.ErrExist, os.Remove(name), held.Close())
	}
	return held, nil
}

// old is a file that was rotated.
type old struct {
	path    string // without compressed
	at      time.Time
	plain   bool // there is one that is not compressed
	archive bool // there is one that is
}

// Old returns the files that were rotated from a path and are still there, the oldest
// first: what to read before the file itself. One that is just being compressed is
// returned once, as it was.
func Old(path string) ([]string, error) {
	all, err := listOld(path)
	if err != nil {
		return nil, fmt.Errorf("looking for old access logs: %w", err)
	}
	names := make([]string, len(all))
	for i, o := range all {
		if names[i] = o.path; !o.plain {
			names[i] += compressed
		}
	}
	return names, nil
}

// LastOf names the last whole record of a file, or, while that has none, of what was
// rotated from it last; nil if there is none, or only in an archive.
func LastOf(path string) (*accesslog.Head, error) {
	last, err := accesslog.LastOf(path)
	if err != nil || last != nil {
		return last, err
	}
	all, err := listOld(path)
	if err != nil { // may not be looked into: then nobody can say
		return nil, nil //nolint:nilnil // a log may be without a predecessor
	}
	for _, o := range slices.Backward(all) {
		if !o.plain {
			return nil, nil //nolint:nilnil // there is none to name
		}
		if last, err = accesslog.LastOf(o.path); err != nil || last != nil {
			return last, err
		}
	}
	return nil, nil //nolint:nilnil // there is none to name
}

func listOld(path string) ([]old, error) {
	dir, prefix := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	prefix += "-"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[string]*old{}
	for _, entry := range entries {
		stamp, ok := strings.CutPrefix(entry.Name(), prefix)
		if !ok || !entry.Type().IsRegular() {
			continue
		}
		stamp, archive := strings.CutSuffix(stamp, compressed)
		at, err := time.Parse(stampFormat, stamp)
		if err != nil {
			continue
		}
		o := found[stamp]
		if o == nil {
			o = &old{path: filepath.Join(dir, prefix+stamp), at: at}
			found[stamp] = o
		}
		o.plain, o.archive = o.plain || !archive, o.archive || archive
	}
	all := make([]old, 0, len(found))
	for _, o := range found {
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b old) int { return a.at.Compare(b.at) })
	return all, nil
}
