package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/disk"
)

// Config says how a file is written. It must not be modified after Open.
type Config struct {
	// Name is what errors and metrics call the sink.
	Name string
	// Path is the file. One that is no regular file, such as a pipe, is not rotated.
	Path string
	// Size is how many bytes it may have before a new one is begun; 0 for any number.
	Size int64
	// Every is how often a new one is begun, at its multiples in UTC, which
	// are counted from midnight if it divides a day; 0 for never.
	Every time.Duration
	// Keep is how many old files are kept, and KeepFor how long; 0 for all, and for ever.
	Keep    int
	KeepFor time.Duration
	// Compress has old files compressed.
	Compress bool
	// NeverSynced says that Sync is not called: nothing is kept for it.
	NeverSynced bool
	// Log is required.
	Log *slog.Logger
}

// File is an accesslog.Sink. Write, Sync and Close are called by one goroutine, Run by
// another.
type File struct {
	cfg  Config
	tidy chan struct{} // has Run look at the old files
	// failed is why the last rotation failed, nil if it did not; for who looks.
	failed atomic.Pointer[error]

	stop  context.CancelFunc // ends what Start has begun; nil if it has not
	ended chan struct{}

	f       *os.File
	regular bool
	period  time.Time // of the first record in f; zero while it is empty
	written int       // how much of the batch in hand is in f
	again   time.Time // when to try again what has failed
	unsynced

	step func(name string)      // tests stop here; nil otherwise
	sync func(f *os.File) error // disk.Sync, but in tests
}

// tryAgain is how long a rotation that failed is left alone.
const tryAgain = time.Minute

// Start is Open, and has old files put away until Close. The goroutine's context is ctx
// without its end.
func Start(ctx context.Context, cfg Config) (*File, error) {
	f, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	f.ended = make(chan struct{})
	go func() {
		defer close(f.ended)
		f.Run(ctx)
	}()
	return f, nil
}

// Open opens the file, or makes it. What an earlier process has left unfinished at its
// end is ended. Old files are put away only while Run runs.
func Open(cfg Config) (*File, error) {
	f := &File{cfg: cfg, tidy: make(chan struct{}, 1), sync: disk.Sync}
	if err := f.alone(f.open); err != nil {
		return nil, err
	}
	f.name = f.regular
	return f, nil
}

// Name implements accesslog.Sink.
func (f *File) Name() string { return f.cfg.Name }

// Write implements accesslog.Sink.
func (f *File) Write(_ context.Context, b *accesslog.Batch) error {
	if len(f.text) > mostUnsynced {
		if err := f.flush(); err != nil {
			return err
		}
	}
	if f.written == 0 {
		if err := f.prepare(int64(len(b.Lines)), time.Now()); err != nil {
			return err
		}
	}
	before := f.written
	n, err := accesslog.WriteRest(f.f, b.Lines, before)
	f.written = n
	if f.regular && !f.cfg.NeverSynced {
		err = errors.Join(err, f.add(f.f, b.Lines[before:n]))
	}
	if err != nil {
		return err
	}
	f.written = 0
	return nil
}

// Sync implements accesslog.Syncer.
func (f *File) Sync(context.Context) error { return f.flush() }

// Close implements accesslog.Sink.
func (f *File) Close() error {
	if f.stop != nil {
		f.stop()
		<-f.ended
	}
	return f.f.Close()
}

// Stuck says why the last attempt to begin a new file failed, or returns nil. Records are
// written all the same: to the file that there is. Safe for concurrent use.
func (f *File) Stuck() error {
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// prepare has f be the file that the next records belong in.
func (f *File) prepare(length int64, now time.Time) error {
	if !f.regular {
		return nil
	}
	info, err := os.Stat(f.cfg.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !f.is(info) {
		// Renamed or removed by somebody else, or by another process of ours.
		f.cfg.Log.Info("access log was renamed or removed: beginning another", "sink", f.cfg.Name, "file", f.cfg.Path)
		if err := f.alone(f.reopen); err != nil {
			return err
		}
		info, err = f.f.Stat()
	}
	if err != nil {
		return fmt.Errorf("looking at access log: %w", err)
	}
	if f.due(info, length, now) {
		f.rotate(now)
	}
	if f.period.IsZero() {
		f.period = f.periodOf(now)
	}
	return nil
}

// is reports whether info is that of the open file.
func (f *File) is(info fs.FileInfo) bool {
	own, err := f.f.Stat()
	return err == nil && os.SameFile(own, info)
}

// due reports whether a new file is to be begun before so many bytes more are written.
func (f *File) due(info fs.FileInfo, length int64, now time.Time) bool {
	switch {
	case info.Size() == 0 || now.Before(f.again):
		return false
	case f.cfg.Size > 0 && info.Size()+length > f.cfg.Size:
		return true
	}
	return f.cfg.Every > 0 && f.period.Before(f.periodOf(now))
}

// periodOf is when the period of a time began.
func (f *File) periodOf(t time.Time) time.Time {
	if f.cfg.Every <= 0 {
		return t
	}
	return t.UTC().Truncate(f.cfg.Every)
}

// alone does something to the files while no other process of ours does. A pipe is no
// file that anybody renames, and its opening may wait.
func (f *File) alone(do func() error) error {
	if info, err := os.Stat(f.cfg.Path); err == nil && !info.Mode().IsRegular() {
		return do()
	}
	return alone(f.cfg.Path, do)
}

// open opens the file at the path, and has it marked as one that is written to. The
// caller is alone, as with reopen.
func (f *File) open() error {
	for {
		opened, err := accesslog.Open(f.cfg.Path)
		if err != nil {
			return err
		}
		info, err := opened.Stat()
		if err != nil {
			return errors.Join(fmt.Errorf("opening access log: %w", err), opened.Close())
		}
		f.f, f.regular, f.period = opened, info.Mode().IsRegular(), time.Time{}
		if info.Size() > 0 {
			f.period = f.periodOf(info.ModTime())
		}
		if !f.regular {
			return nil
		}
		if err := share(opened); err != nil && !errors.Is(err, errBusy) {
			return errors.Join(fmt.Errorf("opening access log: %w", err), opened.Close())
		}
		// Renamed before it was marked, it is or may have been compressed already. If it
		// was not, whoever has it for himself is none of ours.
		if now, err := os.Stat(f.cfg.Path); err == nil && os.SameFile(now, info) {
			return nil
		}
		_ = opened.Close() // nothing was written
	}
}

// reopen is open in place of the file that is open; if it fails, that stays.
func (f *File) reopen() error {
	before, regular, period := f.f, f.regular, f.period
	if !f.cfg.NeverSynced {
		if err := f.flush(); err != nil {
			return err
		}
	}
	if err := f.open(); err != nil {
		f.f, f.regular, f.period = before, regular, period
		return err
	}
	f.name = true
	_ = before.Close() // was synced, if anybody wanted it
	f.wake()
	return nil
}

// wake has Run look at the old files.
func (f *File) wake() {
	select {
	case f.tidy <- struct{}{}:
	default:
	}
}

// reached is a step of what the end of the process may interrupt.
func (f *File) reached(name string) {
	if f.step != nil {
		f.step(name)
	}
}
