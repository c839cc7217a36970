package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// unusedFor is how long a segment is kept whose file was not among those that were
// asked about.
const unusedFor = 7 * 24 * time.Hour

// lockedFor is how often a lock that another process has is tried again.
const lockedFor = 20 * time.Millisecond

// update is one run of bringing the index up to date.
type update struct {
	dir     *os.Root
	rows    int // of a block that is full
	builder *builder
	known   []*entry // what the folder has
	before  []*segment
	now     time.Time
	looked  looked
}

// looked is which files an update has looked at.
type looked struct {
	paths   []string
	stamps  []stamp
	missing bool // one that was named was not there
}

// at reports whether a file was looked at, or what it was compressed from. A name
// alone does not tell: an empty file may hold the name of one that is about to be
// rotated.
func (l *looked) at(name string) bool {
	info, err := os.Stat(name)
	if err != nil {
		return slices.Contains(l.paths, name) // it is gone since
	}
	if s := stampOf(info); slices.ContainsFunc(l.stamps, s.sameFile) {
		return true
	}
	plain, isCompressed := strings.CutSuffix(name, ".gz")
	i := slices.Index(l.paths, plain)
	return isCompressed && i >= 0 && l.stamps[i].Size > 0
}

// entry is a segment of the folder.
type entry struct {
	meta
	name  string
	taken bool // by a file
}

// lock waits until no other process writes the index.
func lock(ctx context.Context, dir *os.Root) (*os.File, error) {
	f, err := dir.OpenFile("lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the index: %w", err)
	}
	retry := time.NewTicker(lockedFor)
	defer retry.Stop()
	for {
		locked, err := tryLock(f)
		if locked {
			return f, nil
		}
		if err == nil {
			select {
			case <-retry.C:
				continue
			case <-ctx.Done():
				err = fmt.Errorf("waiting for another process that writes the index: %w", ctx.Err())
			}
		}
		_ = f.Close() // nothing was written
		return nil, err
	}
}

// run returns the segments of paths, up to date. They are acquired. A path that does
// not exist has none.
func (u *update) run(ctx context.Context, paths []string) (segments []*segment, err error) {
	defer func() {
		if err != nil {
			releaseAll(segments)
			segments = nil
		}
	}()
	if err := u.list(); err != nil {
		return nil, err
	}
	sources, err := u.openSources(paths)
	defer func() {
		for _, s := range sources {
			s.file.release()
		}
	}()
	if err != nil {
		return nil, err
	}
	// Files that are what they were come first, so that a copy does not take their
	// segment from them.
	slices.SortStableFunc(sources, func(a, b *source) int { return u.rank(a) - u.rank(b) })
	for _, s := range sources {
		segment, err := u.bring(ctx, s)
		if err != nil {
			return segments, err
		}
		if segment != nil {
			segments = append(segments, segment)
		}
	}
	u.prune()
	return segments, nil
}

// openSources opens every file once, whatever names it has.
func (u *update) openSources(paths []string) (sources []*source, err error) {
	for _, path := range paths {
		s, err := openSource(path)
		if errors.Is(err, fs.ErrNotExist) {
			u.looked.missing = true
			continue
		}
		if err != nil {
			return sources, err
		}
		if s == nil {
			continue
		}
		u.looked.paths, u.looked.stamps = append(u.looked.paths, path), append(u.looked.stamps, s.stamp)
		if slices.ContainsFunc(sources, func(other *source) bool { return s.stamp.sameFile(other.stamp) }) {
			s.file.release()
			continue
		}
		sources = append(sources, s)
	}
	return sources, nil
}

// rank is 0 for a file that was not changed, 1 for one that was, and 2 for one that is
// new here.
func (u *update) rank(s *source) int {
	rank := 2
	for _, e := range u.known {
		if e.Stamp == s.stamp {
			return 0
		}
		if e.Stamp.sameFile(s.stamp) {
			rank = 1
		}
	}
	return rank
}

// list finds what the folder has. What is damaged is as good as not there.
func (u *update) list() error {
	files, err := fs.ReadDir(u.dir.FS(), ".")
	if err != nil {
		return fmt.Errorf("opening the index: %w", err)
	}
	for _, f := range files {
		name, isTail := strings.CutSuffix(f.Name(), extTail)
		if !isTail {
			continue
		}
		if m, err := peekMeta(u.dir, f.Name()); err == nil {
			u.known = append(u.known, &entry{meta: m, name: name})
		} else {
			remove(u.dir, name)
		}
	}
	return nil
}

