package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// MaxBy is how many fields can be counted by together.
const MaxBy = 4

// Count counts the entries that are asked for, by the values of up to MaxBy fields
// together, the largest group first; without any field it returns one group, or none
// if there is no entry. Copies of a record count once.
func (x *Index) Count(ctx context.Context, f audit.Filter, by ...audit.Field) ([]audit.Group, error) {
	if len(by) > MaxBy {
		return nil, fmt.Errorf("counting by %d fields, expected at most %d", len(by), MaxBy)
	}
	for attempt := 1; ; attempt++ {
		c := &counter{by: by, groups: make(map[[MaxBy]string]*audit.Group)}
		err := x.count(ctx, f, c)
		var stale *staleError
		if errors.As(err, &stale) && attempt < attempts {
			if err = x.rebuild(ctx, stale.segment); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		return c.sorted(), nil
	}
}

func (x *Index) count(ctx context.Context, f audit.Filter, c *counter) error {
	a, err := newAnswer(&audit.Query{Filter: f})
	if err != nil {
		return err
	}
	if a.matcher.ByText() {
		return x.countLines(ctx, f, c)
	}
	segments, err := x.acquire()
	if err != nil {
		return err
	}
	defer releaseAll(segments)
	a.plan(segments)
	overlapping := overlaps(a.blocks)
	for _, b := range a.blocks {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("counting: %w", err)
		}
		rows, err := a.scratch.pick(b, a.matcher, a.first, a.last)
		if err == nil && overlapping[b] {
			rows, err = c.once(b, &a.scratch, rows)
		}
		if err == nil && len(rows) > 0 {
			err = c.add(b, &a.scratch, rows)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// countLines counts what only the lines themselves tell.
func (x *Index) countLines(ctx context.Context, f audit.Filter, c *counter) error {
	for entry, err := range x.Query(ctx, audit.Query{Filter: f}) {
		if err != nil {
			return err
		}
		var key [MaxBy]string
		for i, field := range c.by {
			key[i] = entry.Value(field)
		}
		c.group(key, 1, entry.Time.UnixMicro(), entry.Time.UnixMicro())
	}
	return nil
}

// overlaps returns the blocks that may have records which another one has, too.
func overlaps(blocks []*block) map[*block]bool {
	type part struct {
		span
		of *block
	}
	var all []part
	for _, b := range blocks {
		for _, r := range b.ranges {
			if r.instance != "" {
				all = append(all, part{r, b})
			}
		}
	}
	slices.SortFunc(all, func(x, y part) int { return cmp.Or(cmp.Compare(x.instance, y.instance), cmp.Compare(x.first, y.first)) })
	found := make(map[*block]bool)
	for i, widest := 1, 0; i < len(all); i++ {
		if all[i].instance == all[widest].instance && all[i].first <= all[widest].last {
			found[all[i].of], found[all[widest].of] = true, true
		}
		if all[i].instance != all[widest].instance || all[i].last > all[widest].last {
			widest = i
		}
	}
	return found
}

// counter gathers groups.
type counter struct {
	by     []audit.Field
	groups map[[MaxBy]string]*audit.Group
	seen   map[audit.Position]bool
}

// once leaves the rows whose records were not counted yet.
func (c *counter) once(b *block, s *scratch, rows []uint16) (kept []uint16, err error) {
	if c.seen == nil {
		c.seen = make(map[audit.Position]bool)
	}
	if s.sequences, err = b.numbers(s.sequences, columnSequence); err != nil {
		return nil, err
	}
	instances, err := b.texts(audit.Instance)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(instances.values))
	for i, v := range instances.values {
		names[i] = string(v)
	}
	kept = rows[:0]
	for _, row := range rows {
		p := audit.Position{Micros: s.times[row], Instance: names[instances.code(int(row))], Sequence: uint64(s.sequences[row])} //nolint:gosec // wraps back
		if p.Sequence > 0 && c.seen[p] {
			continue
		}
		c.seen[p] = true
		kept = append(kept, row)
	}
	return kept, nil
}

// tally is a group within a block.
type tally struct{ count, first, last int64 }

// add counts rows of a block: first by numbers, which are fast, then by what those
// stand for.
func (c *counter) add(b *block, s *scratch, rows []uint16) error {
	var keys [MaxBy]func(row int) int64
	var names [MaxBy]func(key int64) string
	for i, field := range c.by {
		var err error
		if keys[i], names[i], err = keyed(b, s, field); err != nil {
			return err
		}
	}
	tallies := make(map[[MaxBy]int64]*tally)
	for _, row := range rows {
		var key [MaxBy]int64
		for i := range c.by {
			key[i] = keys[i](int(row))
		}
		at := s.times[row]
		t := tallies[key]
		if t == nil {
			t = &tally{first: at, last: at}
			tallies[key] = t
		}
		t.count++
		t.first, t.last = min(t.first, at), max(t.last, at)
	}
	for key, t := range tallies {
		var values [MaxBy]string
		for i := range c.by {
			values[i] = names[i](key[i])
		}
		c.group(values, t.count, t.first, t.last)
	}
	return nil
}

// keyed returns what stands for a field's value in a row, and what that is.
func keyed(b *block, s *scratch, field audit.Field) (key func(row int) int64, name func(key int64) string, err error) {
	var each int64
	switch field {
	case audit.Hour:
		each = time.Hour.Microseconds()
	case audit.Day:
		each = 24 * time.Hour.Microseconds()
	default:
		texts, err := b.texts(field)
		return func(row int) int64 { return int64(texts.code(row)) }, func(key int64) string { return string(texts.values[key]) }, err
	}
	return func(row int) int64 { return floor(s.times[row], each) }, func(key int64) string { return audit.NameOf(field, time.UnixMicro(key*each).UTC()) }, nil
}

// floor divides and rounds down, before 1970 too.
func floor(n, by int64) int64 {
	if n < 0 {
		return (n - by + 1) / by
	}
	return n / by
}

func (c *counter) group(key [MaxBy]string, count, first, last int64) {
	g := c.groups[key]
	from, to := time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
	if g == nil {
		g = &audit.Group{Values: slices.Clone(key[:len(c.by)]), First: from, Last: to}
		c.groups[key] = g
	}
	g.Count += count
	if from.Before(g.First) {
		g.First = from
	}
	if to.After(g.Last) {
		g.Last = to
	}
}

func (c *counter) sorted() []audit.Group {
	groups := make([]audit.Group, 0, len(c.groups))
	for _, g := range c.groups {
		groups = append(groups, *g)
	}
	audit.SortGroups(groups)
	return groups
}
