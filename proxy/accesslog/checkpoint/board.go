package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Board is where instances publish their checkpoints, each at its own name, and read
// those of the others. Methods give up when ctx ends.
type Board interface {
	// Put writes fields at a name, in place of what was there. taken says that somebody
	// else had written there since the last time.
	Put(ctx context.Context, name string, fields map[string]string) (taken bool, err error)
	// Names returns the names at which something was written.
	Names(ctx context.Context) ([]string, error)
	// Get returns what is at a name.
	Get(ctx context.Context, name string) (Entry, error)
}

// History is a Board that keeps what was replaced.
type History interface {
	Board
	// Versions returns all that is kept of what was written at a name, the oldest first.
	Versions(ctx context.Context, name string) ([]Entry, error)
}

// Entry is what is at a name.
type Entry struct {
	// Field returns a field; "" if it is not there.
	Field func(string) string
	// Written is when it was written, by the clock of the board.
	Written time.Time
}

// The fields of what is published.
const (
	fieldCheckpoint = "checkpoint"
	fieldEnded      = "ended" // "true" if it is of the instance's last record
)

// maxPublished bounds how many instances a board is read for, and maxLive how many of
// them at one look.
const (
	maxPublished = 10_000
	maxLive      = 256
)

// stale is the age of a checkpoint from which on an instance is not looked at again:
// it was killed, or its host is gone.
const stale = 24 * time.Hour

// Publish writes a checkpoint to the board, under the name of its instance. taken says
// that somebody else has written there.
func Publish(ctx context.Context, b Board, c *Checkpoint, ended bool) (taken bool, err error) {
	fields := map[string]string{fieldCheckpoint: string(c.AppendJSON(nil))}
	if ended {
		fields[fieldEnded] = "true"
	}
	if taken, err = b.Put(ctx, c.Instance.String(), fields); err != nil {
		return taken, fmt.Errorf("publishing a checkpoint: %w", err)
	}
	return taken, nil
}

// published reads what is at a name.
func published(ctx context.Context, b Board, name string) (c *Checkpoint, ended bool, err error) {
	entry, err := b.Get(ctx, name)
	if err != nil {
		return nil, false, fmt.Errorf("reading a checkpoint: %w", err)
	}
	return entry.read(name)
}

// read reads an entry of a name.
func (e Entry) read(name string) (c *Checkpoint, ended bool, err error) {
	c, err = Parse([]byte(e.Field(fieldCheckpoint)))
	if err == nil && c.Instance.String() != name {
		err = fmt.Errorf("%w: it is of instance %s", ErrMalformed, c.Instance)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the checkpoint at %.40q: %w", name, err)
	}
	return c, e.Field(fieldEnded) == "true", nil
}

// Published returns all checkpoints that are kept on a board, for who verifies, and what
// is not as instances publish it.
func Published(ctx context.Context, b History) (all []*Checkpoint, faults []error, err error) {
	names, err := b.Names(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the checkpoints: %w", err)
	}
	if len(names) > maxPublished {
		return nil, nil, fmt.Errorf("listing the checkpoints: %d instances, expected at most %d: `sallyport audit board --prune` removes those that have ended", len(names), maxPublished)
	}
	for _, name := range names {
		versions, err := b.Versions(ctx, name)
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("reading the checkpoints: %w", ctx.Err())
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("reading the checkpoint at %.40q: %w", name, err))
			continue
		}
		kept, wrong := history(name, versions)
		all, faults = append(all, kept...), append(faults, wrong...)
	}
	return all, faults, nil
}

// Posted is the latest that is at a name of a board.
type Posted struct {
	Name        string
	*Checkpoint      // nil if there is none, with Err
	Ended       bool // it is of the instance's last record
	Err         error
}

// made is when the checkpoint was made; the zero time if there is none.
func (p Posted) made() time.Time {
	if p.Checkpoint == nil {
		return time.Time{}
	}
	return p.Time
}

// Latest returns the latest that is at each name of a board, however many there are, the
// newest first.
func Latest(ctx context.Context, b Board) ([]Posted, error) {
	names, err := b.Names(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the checkpoints: %w", err)
	}
	all := make([]Posted, 0, len(names))
	for _, name := range names {
		p := Posted{Name: name}
		if p.Checkpoint, p.Ended, p.Err = published(ctx, b, name); ctx.Err() != nil {
			return nil, fmt.Errorf("reading the checkpoints: %w", ctx.Err())
		}
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b Posted) int {
		return b.made().Compare(a.made())
	})
	return all, nil
}

// soon is how long after it was made a checkpoint is published at most, with what two
// clocks may differ.
const soon = 10 * time.Minute

// history reads all versions of a name. An instance publishes what it has just signed, and
// never less than before: whoever puts an older one in its place shows.
func history(name string, versions []Entry) (all []*Checkpoint, faults []error) {
	var before *Checkpoint
	for _, entry := range versions {
		c, _, err := entry.read(name)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		all = append(all, c)
		late := entry.Written.Sub(c.Time)
		switch {
		case before != nil && c.Sequence < before.Sequence:
			faults = append(faults, fmt.Errorf("%w: at %.40q, one of record %d was replaced by one of record %d", ErrReplaced, name, before.Sequence, c.Sequence))
		case !entry.Written.IsZero() && late.Abs() > soon:
			faults = append(faults, fmt.Errorf("%w: at %.40q, one of record %d was made at %s and written there at %s", ErrReplaced, name, c.Sequence,
				c.Time.UTC().Format(time.RFC3339), entry.Written.UTC().Format(time.RFC3339)))
		}
		before = c
	}
	return all, faults
}

// ErrReplaced is a published checkpoint that somebody has put in the place of a later one.
var ErrReplaced = errors.New("an older checkpoint stands in the place of a later one")
