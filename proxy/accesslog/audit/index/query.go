package index

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// attempts is how often a question is asked anew after a part of the index was found
// to be of no use, and was made anew.
const attempts = 3

// Bounds of reading lines: a few first, so that an answer begins soon, then more at
// once, so that a compressed file is not read again and again.
const (
	batchFirst = 64
	batchRows  = 16384
	batchBytes = 16 << 20
)

// found is a record that is asked for, as the index has it.
type found struct {
	audit.Position
	block  *block
	offset int64
	length int
}

// Query yields the entries that are asked for. An error ends it. The order is that
// of [audit.Position]; copies of a record are yielded once.
func (x *Index) Query(ctx context.Context, q audit.Query) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		for attempt := 1; ; attempt++ {
			err := x.answer(ctx, &q, yield)
			var stale *staleError
			if errors.As(err, &stale) && attempt < attempts {
				if err = x.rebuild(ctx, stale.segment); err == nil {
					continue // q goes on behind what was yielded
				}
			}
			if err != nil {
				yield(audit.Entry{}, err)
			}
			return
		}
	}
}

// answer yields entries until there are no more, and notes in q how far it came.
func (x *Index) answer(ctx context.Context, q *audit.Query, yield func(audit.Entry, error) bool) error {
	a, err := newAnswer(q)
	if err != nil {
		return err
	}
	segments, err := x.acquire()
	if err != nil {
		return err
	}
	defer releaseAll(segments)
	a.plan(segments)
	limited := q.Limit > 0
	for size := batchFirst; ; size = min(4*size, batchRows) {
		if limited && !a.matcher.ByText() {
			size = min(size, q.Limit)
		}
		batch, err := a.batch(ctx, size)
		if err != nil || len(batch) == 0 {
			return err
		}
		lines, err := fetch(batch)
		if err != nil {
			return err
		}
		for i := range batch {
			entry, asked, err := a.check(&batch[i], lines[i])
			if err != nil {
				return err
			}
			if !asked {
				continue
			}
			if !yield(entry, nil) {
				return nil
			}
			q.After = entry.Cursor()
			if limited {
				if q.Limit--; q.Limit == 0 {
					return nil
				}
			}
		}
	}
}

// answer is one walk over the index, in one direction.
type answer struct {
	matcher *audit.Matcher
	oldest  bool // first
	after   *audit.Position
	first   int64 // bounds of time, both within
	last    int64
	blocks  []*block // those that may have what is asked for, in the order of their bounds
	ready   heapOf
	yielded audit.Position
	scratch scratch
}

func newAnswer(q *audit.Query) (*answer, error) {
	matcher, err := q.Matcher()
	if err != nil {
		return nil, err
	}
	a := &answer{matcher: matcher, oldest: q.OldestFirst, ready: heapOf{oldest: q.OldestFirst}}
	a.first, a.last = matcher.Between()
	if q.After != "" {
		after, err := audit.ParseCursor(q.After)
		if err != nil {
			return nil, err
		}
		a.after = &after
		if a.oldest {
			a.first = max(a.first, after.Micros)
		} else {
			a.last = min(a.last, after.Micros)
		}
	}
	return a, nil
}

// plan puts the blocks in order that have anything of the time that is asked for.
func (a *answer) plan(segments []*segment) {
	for _, s := range segments {
		for _, b := range s.blocks {
			if b.last >= a.first && b.first <= a.last {
				a.blocks = append(a.blocks, b)
			}
		}
	}
	slices.SortStableFunc(a.blocks, func(x, y *block) int {
		if a.oldest {
			return cmp.Compare(x.first, y.first)
		}
		return cmp.Compare(y.last, x.last)
	})
}

// next returns the next record, or nil after the last one.
func (a *answer) next(ctx context.Context) (*found, error) {
	for {
		for len(a.blocks) > 0 && a.mayPrecede(a.blocks[0]) {
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("asking the index: %w", err)
			}
			if err := a.open(a.blocks[0]); err != nil {
				return nil, err
			}
			a.blocks = a.blocks[1:]
		}
		if a.ready.Len() == 0 {
			return nil, nil //nolint:nilnil // said above
		}
		f := heap.Pop(&a.ready).(found) //nolint:forcetypeassert // nothing else is put there
		if f.Sequence > 0 && f.Position == a.yielded {
			continue // a copy
		}
		a.yielded = f.Position
		return &f, nil
	}
}

