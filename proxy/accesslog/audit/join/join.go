// Package join lines the access log up with Vault's own audit log: who has caused
// this read. Vault knows the token that asked; our records name the token that a
// process has, by its accessor, in the form in which Vault's log has it: a keyed hash
// of the audit device. What a process did at that time tells the cause, if there is only one that it can be; else how many there are.
//
// Hostile input: both logs. Lines that are none are counted and passed over.
//
// Output: the lines of Vault's log, each with what is known of its cause, and how
// sure that is.
package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Log is where our records are; package index has one.
type Log interface {
	// Query yields the entries that are asked for.
	Query(ctx context.Context, q audit.Query) iter.Seq2[audit.Entry, error]
}

// How says how a cause was found.
type How uint8

// From what is not known to what is sure.
const (
	// Unknown is a token that no record of ours names: another's.
	Unknown How = iota
	// Process is a token of ours, and no record near in time: a process keeps its token,
	// certificates and secrets fresh by itself.
	Process
	// Near is an event of the process that has the token, within the window.
	Near
	// Exact is a record that names the token itself, and was under way at the time.
	Exact
)

// String names how.
func (h How) String() string {
	return [...]string{"unknown", "process", "near", "exact"}[h]
}

// Joined is a line of Vault's log and its cause.
type Joined struct {
	Access
	How How
	// Service and Instance say which process of ours it was, unless How is Unknown.
	Service, Instance string
	// Cause is the record that tells why, if How is Near or Exact: of several that are as
	// near, the one that began last.
	Cause audit.Entry
	// Candidates is how many records are as near.
	Candidates int
}

// Config says what is joined.
type Config struct {
	// Files are those of Vault's audit log, plain or compressed.
	Files []string
	// Window is how far a record and a line may lie apart: clocks differ, and a record
	// may be written some time after what it is about. Default 2s.
	Window time.Duration
	// Since and Until bound the lines of Vault's log; zero for no bound.
	Since, Until time.Time
}

// Result is what was read besides.
type Result struct {
	// Lines are the accesses that Vault's log has, in the time that is asked for.
	Lines int
	// Broken is how many lines are none of Vault's log.
	Broken int
}

// maxRecords bounds how many of our records are held at once: those that name a
// token, and events.
const maxRecords = 500_000

// ErrTooMany is more records than can be held.
var ErrTooMany = errors.New("too many records name a token of Vault's, expected a shorter time")

// eventActions are what a process does that may be why it asks Vault.
var eventActions = []string{
	"vault_login", "introduction", "introduction_alarm", "vault_token_lost", "key_change", "config_change", "certificate_change",
	"operator_request", "process_start", "process_stop", "log_start", "log_end", "checkpoint",
}

// accessors begin like this in Vault's log, unless the device is told not to hash
// them.
const hashedPrefix = "hmac-sha256:"

// record is one of ours that may be a cause.
type record struct {
	entry      audit.Entry
	start, end time.Time
}

// owner is a process that has a token.
type owner struct{ service, instance string }

// joiner holds what of our log is needed.
type joiner struct {
	window  time.Duration
	owners  map[string][]owner // by accessor
	records []record           // by start
	longest time.Duration
}

// Join yields the lines of Vault's log in the order in which they stand there, and
// fills in result, which is complete when all were yielded. An error ends it.
func Join(ctx context.Context, log Log, cfg Config, result *Result) iter.Seq2[Joined, error] {
	return func(yield func(Joined, error) bool) {
		if cfg.Window == 0 {
			cfg.Window = 2 * time.Second
		}
		j := &joiner{window: cfg.Window, owners: make(map[string][]owner)}
		if err := j.load(ctx, log, cfg); err != nil {
			yield(Joined{}, err)
			return
		}
		for line, err := range logfile.Lines(ctx, cfg.Files...) {
			if err != nil {
				yield(Joined{}, fmt.Errorf("reading Vault's audit log: %w", err))
				return
			}
			access, isAccess, ok := parseVault(line.Text)
			if !ok && len(line.Text) > 0 {
				result.Broken++
			}
			if !isAccess || !within(access.Time, cfg.Since, cfg.Until) {
				continue
			}
			result.Lines++
			if !yield(j.join(access), nil) {
				return
			}
		}
	}
}

