package provision

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What can be rotated.
const (
	SPKey        = "sp-key"
	SessionKey   = "session-key"
	AssertionKey = "assertion-key"
	Intermediate = "intermediate"
	Root         = "root"
)

// Sides of an authority.
const (
	Edge    = "edge"
	Backend = "backend"
)

// Bounds of a rotation.
const (
	defaultSettle  = 2 * time.Minute
	defaultSession = 10 * time.Hour
	// idpPatience is how long an identity provider may take to fetch metadata
	// again, if nobody says that it has.
	idpPatience = 24 * time.Hour
	// keySetPatience is how long a backend may use the keys that it has fetched: twice
	// what the answer allows.
	keySetPatience = 10 * time.Minute
	// assertionLife is how long an assertion is good for, and how far the clock of a
	// backend may be behind.
	assertionLife = 6 * time.Minute
	// shortPause and longPause bound how often a wait is told of.
	shortPause = 15 * time.Second
	longPause  = 10 * time.Minute
)

// ErrUnvouched is returned if a step waits for a person.
var ErrUnvouched = errors.New("the next step waits for a person")

// RotationConfig says what to rotate. It must not be modified after NewRotation.
type RotationConfig struct {
	Spec Spec
	What string // SPKey, SessionKey, AssertionKey, Intermediate or Root
	Side string // Edge or Backend, for an authority

	// Settle is how long every process may take to see a change, twice the
	// interval at which it polls; 2m.
	Settle time.Duration
	// Session is the longest life of a session, after which nothing is sealed by
	// an old key; 10h.
	Session time.Duration
	// Vouched says that the identity provider has the metadata which was last
	// published. Without it nobody but a Settle of a day opens these gates.
	Vouched bool
}

// Rotation replaces a key or an authority in steps that overlap: next, publish,
// switch, retire. Which step comes next follows from what is in Vault alone, so
// that a rotation goes on wherever it was left, by whomever. It is used by one
// goroutine.
type Rotation struct {
	machine machine
	now     func(ctx context.Context, client *Client) (time.Time, error)
}

// machine derives the next step from what is in Vault.
type machine interface {
	next(ctx context.Context, client *Client) (Step, error)
	// vouch tells whether a person's word still stands: it does not reach past a
	// step that came after it was given.
	unvouch()
}

// Step is one step of a rotation.
type Step struct {
	Name  string    // "next", "publish", "intermediate", "switch" or "retire"
	Text  string    // what it does
	Due   time.Time // by Vault's clock: not before
	Needs string    // what a person has to do first; empty if nothing
	// First says that no rotation is under way: this step begins one.
	First bool

	do func(ctx context.Context, client *Client) error
}

// Progress is what a rotation tells of itself.
type Progress struct {
	Step Step
	Done bool          // the step was done; otherwise it comes next
	Left time.Duration // until the step is due; 0 if it is
}

// String returns a line for a person.
func (p Progress) String() string {
	line := p.Step.Name + ": " + p.Step.Text
	switch {
	case p.Done:
		return "done: " + line
	case p.Step.First && p.Left > 0:
		return "no rotation is under way; the last change is recent, another can begin in " + p.Left.Round(time.Second).String()
	case p.Step.First:
		return "no rotation is under way; the first step is " + line
	case p.Step.Needs != "":
		return "waits for you: " + line + "; " + p.Step.Needs
	case p.Left > 0:
		return fmt.Sprintf("due in %s (%s): %s", p.Left.Round(time.Second), p.Step.Due.UTC().Format(time.RFC3339), line)
	}
	return "due now: " + line
}

// NewRotation checks cfg. It asks nobody.
func NewRotation(cfg RotationConfig) (*Rotation, error) {
	cfg.Spec = cfg.Spec.withDefaults()
	setDefault(&cfg.Settle, defaultSettle)
	setDefault(&cfg.Session, defaultSession)
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("checking the rotation: %w", err)
	}
	r := &Rotation{now: func(ctx context.Context, client *Client) (time.Time, error) { return client.now(ctx) }}
	side := cfg.Spec.edge()
	if cfg.Side == Backend {
		side = cfg.Spec.backend()
	}
	switch cfg.What {
	case SessionKey:
		r.machine = newSessionRotation(cfg)
	case AssertionKey:
		r.machine = newAssertionRotation(cfg)
	case SPKey:
		r.machine = newSPRotation(cfg)
	default:
		r.machine = &authorityRotation{authority: side, settle: cfg.Settle, root: cfg.What == Root}
	}
	return r, nil
}