// mayPrecede reports whether a block may have something before what is ready.
func (a *answer) mayPrecede(b *block) bool {
	if a.ready.Len() == 0 {
		return true
	}
	if a.oldest {
		return b.first <= a.ready.all[0].Micros
	}
	return b.last >= a.ready.all[0].Micros
}

// open makes ready what of a block is asked for.
func (a *answer) open(b *block) error {
	rows, err := a.scratch.pick(b, a.matcher, a.first, a.last)
	if err != nil || len(rows) == 0 {
		return err
	}
	s := &a.scratch
	for i, to := range []*[]int64{columnOffset: &s.offsets, columnLength: &s.lengths, columnSequence: &s.sequences} {
		if to == nil {
			continue // the times are there
		}
		if *to, err = b.numbers(*to, i); err != nil {
			return err
		}
	}
	instances, err := b.texts(audit.Instance)
	if err != nil {
		return err
	}
	names := make([]string, len(instances.values))
	for i, v := range instances.values {
		names[i] = string(v)
	}
	for _, row := range rows {
		p := audit.Position{Micros: s.times[row], Instance: names[instances.code(int(row))], Sequence: uint64(s.sequences[row])} //nolint:gosec // wraps back
		if a.after != nil && (a.oldest && p.Compare(*a.after) <= 0 || !a.oldest && p.Compare(*a.after) >= 0) {
			continue
		}
		heap.Push(&a.ready, found{p, b, s.offsets[row], int(s.lengths[row])})
	}
	return nil
}

// batch returns the next records, up to a number and to about a size in bytes.
func (a *answer) batch(ctx context.Context, size int) (batch []found, err error) {
	for bytes := 0; len(batch) < size && bytes < batchBytes; {
		f, err := a.next(ctx)
		if err != nil || f == nil {
			return batch, err
		}
		batch = append(batch, *f)
		bytes += f.length
	}
	return batch, nil
}

// fetch reads the lines of records.
func fetch(batch []found) ([][]byte, error) {
	lines := make([][]byte, len(batch))
	wanted := make(map[*segment][]want)
	for i, f := range batch {
		wanted[f.block.segment] = append(wanted[f.block.segment], want{f.offset, f.length, &lines[i]})
	}
	for s, all := range wanted {
		slices.SortFunc(all, func(x, y want) int { return cmp.Compare(x.at, y.at) })
		if err := s.fetch(all); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// errChanged is a file that does not have what it had.
var errChanged = errors.New("the file was changed after the index was made")

// check decodes a line and holds it against what the index has said of it. asked is
// false if the text that is looked for is not in it.
func (a *answer) check(f *found, line []byte) (entry audit.Entry, asked bool, err error) {
	if !a.matcher.MatchText(line) {
		return entry, false, nil
	}
	entry, ok := audit.Decode(line)
	if !ok || entry.Position() != f.Position || !a.matcher.MatchFields(&entry) {
		s := f.block.segment
		return entry, false, &staleError{s, fmt.Errorf("%w: %s", errChanged, s.path)}
	}
	return entry, true, nil
}

// heapOf is a heap with the next record at its root.
type heapOf struct {
	all    []found
	oldest bool
}

// Len, Less, Swap, Push and Pop are those of [heap.Interface].
func (h *heapOf) Len() int { return len(h.all) }

// Less orders by position, and copies and unsealed records by their place.
func (h *heapOf) Less(i, j int) bool {
	x, y := &h.all[i], &h.all[j]
	c := cmp.Or(x.Compare(y.Position), cmp.Compare(x.offset, y.offset))
	if h.oldest {
		return c < 0
	}
	return c > 0
}

// Swap is that of [heap.Interface].
func (h *heapOf) Swap(i, j int) { h.all[i], h.all[j] = h.all[j], h.all[i] }

// Push is that of [heap.Interface].
func (h *heapOf) Push(x any) { h.all = append(h.all, x.(found)) } //nolint:forcetypeassert // nothing else is put there

// Pop is that of [heap.Interface].
func (h *heapOf) Pop() any {
	last := h.all[len(h.all)-1]
	h.all = h.all[:len(h.all)-1]
	return last
}

// Newest returns the newest entry that is asked for, and false if there is none.
func (x *Index) Newest(ctx context.Context, f audit.Filter) (audit.Entry, bool, error) {
	for entry, err := range x.Query(ctx, audit.Query{Filter: f, Limit: 1}) {
		return entry, err == nil, err
	}
	return audit.Entry{}, false, nil
}
