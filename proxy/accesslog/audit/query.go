package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Query is a filter, and which of its entries are wanted, in which order. The zero
// value asks for everything, the newest first.
type Query struct {
	Filter
	// OldestFirst turns the order around.
	OldestFirst bool
	// Limit is how many entries are wanted at most; 0 for all.
	Limit int
	// After is the Cursor of the last entry of an earlier answer: what is wanted comes
	// after it in this order. "" begins at the beginning.
	After string
}

// Position is an entry's place in the order of answers.
type Position struct {
	Micros   int64 // since 1970
	Instance string
	Sequence uint64
}

// Compare orders positions from the oldest to the newest.
func (p Position) Compare(other Position) int {
	return cmp.Or(cmp.Compare(p.Micros, other.Micros), strings.Compare(p.Instance, other.Instance), cmp.Compare(p.Sequence, other.Sequence))
}

// Position returns where e stands.
func (e *Entry) Position() Position {
	return Position{e.Time.UnixMicro(), e.values[Instance], e.Sequence}
}

// Cursor names an entry's place for a later query. Of several records that are not
// sealed and of the same microsecond it names all.
func (e *Entry) Cursor() string {
	p := e.Position()
	return fmt.Sprintf("%d.%d.%s", p.Micros, p.Sequence, p.Instance)
}

// ParseCursor reads what Cursor returned.
func ParseCursor(text string) (p Position, err error) {
	parts := strings.SplitN(text, ".", 3)
	if len(parts) == 3 {
		p.Instance = parts[2]
		if p.Micros, err = strconv.ParseInt(parts[0], 10, 64); err == nil {
			p.Sequence, err = strconv.ParseUint(parts[1], 10, 64)
		}
	}
	if len(parts) != 3 || err != nil {
		return p, fmt.Errorf("cursor %.80q: expected one that an earlier answer ended with", text)
	}
	return p, nil
}

// Group is how many entries have the same values in what was counted by.
type Group struct {
	// Values are one of each field that was counted by, in that order.
	Values []string
	// Count is how many entries there are, at least 1.
	Count int64
	// First and Last are the times of the oldest and of the newest.
	First, Last time.Time
}

// SortGroups puts the largest first, and of equal ones the one whose values come
// first by letter.
func SortGroups(groups []Group) {
	slices.SortFunc(groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), slices.Compare(a.Values, b.Values))
	})
}