// remove takes a segment away. Who has it open may go on.
func remove(dir *os.Root, name string) {
	_ = dir.Remove(name + extTail)   // without it, the rest is nothing
	_ = dir.Remove(name + extBlocks) // need not be there
}

// bring returns the segment of a file, up to date; nil if there is nothing in it yet.
func (u *update) bring(ctx context.Context, s *source) (*segment, error) {
	for _, e := range u.known {
		if e.Stamp == s.stamp && !e.taken {
			if segment := u.reuse(e, s); segment != nil {
				return segment, nil
			}
		}
	}
	identity := s.identity()
	if identity == "" {
		return nil, nil //nolint:nilnil // said above
	}
	for _, e := range u.known {
		if e.Identity != identity || e.taken {
			continue
		}
		rest, ok := s.continues(e.meta)
		if !ok {
			continue
		}
		e.taken = true
		w := u.writer(e.name, e.meta, s)
		if err := w.write(ctx, rest, s.path); err != nil {
			return nil, err
		}
		if segment, err := u.load(e.name, s); err == nil || !errors.Is(err, errDamaged) {
			return segment, err
		}
		remove(u.dir, e.name)
	}
	return u.make(ctx, s, identity)
}

// reuse returns the segment of a file that was not changed, or nil if that is damaged.
func (u *update) reuse(e *entry, s *source) *segment {
	e.taken = true
	segment, err := u.load(e.name, s)
	if err != nil {
		remove(u.dir, e.name)
		return nil
	}
	name := e.name + extTail
	if info, err := u.dir.Stat(name); err == nil && u.now.Sub(info.ModTime()) > 24*time.Hour {
		_ = u.dir.Chtimes(name, u.now, u.now) // it was of use; if this fails it is read anew one day
	}
	return segment
}

// make reads a file from its beginning.
func (u *update) make(ctx context.Context, s *source, identity string) (*segment, error) {
	// What another version of the file has left is of no use.
	for _, e := range u.known {
		if !e.taken && e.Stamp.sameFile(s.stamp) {
			e.taken = true
			remove(u.dir, e.name)
		}
	}
	name, err := u.free(identity)
	if err != nil {
		return nil, err
	}
	content, err := s.from(0)
	if err != nil {
		return nil, err
	}
	if err := u.writer(name, meta{Identity: identity}, s).write(ctx, content, s.path); err != nil {
		return nil, err
	}
	return u.load(name, s)
}

// free returns a name that no segment has.
func (u *update) free(identity string) (string, error) {
	for n := 1; n <= 100; n++ {
		name := fmt.Sprintf("%s-%d", identity, n)
		_, err := u.dir.Lstat(name + extTail)
		if errors.Is(err, fs.ErrNotExist) {
			_ = u.dir.Remove(name + extBlocks) // belongs to nothing
			return name, nil
		}
	}
	return "", fmt.Errorf("a hundred files of the log begin with the same line (%s): %w", identity, fs.ErrExist)
}

func (u *update) writer(name string, m meta, s *source) *writer {
	m.Stamp, m.Compressed = s.stamp, s.compressed
	return &writer{dir: u.dir, name: name, rows: u.rows, meta: m, builder: u.builder}
}

// load opens a segment and joins its file to it. One that is open already is used
// again.
func (u *update) load(name string, s *source) (*segment, error) {
	for _, old := range u.before {
		if old.name == name && old.Stamp == s.stamp {
			old.acquire()
			return old, nil
		}
	}
	segment, err := loadSegment(u.dir, name)
	if err != nil {
		return nil, err
	}
	s.file.acquire()
	segment.log, segment.path = s.file, s.path
	return segment, nil
}

// prune takes away what was of no use for long.
func (u *update) prune() {
	for _, e := range u.known {
		if info, err := u.dir.Stat(e.name + extTail); err == nil && !e.taken && u.now.Sub(info.ModTime()) > unusedFor {
			remove(u.dir, e.name)
		}
	}
}

func releaseAll(segments []*segment) {
	for _, s := range segments {
		s.release()
	}
}
