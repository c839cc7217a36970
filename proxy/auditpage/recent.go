package auditpage

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Recent holds the latest records in memory. Its zero value is not usable; make one with
// [NewRecent]. Safe for concurrent use.
//
// Records stand in pages that are written once: whoever searches takes the list of pages
// and holds no lock, so nobody who adds waits for a search.
type Recent struct {
	limit  int
	missed atomic.Int64

	mu       sync.Mutex
	pages    []*sheet // the oldest first; guarded by mu
	size     int      // of all pages; guarded by mu
	last     uint64   // position of the newest record; guarded by mu
	instance string   // of the newest record; guarded by mu
	grown    chan struct{}
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
		r, ok := parseRecord(strings.Clone(line)) // the batch as a whole is let go
		if !ok {
			m.missed.Add(1)
			continue
		}
		records = append(records, r)
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
	}
	m.instance = records[len(records)-1].Instance
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
func (m *Recent) Find(ctx context.Context, s *Search, before uint64, limit int) (found []Record, more bool, err error) {
	err = m.newest(ctx, func(r *Record) bool {
		switch {
		case before > 0 && r.Position >= before, !s.matches(r):
		case len(found) == limit:
			more = true
		default:
			found = append(found, *r)
		}
		return !more
	})
	return found, more, err
}

// Timeline implements [Store].
func (m *Recent) Timeline(ctx context.Context, s *Search, steps Steps) ([]Step, error) {
	counted := make([]Step, steps.Count)
	err := m.newest(ctx, func(r *Record) bool {
		if i := steps.index(r.Time); i >= 0 && s.matches(r) {
			counted[i].All++
			if r.Denied() {
				counted[i].Denied++
			}
		}
		return true
	})
	return counted, err
}

// kind is what denials are counted by.
type kind struct{ reason, rule, tool string }

// Denials implements [Store].
func (m *Recent) Denials(ctx context.Context, s *Search, limit int) ([]Denial, error) {
	counts, people := map[kind]*Denial{}, map[kind]map[string]bool{}
	err := m.newest(ctx, func(r *Record) bool {
		if !r.Denied() || !s.matches(r) {
			return true
		}
		k := kind{r.Reason, r.Rule, r.Tool}
		d := counts[k]
		if d == nil {
			d = &Denial{Reason: k.reason, Rule: k.rule, Tool: k.tool, Last: r.Time}
			counts[k], people[k] = d, map[string]bool{}
		}
		d.Count++
		if r.Person != "" {
			people[k][r.Person] = true
		}
		return true
	})
	all := make([]Denial, 0, len(counts))
	for k, d := range counts {
		d.People = len(people[k])
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b Denial) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Tool, b.Tool))
	})
	return all[:min(len(all), limit)], err
}

// Extent implements [Store].
func (m *Recent) Extent(context.Context) (Extent, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := Extent{Missed: m.missed.Load(), Source: "in memory", Instance: m.instance}
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
func (m *Recent) After(s *Search, position uint64, limit int) (found []Record, others int, next uint64) {
	next = position
	_ = m.newest(context.Background(), func(r *Record) bool { // it never ends
		if r.Position <= position {
			return false
		}
		next = max(next, r.Position)
		if !s.matches(r) {
			return true
		}
		if len(found) < limit {
			found = append(found, *r)
		} else {
			others++
		}
		return true
	})
	slices.Reverse(found)
	return found, others, next
}

// Newest is the position of the newest record, and a channel that is closed when there
// are others.
func (m *Recent) Newest() (position uint64, grown <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.grown
}
