package checkpoint

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Board is where instances publish their checkpoints, each at its own name, and read
// those of the others. Methods give up when ctx ends.
type Board interface {
	// Put writes fields at a name, in place of what was there.
	Put(ctx context.Context, name string, fields map[string]string) error
	// Names returns the names at which something was written.
	Names(ctx context.Context) ([]string, error)
	// Get returns a field of what is at a name; "" if it is not there.
	Get(ctx context.Context, name string) (field func(string) string, err error)
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

// Publish writes a checkpoint to the board, under the name of its instance.
func Publish(ctx context.Context, b Board, c *Checkpoint, ended bool) error {
	fields := map[string]string{fieldCheckpoint: string(c.AppendJSON(nil))}
	if ended {
		fields[fieldEnded] = "true"
	}
	if err := b.Put(ctx, c.Instance.String(), fields); err != nil {
		return fmt.Errorf("publishing a checkpoint: %w", err)
	}
	return nil
}

// published reads what is at a name.
func published(ctx context.Context, b Board, name string) (c *Checkpoint, ended bool, err error) {
	field, err := b.Get(ctx, name)
	if err != nil {
		return nil, false, fmt.Errorf("reading a checkpoint: %w", err)
	}
	c, err = Parse([]byte(field(fieldCheckpoint)))
	if err == nil && c.Instance.String() != name {
		err = fmt.Errorf("%w: it is of instance %s", ErrMalformed, c.Instance)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading the checkpoint at %.40q: %w", name, err)
	}
	return c, field(fieldEnded) == "true", nil
}

// Published returns all checkpoints that are on a board, for who verifies, and what
// could not be read of it.
func Published(ctx context.Context, b Board) (all []*Checkpoint, faults []error, err error) {
	names, err := b.Names(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the checkpoints: %w", err)
	}
	if len(names) > maxPublished {
		return nil, nil, fmt.Errorf("listing the checkpoints: %d instances, expected at most %d", len(names), maxPublished)
	}
	for _, name := range names {
		c, _, err := published(ctx, b, name)
		switch {
		case ctx.Err() != nil:
			return nil, nil, fmt.Errorf("reading the checkpoints: %w", ctx.Err())
		case err != nil:
			faults = append(faults, err)
		default:
			all = append(all, c)
		}
	}
	return all, faults, nil
}

// others are the checkpoints of other instances as far as they are known. It is one
// goroutine's at a time.
type others struct {
	log   *slog.Logger
	known map[string]*other
	told  bool // that there are too many
	polls int
}

// other is what is known of another instance.
type other struct {
	head Head
	time time.Time
	over bool // it has ended: it is not looked at again
	poll int  // at which it was looked at last
}

// heads returns the latest heads of the others, at most MaxOthers: those that are
// newest.
func (o *others) heads(self logfile.Instance) []Head {
	var all []*other
	for _, i := range o.known {
		if i.head.Sequence > 0 && i.head.Instance != self {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b *other) int {
		return cmp.Or(b.time.Compare(a.time), cmp.Compare(a.head.Instance.String(), b.head.Instance.String()))
	})
	var heads []Head
	for _, i := range all[:min(len(all), MaxOthers)] {
		heads = append(heads, i.head)
	}
	return heads
}

// poll reads what the others have published since.
func (o *others) poll(ctx context.Context, b Board, self logfile.Instance) {
	names, err := b.Names(ctx)
	if err != nil {
		o.log.Warn("the checkpoints of other instances cannot be read", "error", err)
		return
	}
	if len(names) > maxPublished {
		if !o.told {
			o.told = true
			o.log.Warn("too many instances have published checkpoints; those that are not needed any more should be removed", "instances", len(names), "limit", maxPublished)
		}
		names = names[:maxPublished]
	}
	before := o.known
	o.known = make(map[string]*other, len(names)) // what is gone is forgotten
	var live []string
	for _, name := range names {
		i := before[name]
		if i == nil {
			i = &other{}
		}
		o.known[name] = i
		if name != self.String() && !i.over {
			live = append(live, name)
		}
	}
	// Whoever was not looked at for longest, or never, comes first: if there are too many
	// for one poll, none waits for ever.
	slices.SortStableFunc(live, func(a, b string) int { return cmp.Compare(o.known[a].poll, o.known[b].poll) })
	o.polls++
	for n, name := range live {
		if n == maxLive || ctx.Err() != nil {
			return
		}
		o.known[name].poll = o.polls
		o.known[name].look(ctx, b, name)
	}
}

// look reads what an instance has published, if it can be read.
func (i *other) look(ctx context.Context, b Board, name string) {
	c, ended, err := published(ctx, b, name)
	if err != nil {
		return
	}
	i.head, i.time = c.Head, c.Time
	i.over = ended || time.Since(c.Time) > stale
}
