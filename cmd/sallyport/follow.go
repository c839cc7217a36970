package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// follower keeps fresh what was read once: a secret, a configuration, somebody
// else's metadata. It reads it again and again and has a new version put in use
// as a whole. What is in use stays in use whatever becomes of it: a version that
// cannot be used, one that was deleted, a policy that was taken away, a server
// that does not answer.
//
// The fields are set once, before run. All methods are safe for concurrent use.
type follower[T any] struct {
	name  string               // for the log and the status: "secret/sallyport/saml"
	every func() time.Duration // how often; asked anew before each reading
	read  func(ctx context.Context) (T, error)
	// version names what was read to a person.
	version func(T) string
	// inUse says whether a value is what is in use now, which is not applied again.
	inUse func(T) bool
	// apply puts it in use as a whole, or returns why it cannot and changes
	// nothing. It is called by run, one call at a time, and again with the same
	// version at the next reading if it failed.
	apply func(ctx context.Context, value T) error
	// what names its kind to the access log; detail, if not nil, adds to the line that a new
	// version is in use.
	what   string
	detail func() []any
	log    *slog.Logger

	wakeup   chan struct{}      // asks for a reading now
	asks     chan chan struct{} // asks for one, and wants to know when it is over
	failures int                // since the last success; owned by run

	mu    sync.Mutex // guards state
	state followState
}

// followState is what is known of something that is followed.
type followState struct {
	Kind    string    `json:"kind"` // kindSecret or kindDocument
	Name    string    `json:"name"`
	Version string    `json:"version"` // in use
	Since   time.Time `json:"since"`   // when it was put in use
	Read    time.Time `json:"read"`    // when it was last read, or found to be gone
	// Refused is the newer version that is not in use, empty if there is none.
	// Cause says why, or why the last reading gave nothing. It holds no secret.
	Refused string `json:"refused,omitempty"`
	Cause   string `json:"cause,omitempty"`
}

// errOvertaken is what apply returns of a value that is of no interest any more: it
// is as if it had not been read.
var errOvertaken = errors.New("overtaken by another change")

// begin notes that version of something of that kind is in use already.
func (f *follower[T]) begin(kind, version string) {
	now := time.Now()
	f.log = f.log.With("source", f.name)
	f.wakeup, f.asks = make(chan struct{}, 1), make(chan chan struct{})
	f.state = followState{Kind: kind, Name: f.name, Version: version, Since: now, Read: now}
}

// run reads until ctx ends, then returns nil.
func (f *follower[T]) run(ctx context.Context) error {
	for {
		var asked chan struct{}
		timer := time.NewTimer(f.pause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-f.wakeup:
			timer.Stop()
			f.failures = 0
		case asked = <-f.asks:
			timer.Stop()
		case <-timer.C:
		}
		f.look(ctx)
		if asked != nil {
			close(asked)
		}
	}
}

