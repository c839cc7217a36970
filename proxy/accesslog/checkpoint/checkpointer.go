package checkpoint

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Signer signs with a key of Vault's.
type Signer interface {
	// Sign signs message(key), key being the id of the key that signs, and returns that
	// id and the raw signature. It gives up when ctx ends.
	Sign(ctx context.Context, message func(key string) []byte) (key string, signature []byte, err error)
}

// Log is what a Checkpointer needs of the log: package accesslog has it.
type Log interface {
	// Head returns the last record that is sealed, and false before the first.
	Head() (Head, bool)
	// Flush waits until all records that are sealed are written, or ctx ends.
	Flush(ctx context.Context) error
	// WriteCheckpoint puts a checkpoint among the records to be written, and returns the
	// sequence number that it will have. An error says that it has no place there: one that
	// is written late has.
	WriteCheckpoint(object []byte) (sequence uint64, err error)
}

// Config is what a Checkpointer needs. It must not be changed after New.
type Config struct {
	// Every and Records are how often checkpoints are made; defaults are DefaultEvery
	// and DefaultRecords.
	Every   time.Duration
	Records uint64
	// SignerName is the key that will sign, without its version, "transit/MOUNT/NAME".
	// Required.
	SignerName string
	// Log is told what happens to checkpoints; nil discards.
	Log *slog.Logger
}

// Vault is what a Checkpointer needs of Vault, once there is one.
type Vault struct {
	// Signer signs. Required.
	Signer Signer
	// Board is where checkpoints are published; nil for nowhere.
	Board Board
	// Keys reads the public keys that Signer and those of other instances sign with. What
	// others have published counts if one of them has signed it; nil: nothing does.
	Keys func(ctx context.Context) (Keys, error)
}

// How often checkpoints are made unless it is said.
const (
	DefaultEvery   = time.Minute
	DefaultRecords = 10_000
)

const (
	// look is how often the log is looked at.
	look = time.Second
	// signTimeout is how long Vault is waited for before the instance's own key signs.
	signTimeout = 3 * time.Second
	// flushTimeout is how long the log is waited for; it is asked again a second later.
	flushTimeout = 5 * time.Second
	// boardTimeout is how long publishing and reading what others published take at most.
	boardTimeout = 5 * time.Second
)

// Checkpointer makes the checkpoints of one instance. Its methods may be called by any
// goroutine; Run and Final by one.
type Checkpointer struct {
	cfg     Config
	private ed25519.PrivateKey
	others  others
	state   state

	// The rest is Run's, and then Final's.
	vault   Vault
	covered uint64    // the last record that a checkpoint covers
	written uint64    // the last record that needs none, as it is a checkpoint
	due     time.Time // when the records behind it have waited long enough; zero if there are none
	again   time.Time // when Vault is asked again to sign what the own key has signed; zero if nothing is
}

// Status is how checkpoints fare.
type Status struct {
	// Covered is the last record that Vault has signed for, and At when; zero before the
	// first.
	Covered uint64
	At      time.Time
	// Vault and Own count checkpoints by Vault and by the instance's own key, Failures
	// what Vault has refused or not answered.
	Vault, Own, Failures uint64
	// Err is why Vault has not signed the last one, nil if it has.
	Err error
}

// state is a Status that others read.
type state struct {
	vault, own, failures atomic.Uint64

	mu      sync.Mutex
	covered uint64 // guarded by mu, as is the rest
	at      time.Time
	err     error
}

