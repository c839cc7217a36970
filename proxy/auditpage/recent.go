package auditpage

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// Recent holds the latest records in memory. Its zero value is not usable; make one with
// [NewRecent]. Safe for concurrent use.
//
// Records stand in pages that are written once: whoever searches takes the list of pages
// and holds no lock, so nobody who adds waits for a search.
type Recent struct {
	limit  int
	missed atomic.Int64

	mu      sync.Mutex
	pages   []*sheet // the oldest first; guarded by mu
	size    int      // of all pages; guarded by mu
	last    uint64   // position of the newest record; guarded by mu
	written Written  // of the newest instance; guarded by mu
	grown   chan struct{}
}

// sheet is a number of records in a row. Those in records are never changed; more may be
// added behind them.
type sheet struct {
	records []Record
	size    int
}

// sheetRecords is how many records a sheet has at most.
const sheetRecords = 1024

// DefaultMemory is how much memory recent records take, about, in bytes.
const DefaultMemory = 64 << 20

// NewRecent returns one that holds about limit bytes.
func NewRecent(limit int) *Recent {
	return &Recent{limit: limit, grown: make(chan struct{})}
}

// Add takes lines, each with its line break, and drops the oldest records for them.
func (m *Recent) Add(lines string) {
	var records []Record
	for line := range strings.Lines(lines) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		entry, ok := audit.Decode([]byte(line))
		if !ok {
			m.missed.Add(1)
			continue
		}
		records = append(records, Record{Entry: entry})
	}
	if len(records) > 0 {
		m.append(records)
	}
}

func (m *Recent) append(records []Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.last++
		r.Position = m.last
		m.page().add(r)
		m.size += r.size()
		m.note(&r)
	}
	for m.size > m.limit && len(m.pages) > 1 {
		m.size -= m.pages[0].size
		m.pages = slices.Clone(m.pages[1:]) // those who search have the old list
	}
	close(m.grown)
	m.grown = make(chan struct{})
}

// page is the one to add to. The caller holds mu.
func (m *Recent) page() *sheet {
	if n := len(m.pages); n > 0 && len(m.pages[n-1].records) < sheetRecords && m.pages[n-1].size < m.limit/8 {
		return m.pages[n-1]
	}
	p := &sheet{records: make([]Record, 0, sheetRecords)}
	m.pages = append(slices.Clone(m.pages), p)
	return p
}

func (s *sheet) add(r Record) {
	s.records = append(s.records, r)
	s.size += r.size()
}

// Missing notes that n records were not taken.
func (m *Recent) Missing(n int) { m.missed.Add(int64(n)) }

// snapshot is what is there now, the oldest first.
func (m *Recent) snapshot() [][]Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	pages := make([][]Record, len(m.pages))
	for i, p := range m.pages {
		pages[i] = p.records
	}
	return pages
}

// newest goes through what is there, the newest first, until yield returns false or ctx
// ends.
func (m *Recent) newest(ctx context.Context, yield func(*Record) bool) error {
	pages := m.snapshot()
	for _, records := range slices.Backward(pages) {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		for i := len(records) - 1; i >= 0; i-- {
			if !yield(&records[i]) {
				return nil
			}
		}
	}
	return nil
}

// Find implements [Store].
func (m *Recent) Find(ctx context.Context, s *Search, behind string, limit int) (found []Record, end string, err error) {
	matches, err := s.matcher()
	if err != nil {
		return nil, "", err
	}
	before := uint64(math.MaxUint64)
	if behind != "" {
		if before, err = strconv.ParseUint(behind, 10, 64); err != nil {
			return nil, "", fmt.Errorf("%w: place %.40q, expected a number", ErrQuery, behind)
		}
	}
	err = m.newest(ctx, func(r *Record) bool {
		switch {
		case r.Position >= before || !matches(&r.Entry):
		case len(found) == limit:
			end = strconv.FormatUint(found[limit-1].Position, 10)
		default:
			found = append(found, *r)
		}
		return end == ""
	})
	return found, end, err
}

// Timeline implements [Store].
func (m *Recent) Timeline(ctx context.Context, s *Search, steps Steps) ([]Step, error) {
	matches, err := s.matcher()
	if err != nil {
		return nil, err
	}
	counted := make([]Step, steps.Count)
	err = m.newest(ctx, func(r *Record) bool {
		if i := steps.index(r.Time); i >= 0 && matches(&r.Entry) {
			counted[i].count(r.Value(audit.Decision), 1)
		}
		return true
	})
	return counted, err
}

// Denials implements [Store].
func (m *Recent) Denials(ctx context.Context, s *Search, limit int) ([]Denial, error) {
	matches, err := s.matcher()
	if err != nil {
		return nil, err
	}
	found := newTally()
	err = m.newest(ctx, func(r *Record) bool {
		if denied(&r.Entry) && matches(&r.Entry) {
			found.add(kindOf(&r.Entry), r.Value(audit.User), 1, r.Time)
		}
		return true
	})
	return found.kinds(limit), err
}

// Known are up to limit values of a field among the newest records, in their order.
func (m *Recent) Known(ctx context.Context, field audit.Field, limit int) []string {
	seen, left := map[string]bool{"": true}, maxLooked
	_ = m.newest(ctx, func(r *Record) bool { // what was not looked at is not suggested
		seen[r.Value(field)] = true
		left--
		return left > 0 && len(seen) <= limit
	})
	delete(seen, "")
	return slices.Sorted(maps.Keys(seen))
}

// maxLooked is how many records are looked at for suggestions.
const maxLooked = 20_000

// Extent implements [Store].
func (m *Recent) Extent(context.Context) (Extent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := Extent{Missed: m.missed.Load(), Source: "in memory", Instance: m.written.Instance}
	if len(m.pages) == 0 {
		return e, nil
	}
	for _, p := range m.pages {
		e.Count += len(p.records)
	}
	newest := m.pages[len(m.pages)-1].records
	e.First, e.Last = m.pages[0].records[0].Time, newest[len(newest)-1].Time
	return e, nil
}

// After returns the records that are looked for and newer than a position, the oldest
// first and the newest limit of them; how many others there are; and the position to ask
// for next.
func (m *Recent) After(ctx context.Context, s *Search, position uint64, limit int) (found []Record, others int, next uint64, err error) {
	matches, err := s.matcher()
	if err != nil {
		return nil, 0, position, err
	}
	next = position
	err = m.newest(ctx, func(r *Record) bool {
		if r.Position <= position {
			return false
		}
		next = max(next, r.Position)
		switch {
		case !matches(&r.Entry):
		case len(found) < limit:
			found = append(found, *r)
		default:
			others++
		}
		return true
	})
	slices.Reverse(found)
	return found, others, next, err
}

// Newest is the position of the newest record, and a channel that is closed when there
// are others.
func (m *Recent) Newest() (position uint64, grown <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.grown
}
