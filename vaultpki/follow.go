package vaultpki

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// DefaultFollowEvery is how often a secret is read unless FollowConfig says
// otherwise.
const DefaultFollowEvery = time.Minute

// FollowConfig says how to follow a secret. It must not be modified after
// [Client.Follow].
type FollowConfig struct {
	// Every is how often the secret is read; each time differs by up to a tenth,
	// so that replicas do not ask together. Default DefaultFollowEvery.
	Every time.Duration
	// Apply puts a version in use as a whole, or returns why it cannot and
	// changes nothing. It is called by Run, one call at a time, and again with
	// the same version at the next reading if it failed. Required.
	Apply func(ctx context.Context, kv KV) error
	// Log receives one line per version that is put in use, refused or not
	// found; nil discards.
	Log *slog.Logger
}

// Follower keeps one secret fresh: [Client.Follow] makes it, [Follower.Run] runs
// it. What is in use stays in use whatever becomes of the secret: a version that
// cannot be applied, one that was deleted, a policy that was taken away, a Vault
// that does not answer. All methods are safe for concurrent use, except that Run
// is called once.
type Follower struct {
	cfg  FollowConfig
	read func(ctx context.Context) (KV, error) // once
	wake chan struct{}                         // asks for a reading now

	mu     sync.Mutex // guards status
	status FollowStatus
}

// FollowStatus is what is known of a followed secret.
type FollowStatus struct {
	Mount, Path string
	Version     int       // in use
	Since       time.Time // when that was put in use
	Read        time.Time // when Vault last gave an answer that could be judged
	// Refused is the newer version that is not in use, 0 if there is none; Cause
	// says why, or why Vault's last answer was of no use. It holds no secret.
	Refused int
	Cause   string
}

// Follow returns a Follower of the secret that first is a version of, and that
// is in use already. It asks nothing of Vault.
func (c *Client) Follow(first KV, cfg FollowConfig) *Follower {
	if cfg.Every <= 0 {
		cfg.Every = DefaultFollowEvery
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = cfg.Log.With("path", first.where())
	now := time.Now()
	return &Follower{
		cfg: cfg, wake: make(chan struct{}, 1),
		read:   func(ctx context.Context) (KV, error) { return c.readKVOnce(ctx, first.Mount, first.Path) },
		status: FollowStatus{Mount: first.Mount, Path: first.Path, Version: first.Version, Since: now, Read: now},
	}
}

// Run reads the secret again and again until ctx ends, then returns nil.
func (f *Follower) Run(ctx context.Context) error {
	for {
		//nolint:gosec // jitter spreads the readings of replicas; it keeps no secret
		jitter := rand.N(f.cfg.Every/5+1) - f.cfg.Every/10
		timer := time.NewTimer(f.cfg.Every + jitter)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-f.wake:
			timer.Stop()
		case <-timer.C:
		}
		f.look(ctx)
	}
}

// Wake makes Run read the secret now.
func (f *Follower) Wake() {
	select {
	case f.wake <- struct{}{}:
	default: // it will, already
	}
}

// Status returns what is known of the secret.
func (f *Follower) Status() FollowStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// look reads the secret once and applies what is new.
func (f *Follower) look(ctx context.Context) {
	kv, err := f.read(ctx)
	if ctx.Err() != nil {
		return
	}
	before := f.Status()
	switch {
	case err != nil:
		f.keep(ctx, before, err)
	case kv.Version == before.Version:
		f.settle(before, kv.Version)
	default:
		if err := f.cfg.Apply(ctx, kv); err != nil {
			if ctx.Err() == nil {
				f.refuse(before, kv.Version, err)
			}
			return
		}
		f.settle(before, kv.Version)
		f.cfg.Log.Info("secret changed", "version", kv.Version, "before", before.Version)
	}
}

// settle notes that a version is in use and that nothing is wrong.
func (f *Follower) settle(before FollowStatus, version int) {
	after, now := before, time.Now()
	after.Version, after.Read, after.Refused, after.Cause = version, now, 0, ""
	if version != before.Version {
		after.Since = now
	}
	f.set(after)
	if before.Cause != "" {
		f.cfg.Log.Info("secret is as it should be again", "version", version)
	}
}

// refuse notes that a newer version is of no use. It is told of once, and again
// if the cause changes.
func (f *Follower) refuse(before FollowStatus, version int, err error) {
	after := before
	after.Read, after.Refused, after.Cause = time.Now(), version, err.Error()
	f.set(after)
	if before.Refused != version || before.Cause != after.Cause {
		f.cfg.Log.Error("new version of the secret refused, the one before stays in use",
			"event", "secret_refused", "version", version, "in_use", before.Version, "cause", after.Cause)
	}
}

// keep notes that the secret could not be read. A Vault that is away is somebody
// else's alarm; a secret that is gone, or that may not be read any more, is ours.
func (f *Follower) keep(ctx context.Context, before FollowStatus, err error) {
	after := before
	after.Cause = causeOf(err)
	level, reason := slog.LevelError, ReasonOf(err)
	if reason == ReasonUnreachable {
		level = slog.LevelWarn
	} else {
		after.Read = time.Now()
	}
	f.set(after)
	if before.Cause != after.Cause {
		f.cfg.Log.Log(ctx, level, "reading the secret did not succeed, what is held stays in use",
			"event", "secret_unreadable", "reason", reason.String(), "in_use", before.Version, "cause", after.Cause)
	}
}

func (f *Follower) set(status FollowStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

// readKVOnce is ReadKV that waits for nobody.
func (c *Client) readKVOnce(ctx context.Context, mount, path string) (KV, error) {
	kv := KV{Mount: mount, Path: path}
	if err := errors.Join(wire.CheckPath(mount), wire.CheckPath(path)); err != nil {
		return KV{}, &Error{Reason: ReasonConfig, Op: "reading the secret", Where: kv.where(), Err: err}
	}
	secret, err := c.wire.Do(ctx, wire.Call{
		Method: http.MethodGet, Path: mount + "/data/" + path, Token: c.current().token, Limit: wire.DataBytes,
	})
	if err != nil {
		return KV{}, kv.readError(err)
	}
	return kv, kv.fill(secret)
}