func within(t, since, until time.Time) bool {
	return (since.IsZero() || !t.Before(since)) && (until.IsZero() || t.Before(until))
}

// load reads our records: which process has which token, whenever that was said, and
// what may be a cause in the time.
func (j *joiner) load(ctx context.Context, log Log, cfg Config) error {
	for entry, err := range log.Query(ctx, audit.Query{Filter: audit.Filter{Accessor: hashedPrefix + "*"}}) {
		if err != nil {
			return err
		}
		j.own(&entry)
		if err := j.add(entry, cfg); err != nil {
			return err
		}
	}
	for _, action := range eventActions {
		q := audit.Query{Filter: audit.Filter{Action: action}}
		if !cfg.Since.IsZero() {
			q.Since = cfg.Since.Add(-j.window)
		}
		if !cfg.Until.IsZero() {
			q.Until = cfg.Until.Add(j.window)
		}
		for entry, err := range log.Query(ctx, q) {
			if err != nil {
				return err
			}
			if entry.Value(audit.Accessor) != "" {
				continue // is there
			}
			if err := j.add(entry, cfg); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(j.records, func(a, b record) int { return a.start.Compare(b.start) })
	return nil
}

// own notes whose the token is that a record names.
func (j *joiner) own(e *audit.Entry) {
	accessor, who := e.Value(audit.Accessor), owner{e.Value(audit.Service), e.Value(audit.Instance)}
	if !slices.Contains(j.owners[accessor], who) {
		j.owners[accessor] = append(j.owners[accessor], who)
	}
}

func (j *joiner) add(e audit.Entry, cfg Config) error {
	r := record{e, e.Time, e.Time.Add(e.Duration)}
	if !cfg.Since.IsZero() && r.end.Before(cfg.Since.Add(-j.window)) || !cfg.Until.IsZero() && r.start.After(cfg.Until.Add(j.window)) {
		return nil
	}
	if len(j.records) == maxRecords {
		return ErrTooMany
	}
	j.records = append(j.records, r)
	j.longest = max(j.longest, e.Duration)
	return nil
}

// join finds the cause of an access.
func (j *joiner) join(a Access) Joined {
	out := Joined{Access: a}
	owners := j.owners[a.Accessor]
	if len(owners) == 0 || a.Accessor == "" {
		owners = j.owners[a.Issued] // a login has no token yet
		if a.Issued == "" {
			owners = nil
		}
	}
	if len(owners) == 0 {
		return out
	}
	out.How, out.Service, out.Instance = Process, owners[0].service, owners[0].instance
	best := time.Duration(1<<63 - 1)
	for i := j.firstFrom(a.Time); i < len(j.records) && !j.records[i].start.After(a.Time.Add(j.window)); i++ {
		r := &j.records[i]
		how, apart := j.rate(r, &a, owners)
		if how <= Process || how < out.How {
			continue
		}
		if how > out.How || apart < best {
			out.How, best, out.Candidates = how, apart, 0
		}
		if apart == best {
			out.Candidates++
			out.Cause, out.Service, out.Instance = r.entry, r.entry.Value(audit.Service), r.entry.Value(audit.Instance)
		}
	}
	return out
}

// firstFrom returns the first record that may still be under way at a time.
func (j *joiner) firstFrom(t time.Time) int {
	from := t.Add(-j.window - j.longest)
	i, _ := slices.BinarySearchFunc(j.records, from, func(r record, t time.Time) int { return cmp.Or(r.start.Compare(t), 1) })
	return i
}

// rate says how good a record explains an access, and how far apart they are.
func (j *joiner) rate(r *record, a *Access, owners []owner) (How, time.Duration) {
	apart := time.Duration(0)
	switch {
	case a.Time.Before(r.start):
		apart = r.start.Sub(a.Time)
	case a.Time.After(r.end):
		apart = a.Time.Sub(r.end)
	}
	if apart > j.window {
		return Unknown, 0
	}
	accessor := r.entry.Value(audit.Accessor)
	switch {
	case accessor != "" && (accessor == a.Accessor || accessor == a.Issued):
		return Exact, apart
	case accessor == "" && slices.Contains(owners, owner{r.entry.Value(audit.Service), r.entry.Value(audit.Instance)}):
		return Near, apart
	}
	return Unknown, 0
}
