package auditpage

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Store is where records are looked up. It is called concurrently, and returns with ctx.
// A Search that takes too long is an error, never half an answer.
type Store interface {
	// Find returns up to limit records that are looked for, the newest first, beginning
	// behind where an earlier answer has ended, or with the newest; and where this one
	// has ended, empty if there are no others.
	Find(ctx context.Context, s *Search, behind string, limit int) (found []Record, end string, err error)
	// Timeline counts the records that are looked for, in steps.
	Timeline(ctx context.Context, s *Search, steps Steps) ([]Step, error)
	// Denials counts those of them in which somebody was turned away, by reason, rule and
	// tool, the most frequent first, up to limit kinds.
	Denials(ctx context.Context, s *Search, limit int) ([]Denial, error)
	// Extent says what the store holds.
	Extent(ctx context.Context) (Extent, error)
}

// Steps divide time from From in steps of Each, Count of them.
type Steps struct {
	From  time.Time
	Each  time.Duration
	Count int
}

// index is the step of an instant, or -1.
func (s Steps) index(at time.Time) int {
	if at.Before(s.From) {
		return -1
	}
	if i := at.Sub(s.From) / s.Each; i < time.Duration(s.Count) {
		return int(i)
	}
	return -1
}

// Step counts the records of one step: all, and those in which somebody was turned away.
type Step struct{ All, Denied int }

// Denial counts denials of one kind.
type Denial struct {
	Reason, Rule, Tool string
	Count              int
	People             int // how many; those who have not signed in are none
	Last               time.Time
}

// Extent is what a Store holds.
type Extent struct {
	Count       int
	First, Last time.Time // when the oldest and the newest request arrived; zero without any
	// Missed is how many records were not taken since there was no room, or were too
	// strange to be read.
	Missed int64
	// Source says where from, such as "in memory", and Instance whose records they are.
	Source, Instance string
}

// Faults of a search.
var (
	// ErrBusy says that as many searches are under way as may be.
	ErrBusy = errors.New("too many searches are under way")
	// ErrYours says that as many of one person's are.
	ErrYours = fmt.Errorf("%w: one person's", ErrBusy)
	// ErrSlow says that a search has taken longer than it may.
	ErrSlow = errors.New("search took too long")
)
