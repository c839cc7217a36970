package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// others are the checkpoints of other instances as far as they are known. It is one
// goroutine's at a time.
type others struct {
	log   *slog.Logger
	known map[string]*other
	told  bool // that there are too many
	polls int

	keys  Keys // nil until they are known
	blind bool // it was told that they cannot be read
	odd   int  // how many entries were told of that count for nothing
}

// maxOdd is how many entries of a board that count for nothing are told of.
const maxOdd = 10

// other is what is known of another instance.
type other struct {
	head Head
	time time.Time
	over bool // it has ended: it is not looked at again
	poll int  // at which it was looked at last
	seen int  // at which it was known first; 0 for never
	odd  bool // it was told of
}

// heads returns the latest heads of the others, at most MaxOthers: of those that run, the
// ones that are known for longest, so that nobody is crowded out; then those that have
// ended last.
func (o *others) heads(self logfile.Instance) []Head {
	var all []*other
	for _, i := range o.known {
		if i.head.Sequence > 0 && i.head.Instance != self {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b *other) int {
		switch {
		case a.over && !b.over:
			return 1
		case b.over && !a.over:
			return -1
		case !a.over && a.seen != b.seen:
			return cmp.Compare(a.seen, b.seen)
		}
		return cmp.Or(b.time.Compare(a.time), cmp.Compare(a.head.Instance.String(), b.head.Instance.String()))
	})
	var heads []Head
	for _, i := range all[:min(len(all), MaxOthers)] {
		heads = append(heads, i.head)
	}
	return heads
}

// poll reads what the others have published since.
func (o *others) poll(ctx context.Context, vault Vault, self logfile.Instance) {
	names, err := vault.Board.Names(ctx)
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
	if len(live) == 0 || !o.readKeys(ctx, vault.Keys, o.keys == nil) {
		return
	}
	again := true // the keys may have got a version: they are read once more at most
	for n, name := range live {
		if n == maxLive || ctx.Err() != nil {
			return
		}
		o.known[name].poll = o.polls
		err := o.look(ctx, vault.Board, name)
		if again && errors.Is(err, ErrUnknownKey) && o.readKeys(ctx, vault.Keys, true) {
			again, err = false, o.look(ctx, vault.Board, name)
		}
		if errors.Is(err, ErrUnknownKey) || errors.Is(err, ErrForged) || errors.Is(err, ErrReplaced) {
			o.tell(name, err)
		}
	}
}

// readKeys reads the public keys if need be, and reports whether there are some. Without
// them nobody's checkpoint counts.
func (o *others) readKeys(ctx context.Context, read func(context.Context) (Keys, error), need bool) bool {
	if !need {
		return true
	}
	if read == nil {
		return false
	}
	keys, err := read(ctx)
	if err == nil {
		o.keys, o.blind = keys, false
		return true
	}
	if ctx.Err() == nil && !o.blind {
		o.blind = true
		o.log.Warn("the public keys of checkpoints cannot be read; those of other instances are not named", "error", err)
	}
	return o.keys != nil
}

// tell tells of an entry that counts for nothing, once.
func (o *others) tell(name string, err error) {
	i := o.known[name]
	if i.odd || o.odd >= maxOdd {
		return
	}
	i.odd = true
	o.odd++
	o.log.Error("a published checkpoint is not what its instance has signed", "event", "checkpoint_forged", "name", name, "error", err)
}

// look reads what an instance has published, if it can be read. What it has signed before
// stays known: nothing is replaced by less.
func (o *others) look(ctx context.Context, b Board, name string) error {
	c, ended, err := published(ctx, b, name)
	if err == nil {
		err = o.keys.Verify(c)
	}
	i := o.known[name]
	if err == nil && c.Sequence < i.head.Sequence {
		err = fmt.Errorf("%w: of record %d, and it was of record %d", ErrReplaced, c.Sequence, i.head.Sequence)
	}
	if err != nil {
		return err
	}
	i.head, i.time = c.Head, c.Time
	i.over = ended || time.Since(c.Time) > stale
	if i.seen == 0 {
		i.seen = o.polls
	}
	return nil
}
