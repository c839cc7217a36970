package index

import (
	"context"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// readAll decodes every line of files.
func readAll(ctx context.Context, files []string) (all []audit.Entry, err error) {
	for line, err := range logfile.Lines(ctx, files...) {
		if err != nil {
			return nil, err
		}
		if entry, ok := audit.Decode(line.Text); ok && line.Fault == logfile.Whole {
			all = append(all, entry)
		}
	}
	return all, nil
}

// scan answers a query by looking at every entry.
func scan(entries []audit.Entry, q audit.Query) ([]audit.Entry, error) {
	matcher, err := q.Matcher()
	if err != nil {
		return nil, err
	}
	var all []audit.Entry
	for i := range entries {
		if matcher.Match(&entries[i]) {
			all = append(all, entries[i])
		}
	}
	slices.SortStableFunc(all, func(a, b audit.Entry) int { return a.Position().Compare(b.Position()) })
	all = slices.CompactFunc(all, func(a, b audit.Entry) bool {
		return a.Sequence > 0 && a.Position().Compare(b.Position()) == 0
	})
	if !q.OldestFirst {
		slices.Reverse(all)
	}
	if q.After != "" {
		after, err := audit.ParseCursor(q.After)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(e audit.Entry) bool {
			c := e.Position().Compare(after)
			return q.OldestFirst && c <= 0 || !q.OldestFirst && c >= 0
		})
	}
	return all, nil
}

func scanCount(entries []audit.Entry, f audit.Filter, by []audit.Field) ([]audit.Group, error) {
	all, err := scan(entries, audit.Query{Filter: f, OldestFirst: true})
	if err != nil {
		return nil, err
	}
	found := map[string]*audit.Group{}
	for _, e := range all {
		values := []string{}
		for _, field := range by {
			values = append(values, e.Value(field))
		}
		key := strings.Join(values, "\x00")
		if found[key] == nil {
			found[key] = &audit.Group{Values: values, First: e.Time}
		}
		found[key].Count++
		found[key].Last = e.Time
	}
	var groups []audit.Group
	for _, g := range found {
		groups = append(groups, *g)
	}
	audit.SortGroups(groups)
	return groups, nil
}