// check returns every fault of cfg.
func (cfg RotationConfig) check() error {
	faults := []error{cfg.Spec.check()}
	switch cfg.What {
	case SPKey, SessionKey, AssertionKey:
		if cfg.Side != "" {
			faults = append(faults, fmt.Errorf("side %q: a key has none", cfg.Side))
		}
	case Intermediate, Root:
		if cfg.Side != Edge && cfg.Side != Backend {
			faults = append(faults, fmt.Errorf("side %q: expected %s or %s", cfg.Side, Edge, Backend))
		}
	default:
		faults = append(faults, fmt.Errorf("%q: expected %s, %s, %s, %s or %s", cfg.What, SPKey, SessionKey, AssertionKey, Intermediate, Root))
	}
	if cfg.Settle < time.Second || cfg.Session < 0 {
		faults = append(faults, fmt.Errorf("times %s to settle and %s of a session: expected at least 1s", cfg.Settle, cfg.Session))
	}
	return errors.Join(faults...)
}

// Next returns the step that comes next and how long until it is due. It changes
// nothing.
func (r *Rotation) Next(ctx context.Context, client *Client) (Progress, error) {
	step, err := r.machine.next(ctx, client)
	if err != nil {
		return Progress{}, err
	}
	now, err := r.now(ctx, client)
	if err != nil {
		return Progress{}, err
	}
	return Progress{Step: step, Left: max(0, step.Due.Sub(now))}, nil
}

// Step does the step that comes next, if it is due and nobody has to do
// something first, and returns what it did and what then comes next.
func (r *Rotation) Step(ctx context.Context, client *Client, tell func(Progress)) error {
	next, err := r.Next(ctx, client)
	if err != nil {
		return err
	}
	if next.ready() {
		if err := r.do(ctx, client, next, tell); err != nil {
			return err
		}
		if next, err = r.Next(ctx, client); err != nil {
			return err
		}
	}
	tell(next)
	return nil
}

// Run does all steps, and waits for each until it is due. It returns once the
// rotation has ended, or if there was none to go on with and none can begin; the
// error is [ErrUnvouched] if a person has to do something first.
func (r *Rotation) Run(ctx context.Context, client *Client, tell func(Progress)) error {
	for begun := false; ; {
		next, err := r.Next(ctx, client)
		switch {
		case err != nil:
			return err
		case next.Step.First && (begun || next.Left > 0):
			tell(next)
			return nil
		case next.Step.Needs != "":
			tell(next)
			return ErrUnvouched
		case next.Left > 0:
			if err := r.wait(ctx, next, tell); err != nil {
				return err
			}
			continue // what is in Vault may be another's by now
		}
		if err := r.do(ctx, client, next, tell); err != nil {
			return err
		}
		begun = true
	}
}

// ready says whether the step can be done now.
func (p Progress) ready() bool { return p.Left == 0 && p.Step.Needs == "" }

func (r *Rotation) do(ctx context.Context, client *Client, next Progress, tell func(Progress)) error {
	if err := next.Step.do(ctx, client); err != nil {
		return fmt.Errorf("doing the step %q: %w", next.Step.Name, err)
	}
	// What a person said was of the time before this step.
	r.machine.unvouch()
	next.Done = true
	tell(next)
	return nil
}

// wait waits until the step is due and tells of it, the less often the longer it
// still takes.
func (r *Rotation) wait(ctx context.Context, next Progress, tell func(Progress)) error {
	for next.Left > 0 {
		tell(next)
		part := min(next.Left, max(shortPause, min(next.Left/12, longPause)))
		if err := pause(ctx, part); err != nil {
			return err
		}
		next.Left -= part
	}
	return nil
}
