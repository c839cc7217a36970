package file

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

const (
	// tidyEvery is how often old files are looked at: one may have become too old, or
	// be let go by who had it open.
	tidyEvery = time.Minute
	// gulp is how much is compressed before a rest that is as long as it took.
	gulp = 256 << 10
	// unfinished ends the name of an archive that is being made.
	unfinished = ".tmp"
)

// errBusy says that somebody writes to a file.
var errBusy = errors.New("somebody writes to it")

// Run compresses and removes old files until ctx ends. What fails is told to the log, and
// tried again.
func (f *File) Run(ctx context.Context) {
	if !f.cfg.Compress && f.cfg.Keep == 0 && f.cfg.KeepFor == 0 {
		return
	}
	f.removeUnfinished()
	ticker := time.NewTicker(tidyEvery)
	defer ticker.Stop()
	var last string
	for {
		told := ""
		if err := f.tidyUp(ctx, time.Now()); err != nil && ctx.Err() == nil {
			if told = err.Error(); told != last {
				f.cfg.Log.Warn("old access logs cannot be put away", "sink", f.cfg.Name, "error", err)
			}
		}
		last = told
		select {
		case <-ctx.Done():
			return
		case <-f.tidy:
		case <-ticker.C:
		}
	}
}

// removeUnfinished removes archives that an earlier process did not finish; what they
// are of is still there.
func (f *File) removeUnfinished() {
	dir, name := filepath.Split(f.cfg.Path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return // Run will say so
	}
	for _, entry := range entries {
		source, ok := strings.CutSuffix(entry.Name(), compressed+unfinished)
		if !ok || !strings.HasPrefix(source, name+"-") {
			continue
		}
		if held, err := claim(filepath.Join(dir, source)); err == nil {
			_ = os.Remove(filepath.Join(dir, entry.Name())) // it would be written over
			_ = held.Close()                                // was only read from
		}
	}
}

// tidyUp does once what is to be done.
func (f *File) tidyUp(ctx context.Context, now time.Time) error {
	all, err := listOld(f.cfg.Path)
	if err != nil {
		return err
	}
	rest, err := f.removeOld(all, now)
	if !f.cfg.Compress {
		return err
	}
	for _, o := range rest {
		if !o.plain || ctx.Err() != nil {
			continue
		}
		if fault := f.compress(ctx, o.path); fault != nil && !errors.Is(fault, errBusy) {
			err = errors.Join(err, fmt.Errorf("compressing %q: %w", o.path, fault))
		}
	}
	return err
}

// removeOld removes what is too old or too much, and returns what is left.
func (f *File) removeOld(all []old, now time.Time) (rest []old, err error) {
	for i, o := range all {
		tooMany := f.cfg.Keep > 0 && len(all)-i > f.cfg.Keep
		tooOld := f.cfg.KeepFor > 0 && now.Sub(o.at) > f.cfg.KeepFor
		if !tooMany && !tooOld {
			rest = append(rest, o)
			continue
		}
		switch fault := f.alone(o.remove); {
		case fault == nil:
			f.cfg.Log.Info("old access log removed", "sink", f.cfg.Name, "file", o.path, "rotated", o.at)
		case !errors.Is(fault, errBusy):
			err = errors.Join(err, fmt.Errorf("removing %q: %w", o.path, fault))
		}
	}
	return rest, err
}

// remove removes an old file in whatever form it is there.
func (o old) remove() error {
	if o.plain {
		held, err := claim(o.path)
		if err != nil {
			return err
		}
		defer held.Close()
		if err := os.Remove(o.path); err != nil {
			return err
		}
	}
	if o.archive {
		return os.Remove(o.path + compressed)
	}
	return nil
}

// compress puts an archive in the place of an old file.
func (f *File) compress(ctx context.Context, path string) error {
	var source *os.File
	err := f.alone(func() (err error) {
		source, err = claimFilled(path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another process was faster, or it held a name alone
	}
	if err != nil {
		return err
	}
	defer source.Close()
	made := path + compressed + unfinished
	if err := archive(ctx, made, source); err != nil {
		return errors.Join(err, os.Remove(made))
	}
	f.reached("compressed")
	return f.alone(func() error {
		if err := os.Rename(made, path+compressed); err != nil {
			return errors.Join(err, os.Remove(made))
		}
		f.reached("archived")
		// The name must outlive the machine before the other may go.
		if err := disk.SyncDir(filepath.Dir(path)); err != nil {
			return err
		}
		return os.Remove(path)
	})
}

// claimFilled claims a file. One that is empty held a name for a rotation that did not
// come to be: it is removed, and there is none.
func claimFilled(path string) (*os.File, error) {
	source, err := claim(path)
	if err != nil {
		return nil, err
	}
	info, err := source.Stat()
	if err == nil && info.Size() == 0 {
		err = errors.Join(fs.ErrNotExist, os.Remove(path))
	}
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	return source, nil
}

// archive writes a compressed copy and syncs it.
func archive(ctx context.Context, name string, source *os.File) (err error) {
	info, err := source.Stat()
	if err != nil {
		return err
	}
	out, err := disk.Create(name, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	zip := gzip.NewWriter(out)
	copied, err := copySlowly(ctx, zip, source)
	if err == nil && copied != info.Size() {
		err = fmt.Errorf("%w: it has grown", errBusy)
	}
	if err := errors.Join(err, zip.Close()); err != nil {
		return err
	}
	if err := setTime(out, info.ModTime()); err != nil {
		return err
	}
	return disk.Sync(out)
}

// copySlowly rests after each gulp for as long as it took.
func copySlowly(ctx context.Context, to io.Writer, from io.Reader) (copied int64, err error) {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		began := time.Now()
		n, err := io.CopyN(to, from, gulp)
		copied += n
		if errors.Is(err, io.EOF) {
			return copied, nil
		}
		if err != nil {
			return copied, err
		}
		rest.Reset(time.Since(began))
		select {
		case <-rest.C:
		case <-ctx.Done():
			return copied, ctx.Err()
		}
	}
}
