package auditpage

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/index"
)

// History finds records in the log's file and its old files, by an index that it keeps.
// While that is made for the first time, it answers from what is in memory. Safe for
// concurrent use.
type History struct {
	cfg   HistoryConfig
	ready atomic.Pointer[index.Index] // nil until it is made

	mu      sync.Mutex
	updated time.Time // when the index was last brought up to date; guarded by mu
}

// HistoryConfig is what a History needs. It must not be changed after NewHistory.
type HistoryConfig struct {
	// Directory is where the index is kept, of this process alone; File is the log.
	Directory, File string
	// Recent answers until there is an index.
	Recent *Recent
	// Log is told when the index cannot be made or brought up to date.
	Log *slog.Logger
}

const (
	// updateEvery is how often the index is brought up to date while nobody searches, and
	// freshFor how old it may be when somebody does.
	updateEvery = 30 * time.Second
	freshFor    = time.Second
)

// NewHistory returns one that answers from memory until Run has made its index.
func NewHistory(cfg HistoryConfig) *History { return &History{cfg: cfg} }

// Run makes the index and keeps it up to date until ctx ends. An index that cannot be
// made is tried again: nobody but auditors misses it.
func (h *History) Run(ctx context.Context) {
	defer h.close()
	ticks := time.NewTicker(updateEvery)
	defer ticks.Stop()
	failing := false
	for {
		err := h.update(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			h.cfg.Log.Warn("index of the access log cannot be kept up to date; the audit page shows less", "directory", h.cfg.Directory, "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func (h *History) close() {
	if x := h.ready.Swap(nil); x != nil {
		_ = x.Close() // it may be thrown away at any time
	}
}

// update makes the index, or brings it up to date.
func (h *History) update(ctx context.Context) error {
	files, err := audit.Family(h.cfg.File)
	if err != nil {
		return err
	}
	begun := time.Now()
	if x := h.ready.Load(); x != nil {
		err = x.Update(ctx, files...)
	} else if x, err = index.Open(ctx, h.cfg.Directory, files...); err == nil {
		h.ready.Store(x)
	}
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.updated = begun
	}
	return err
}

// fresh is the index, not older than a moment; nil if there is none yet.
func (h *History) fresh(ctx context.Context) (*index.Index, error) {
	x := h.ready.Load()
	if x == nil {
		return nil, nil //nolint:nilnil // it is no fault that there is none yet
	}
	h.mu.Lock()
	old := time.Since(h.updated) > freshFor
	h.mu.Unlock()
	if old {
		if err := h.update(ctx); err != nil {
			return nil, reason(ctx, err)
		}
	}
	return x, nil
}

// reason is why a search failed: that its time is over, or err.
func reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Find implements [Store].
func (h *History) Find(ctx context.Context, s *Search, behind string, limit int) (found []Record, end string, err error) {
	x, err := h.fresh(ctx)
	if err != nil {
		return nil, "", err
	}
	if x == nil {
		return h.cfg.Recent.Find(ctx, s, behind, limit)
	}
	if behind != "" {
		if _, err := audit.ParseCursor(behind); err != nil {
			return nil, "", fmt.Errorf("%w: %w", ErrQuery, err)
		}
	}
	for entry, err := range x.Query(ctx, audit.Query{Filter: s.Filter, Limit: limit + 1, After: behind}) {
		if err != nil {
			return nil, "", reason(ctx, err)
		}
		if len(found) == limit {
			return found, found[limit-1].Cursor(), nil
		}
		found = append(found, Record{Entry: entry})
	}
	return found, "", nil
}

// Timeline implements [Store].
func (h *History) Timeline(ctx context.Context, s *Search, steps Steps) ([]Step, error) {
	x, err := h.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if x == nil {
		return h.cfg.Recent.Timeline(ctx, s, steps)
	}
	f := s.Filter
	if steps.From.After(f.Since) {
		f.Since = steps.From
	}
	if end := steps.From.Add(time.Duration(steps.Count) * steps.Each); f.Until.IsZero() || end.Before(f.Until) {
		f.Until = end
	}
	if steps.Each%time.Hour != 0 {
		return h.countEach(ctx, x, f, steps)
	}
	by, form := audit.Hour, "2006-01-02T15"
	if steps.Each%(24*time.Hour) == 0 {
		by, form = audit.Day, time.DateOnly
	}
	groups, err := x.Count(ctx, f, by, audit.Decision)
	if err != nil {
		return nil, reason(ctx, err)
	}
	counted := make([]Step, steps.Count)
	for _, g := range groups {
		at, err := time.Parse(form, g.Values[0])
		if i := steps.index(at); err == nil && i >= 0 {
			counted[i].count(g.Values[1], int(g.Count))
		}
	}
	return counted, nil
}

// countEach counts one record after another: the index knows no time between hours.
func (h *History) countEach(ctx context.Context, x *index.Index, f audit.Filter, steps Steps) ([]Step, error) {
	counted := make([]Step, steps.Count)
	for entry, err := range x.Query(ctx, audit.Query{Filter: f}) {
		if err != nil {
			return nil, reason(ctx, err)
		}
		if i := steps.index(entry.Time); i >= 0 {
			counted[i].count(entry.Value(audit.Decision), 1)
		}
	}
	return counted, nil
}

// Denials implements [Store].
func (h *History) Denials(ctx context.Context, s *Search, limit int) ([]Denial, error) {
	x, err := h.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if x == nil {
		return h.cfg.Recent.Denials(ctx, s, limit)
	}
	f := s.Filter
	if f.Decision != "" && f.Decision != decisionDeny {
		return nil, nil
	}
	f.Decision = decisionDeny
	groups, err := x.Count(ctx, f, audit.Reason, audit.Rule, audit.Route, audit.User)
	if err != nil {
		return nil, reason(ctx, err)
	}
	found := newTally()
	for _, g := range groups {
		found.add(kind{g.Values[0], g.Values[1], g.Values[2]}, g.Values[3], int(g.Count), g.Last)
	}
	return found.kinds(limit), nil
}

// Extent implements [Store].
func (h *History) Extent(ctx context.Context) (Extent, error) {
	x, err := h.fresh(ctx)
	if err != nil {
		return Extent{}, err
	}
	recent, err := h.cfg.Recent.Extent(ctx)
	if x == nil || err != nil {
		recent.Source = "in memory, while those in its files are being read"
		return recent, err
	}
	known := x.Extent()
	if known.Files == 0 && known.Records == 0 {
		return recent, nil
	}
	return Extent{
		Count: int(known.Records), First: known.First, Last: known.Last, Source: fmt.Sprintf("in %d of its files", known.Files), Instance: recent.Instance,
	}, nil
}