// New returns a Checkpointer with a key of its own in memory. Nothing is signed before
// Run.
func New(cfg Config) (*Checkpointer, error) {
	if cfg.Every == 0 {
		cfg.Every = DefaultEvery
	}
	if cfg.Records == 0 {
		cfg.Records = DefaultRecords
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if promise := (Promise{cfg.Every, cfg.Records, cfg.SignerName}); cfg.Every < time.Second || cfg.Every > maxEvery || !isKeyID(promise.Signer) {
		return nil, fmt.Errorf("checkpoints every %v by %q: expected at least 1s, and the name of a key", cfg.Every, promise.Signer)
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of an instance: %w", err)
	}
	return &Checkpointer{cfg: cfg, private: private, others: others{log: cfg.Log}}, nil
}

// AppendStart appends the members of the instance's first record that say how its
// checkpoints are verified, each behind a comma.
func (c *Checkpointer) AppendStart(dst []byte) []byte {
	public, _ := c.private.Public().(ed25519.PublicKey)
	dst = append(dst, `,"`+KeyMember+`":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, public)
	dst = append(dst, `","`+PromiseMember+`":`...)
	return Promise{c.cfg.Every, c.cfg.Records, c.cfg.SignerName}.AppendJSON(dst)
}

// Status returns how checkpoints fare.
func (c *Checkpointer) Status() Status {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	return Status{
		Covered: c.state.covered, At: c.state.at, Err: c.state.err,
		Vault: c.state.vault.Load(), Own: c.state.own.Load(), Failures: c.state.failures.Load(),
	}
}

// Run makes checkpoints of what is written to log, until ctx ends; the first one as
// soon as there is a record. It returns nil.
func (c *Checkpointer) Run(ctx context.Context, vault Vault, log Log) error {
	c.vault = vault
	ticker := time.NewTicker(min(look, c.cfg.Every))
	defer ticker.Stop()
	for {
		if head, ok := log.Head(); ok {
			c.look(ctx, log, head)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// isDue reports whether a checkpoint of head should be made now.
func (c *Checkpointer) isDue(head Head, now time.Time) bool {
	if head.Sequence <= max(c.covered, c.written) {
		c.due = time.Time{}
		return false
	}
	if c.covered == 0 {
		return true // the first record has the key, which Vault should confirm at once
	}
	if c.due.IsZero() {
		c.due = now.Add(c.cfg.Every)
	}
	return !now.Before(c.due) || head.Sequence-c.covered >= c.cfg.Records
}

// look makes a checkpoint of head if one is due.
func (c *Checkpointer) look(ctx context.Context, log Log, head Head) {
	now := time.Now()
	due := c.isDue(head, now)
	if !due && (c.again.IsZero() || now.Before(c.again)) {
		return
	}
	// What is signed for must be in the log, whatever becomes of this process.
	if c.flush(ctx, log) != nil {
		return // the log itself tells of it; the next look tries again
	}
	cp, err := c.byVault(ctx, head)
	if err != nil && ctx.Err() != nil {
		return // the end is signed by Final
	}
	if err != nil {
		c.again = now.Add(c.cfg.Every)
		if !due {
			return
		}
		cp = c.byOwnKey(head)
	} else {
		c.again = time.Time{}
	}
	c.put(ctx, log, cp)
}

// flush waits a while until what is sealed is written.
func (c *Checkpointer) flush(ctx context.Context, log Log) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return log.Flush(ctx)
}

// put puts a checkpoint into the log, and publishes it if it is by Vault.
func (c *Checkpointer) put(ctx context.Context, log Log, cp *Checkpoint) {
	sequence, err := log.WriteCheckpoint(cp.AppendJSON(nil))
	if err != nil {
		c.cfg.Log.Error("a checkpoint finds no room in the access log", "error", err)
		return // the next look makes another
	}
	c.covered, c.due = cp.Sequence, time.Time{}
	// A checkpoint is no reason for the next one: records that came meanwhile are.
	if sequence == cp.Sequence+1 {
		c.written = sequence
	}
	if cp.Key != InstanceKey {
		c.publish(ctx, cp, false)
	}
}

// checkpoint returns an unsigned checkpoint of head.
func (c *Checkpointer) checkpoint(head Head) *Checkpoint {
	return &Checkpoint{Head: head, Time: time.Now().UTC().Truncate(time.Microsecond), Others: c.others.heads(head.Instance)}
}

// byVault has Vault sign. The log is told when Vault begins to fail, and when it does
// not any more.
func (c *Checkpointer) byVault(ctx context.Context, head Head) (*Checkpoint, error) {
	cp := c.checkpoint(head)
	err := c.signByVault(ctx, cp)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	switch before := c.state.note(cp, err); {
	case err != nil && before == nil:
		c.cfg.Log.Warn("vault does not sign checkpoints of the access log; the instance's own key does meanwhile", "error", err, "sequence", head.Sequence)
	case err == nil && before != nil:
		c.cfg.Log.Info("vault signs checkpoints of the access log again", "sequence", head.Sequence)
	}
	return cp, err
}

// byOwnKey signs with the instance's own key.
func (c *Checkpointer) byOwnKey(head Head) *Checkpoint {
	c.state.own.Add(1)
	cp := c.checkpoint(head)
	cp.Key = InstanceKey
	cp.Signature = ed25519.Sign(c.private, cp.Message())
	return cp
}

func (c *Checkpointer) signByVault(ctx context.Context, cp *Checkpoint) error {
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	key, signature, err := c.vault.Signer.Sign(ctx, func(key string) []byte {
		cp.Key = key
		return cp.Message()
	})
	if err != nil {
		return err
	}
	cp.Key, cp.Signature = key, signature
	if _, err := Parse(cp.AppendJSON(nil)); err != nil {
		return fmt.Errorf("vault's signature: %w", err)
	}
	return nil
}

// note notes what became of asking Vault, and returns what became of it before.
func (s *state) note(cp *Checkpoint, err error) (before error) {
	if err == nil {
		s.vault.Add(1)
	} else {
		s.failures.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.err = s.err, err
	if err == nil {
		s.covered, s.at = cp.Sequence, cp.Time
	}
	return before
}

// publish publishes a checkpoint, and reads what the others have published.
func (c *Checkpointer) publish(ctx context.Context, cp *Checkpoint, ended bool) {
	if c.vault.Board == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, boardTimeout)
	defer cancel()
	taken, err := Publish(ctx, c.vault.Board, cp, ended)
	if taken {
		c.cfg.Log.Error("somebody else has written in the place of this instance's checkpoints", "event", "checkpoint_replaced", "name", cp.Instance.String())
	}
	if err != nil {
		c.cfg.Log.Warn("a checkpoint of the access log is not published", "error", err)
		return // Vault is away: what the others say has to wait
	}
	if !ended {
		c.others.poll(ctx, c.vault, cp.Instance)
	}
}

// Final signs and publishes the last record of an instance that has ended. It has no
// place in the log any more; it shows, in Vault, where the log ends. It is called after
// Run.
func (c *Checkpointer) Final(ctx context.Context, vault Vault, log Log) {
	c.vault = vault
	head, ok := log.Head()
	if !ok || vault.Board == nil {
		return
	}
	cp, err := c.byVault(ctx, head)
	if err != nil {
		return // it was told, and the log shows its end by itself
	}
	c.publish(ctx, cp, true)
}