// now has run read once from the beginning, and waits until that is over or ctx is.
func (f *follower[T]) now(ctx context.Context) {
	over := make(chan struct{})
	select {
	case f.asks <- over:
	case <-ctx.Done():
		return
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// Pace after a failure: what could not be read is looked for at least once a
// minute, and what was refused is tried again ever less often, since each try may
// cost somebody else something.
const (
	unreadRetry   = time.Minute
	longestRefuse = time.Hour
)

// pause is how long to wait for the next reading.
func (f *follower[T]) pause() time.Duration {
	every := f.every()
	switch state := f.status(); {
	case state.Refused != "":
		return jittered(max(every, min(every<<min(f.failures, 16), longestRefuse)))
	case state.Cause != "":
		return jittered(min(every, unreadRetry))
	}
	return jittered(every)
}

// jittered returns a duration that differs from d by up to a tenth, so that
// replicas do not ask together.
func jittered(d time.Duration) time.Duration {
	//nolint:gosec // jitter spreads the readings of replicas; it keeps no secret
	return d - d/10 + rand.N(d/5+1)
}

// wake makes run read now.
func (f *follower[T]) wake() {
	select {
	case f.wakeup <- struct{}{}:
	default: // it will, already
	}
}

// status returns what is known.
func (f *follower[T]) status() followState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// states implements [followed].
func (f *follower[T]) states() []followState { return []followState{f.status()} }

func (f *follower[T]) set(state followState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = state
}

// look reads once and applies what is new.
func (f *follower[T]) look(ctx context.Context) {
	value, err := f.read(ctx)
	if ctx.Err() != nil {
		return
	}
	before := f.status()
	if err != nil {
		f.keep(ctx, before, err)
		return
	}
	version := f.version(value)
	if f.inUse(value) {
		f.settle(before, version, false)
		return
	}
	if err := f.apply(ctx, value); err != nil {
		if ctx.Err() == nil && !errors.Is(err, errOvertaken) {
			f.failures++
			f.refuse(before, version, err)
		}
		return
	}
	told := []any{"version", version, "before", before.Version, "what", f.what}
	if f.detail != nil {
		told = append(told, f.detail()...)
	}
	f.log.Info("new version in use", told...)
	f.settle(before, version, true)
}

// settle notes that a version is in use and that nothing is wrong.
func (f *follower[T]) settle(before followState, version string, changed bool) {
	f.failures = 0
	after := followState{Kind: before.Kind, Name: before.Name, Version: version, Since: before.Since, Read: time.Now()}
	if changed {
		after.Since = after.Read
	}
	f.set(after)
	if before.Cause != "" {
		f.log.Info("what is followed is as it should be again", "version", version)
	}
}

// refuse notes that a newer version is of no use. It is told of once, and again
// if the cause changes.
func (f *follower[T]) refuse(before followState, version string, err error) {
	after := before
	after.Read, after.Refused, after.Cause = time.Now(), version, err.Error()
	f.set(after)
	if before.Refused != version || before.Cause != after.Cause {
		f.log.Error("new version refused, the one before stays in use", "event", "version_refused",
			"version", version, "in_use", before.Version, "what", f.what, "cause", after.Cause, "what_to_do", hintOf(err))
	}
}

// keep notes that nothing could be read. A server that is away is somebody
// else's alarm, at first; what is gone, or may not be read any more, is ours.
func (f *follower[T]) keep(ctx context.Context, before followState, err error) {
	after := before
	after.Cause = err.Error()
	level := slog.LevelError
	if vaultpki.ReasonOf(err) == vaultpki.ReasonUnreachable {
		level = slog.LevelWarn
	} else {
		after.Read = time.Now()
	}
	f.set(after)
	if before.Cause != after.Cause {
		f.log.Log(ctx, level, "reading again did not succeed, what is held stays in use", "event", "version_unreadable",
			"in_use", before.Version, "cause", after.Cause, "what_to_do", hintOf(err))
	}
}

// followed is a follower of anything, or several.
type followed interface {
	run(ctx context.Context) error
	wake()
	states() []followState
}

// versionNone is the version of something that is not there to be followed, such as
// metadata of no URL.
const versionNone = "none"

// watcher is what following something takes.
type watcher struct {
	client *vaultpki.Client
	every  func() time.Duration
	log    *slog.Logger
}

// secret keeps a secret fresh, which the access log calls what. inUse returns the version that is in use now, and
// use is asked to put a new one in use.
func (w watcher) secret(what string, inUse func() vaultpki.KV, use func(context.Context, vaultpki.KV) error) *follower[vaultpki.KV] {
	kv := inUse()
	f := &follower[vaultpki.KV]{
		what: what, name: kv.Mount + "/" + kv.Path, every: w.every, apply: use, log: w.log,
		read:    func(ctx context.Context) (vaultpki.KV, error) { return w.client.PeekKV(ctx, kv.Mount, kv.Path) },
		version: versionOf,
		inUse:   func(read vaultpki.KV) bool { return read.Same(inUse()) },
	}
	f.begin(kindSecret, versionOf(kv))
	return f
}

// watchConfig keeps an eye on a configuration, in Vault or in a file, that was
// loaded and is in use. use is asked to put each new text in use, and sections, if not
// nil, afterwards what has changed by it.
func watchConfig[T any](w watcher, from source, start loaded[T], use func(context.Context, []byte) error, sections func() []string) followed {
	var detail func() []any
	if sections != nil {
		detail = func() []any { return []any{"sections", sections()} }
	}
	if from.inVault() {
		current := start.kv // owned by the follower's run
		f := w.secret(objectConfiguration, func() vaultpki.KV { return current }, func(ctx context.Context, kv vaultpki.KV) error {
			text, err := kv.Field(configField)
			if err == nil {
				err = use(ctx, []byte(text))
			}
			if err == nil {
				current = kv
			}
			return err
		})
		f.detail = detail
		return f
	}
	f := watchFile(from, start.text, w, use)
	f.detail = detail
	return f
}

// watchFile keeps an eye on a configuration file whose text is in use. A text is
// used once it was read twice: an editor, or a copy, may be in the middle of it.
func watchFile(from source, text []byte, w watcher, use func(context.Context, []byte) error) *follower[[]byte] {
	current, seen := text, text // owned by the follower's run
	f := &follower[[]byte]{what: objectConfiguration, name: string(from), every: w.every, version: versionOfText, log: w.log}
	f.read = func(ctx context.Context) ([]byte, error) {
		read, err := from.rereadFile()
		for err == nil && !bytes.Equal(read, seen) && ctx.Err() == nil {
			seen = read
			if !sleepFor(ctx, settleFile) {
				break
			}
			read, err = from.rereadFile()
		}
		return read, err
	}
	f.inUse = func(read []byte) bool { return bytes.Equal(read, current) }
	f.apply = func(ctx context.Context, read []byte) error {
		err := use(ctx, read)
		if err == nil {
			current = read
		}
		return err
	}
	f.begin(kindDocument, versionOfText(text))
	return f
}

// settleFile is how long a changed file must stay as it is.
const settleFile = 500 * time.Millisecond

// sleepFor waits for d and returns true, or false as soon as ctx ends.
func sleepFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
