// Package index finds entries of the access log in many large files. Beside the log
// it keeps an index: of each file, by columns, what people ask for. It is made from
// the log alone, is brought up to date by reading what is new, and may be thrown
// away at any time.
//
// Hostile input: the files of the log, and the index's own, which may be damaged, or
// of another version: it is then made anew. What is answered is always read from
// the log itself, never from the index. The log is taken to grow at its end alone:
// a line that somebody has changed may not be found by what it says now, which is
// for package verify to notice.
//
// Output: entries, in the order of their time, and counts of them.
package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// Index answers questions about some files of a log. It is safe for concurrent use,
// also of the same folder by several processes.
type Index struct {
	dir       *os.Root // so that nobody can have us write elsewhere, whatever becomes of its name
	temporary bool     // dir is removed by Close
	rows      int      // of a block that is full; at most blockRows

	updating chan struct{} // holds one token while nobody updates
	builder  *builder      // of whoever has the token

	mu       sync.Mutex
	current  []*segment // guarded by mu; acquired
	paths    []string   // guarded by mu
	isClosed bool       // guarded by mu
}

// ErrClosed is the answer of an Index that was closed.
var ErrClosed = errors.New("the index is closed")

// Open returns the index that is kept in the folder dir, which it makes if need be,
// brought up to date with files: plain or compressed, in any order. One that does
// not exist is passed over. With "" for dir the index is kept in a temporary folder,
// until Close.
func Open(ctx context.Context, dir string, files ...string) (*Index, error) {
	return open(ctx, dir, blockRows, files)
}

// open is Open with blocks of so many records.
func open(ctx context.Context, dir string, rows int, files []string) (*Index, error) {
	x := &Index{rows: rows, updating: make(chan struct{}, 1), builder: newBuilder()}
	x.updating <- struct{}{}
	var err error
	if dir == "" {
		x.temporary = true
		dir, err = os.MkdirTemp("", "sallyport-index-")
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		x.dir, err = os.OpenRoot(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the index: %w", err)
	}
	if err = ownsAlone(x.dir); err == nil {
		err = x.Update(ctx, files...)
	}
	if err != nil {
		_ = x.Close() // the first error is the one to tell
		return nil, err
	}
	return x, nil
}

// Update reads what is new in files, which are all that answers are about from now
// on: names of rotated files may change. Answers that are under way are about what
// there was.
func (x *Index) Update(ctx context.Context, files ...string) error {
	_, err := x.update(ctx, files)
	return err
}

func (x *Index) update(ctx context.Context, files []string) (looked, error) {
	select {
	case <-x.updating:
		defer func() { x.updating <- struct{}{} }()
	case <-ctx.Done():
		return looked{}, fmt.Errorf("waiting for the index: %w", ctx.Err())
	}
	locked, err := lock(ctx, x.dir)
	if err != nil {
		return looked{}, err
	}
	defer func() { _ = locked.Close() }() // nothing was written
	before, err := x.acquire()
	if err != nil {
		return looked{}, err
	}
	defer releaseAll(before)
	u := &update{dir: x.dir, rows: x.rows, builder: x.builder, before: before, now: time.Now()}
	segments, err := u.run(ctx, files)
	if err != nil {
		return looked{}, err
	}
	return u.looked, x.swap(segments, files)
}

// OpenLog is Open for a log by its name, with its rotated files: see [audit.Family].
func OpenLog(ctx context.Context, dir, name string) (*Index, error) {
	x, err := Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := x.UpdateLog(ctx, name); err != nil {
		_ = x.Close() // the first error is the one to tell
		return nil, err
	}
	return x, nil
}

// listings is how often files are listed until none has been missed.
const listings = 20

// UpdateLog is Update for a log by its name, with its rotated files. A file that is
// renamed or compressed meanwhile is not missed.
func (x *Index) UpdateLog(ctx context.Context, name string) error {
	files, err := audit.Family(name)
	if err != nil {
		return err
	}
	for range listings {
		looked, err := x.update(ctx, files)
		if err != nil {
			return err
		}
		files, err = audit.Family(name)
		missed := slices.ContainsFunc(files, func(file string) bool { return file != name && !looked.at(file) })
		if err != nil || !missed && !looked.missing {
			return err
		}
	}
	return fmt.Errorf("reading %s and its rotated files: they are renamed faster than they can be read", name)
}

// acquire returns the segments as they are now, for releaseAll.
func (x *Index) acquire() ([]*segment, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.isClosed {
		return nil, ErrClosed
	}
	for _, s := range x.current {
		s.acquire()
	}
	return x.current, nil
}

func (x *Index) swap(segments []*segment, paths []string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.isClosed {
		releaseAll(segments)
		return ErrClosed
	}
	releaseAll(x.current)
	x.current, x.paths = segments, paths
	return nil
}

// rebuild makes a segment anew that is not about its file any more.
func (x *Index) rebuild(ctx context.Context, stale *segment) error {
	remove(x.dir, stale.name)
	x.mu.Lock()
	paths := x.paths
	for i, s := range x.current {
		if s.name == stale.name {
			s.release()
			x.current = append(x.current[:i:i], x.current[i+1:]...)
			break
		}
	}
	x.mu.Unlock()
	return x.Update(ctx, paths...)
}

// Close closes the files that are open. Nothing may be asked any more; answers that
// are under way go on.
func (x *Index) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.isClosed {
		return nil
	}
	x.isClosed = true
	releaseAll(x.current)
	x.current = nil
	var err error
	if x.temporary {
		err = os.RemoveAll(x.dir.Name())
	}
	if err = errors.Join(err, x.dir.Close()); err != nil {
		return fmt.Errorf("closing the index: %w", err)
	}
	return nil
}

// Extent is what an index is about.
type Extent struct {
	Files   int
	Records int64 // of copies, each
	// Broken is how many lines are no records.
	Broken int64
	// First and Last are the times of the oldest and of the newest record; zero without
	// any.
	First, Last time.Time
}

// Extent returns what the index is about.
func (x *Index) Extent() Extent {
	segments, err := x.acquire()
	if err != nil {
		return Extent{}
	}
	defer releaseAll(segments)
	e := Extent{Files: len(segments)}
	for _, s := range segments {
		e.Broken += s.Skipped + s.Broken
		for i, b := range s.blocks {
			if i < len(s.blocks)-1 || b.start != s.Start {
				e.Broken += b.broken // of the last one it is said above
			}
			e.Records += int64(b.rows)
			if first := time.UnixMicro(b.first).UTC(); e.First.IsZero() || first.Before(e.First) {
				e.First = first
			}
			if last := time.UnixMicro(b.last).UTC(); last.After(e.Last) {
				e.Last = last
			}
		}
	}
	return e
}
