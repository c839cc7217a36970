package secrets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Secrets are rendered secrets that are kept fresh. [New] makes them and [Secrets.Run]
// keeps them. Its other methods are safe for concurrent use.
type Secrets struct {
	cfg     Config
	log     *slog.Logger
	fetcher *fetcher
	actor   *actor

	// The following belong to New, and then to Run's goroutine.
	targets  []*target
	items    map[string]*item // by the key of their question
	retired  []*retired
	past     []any              // values that were replaced, the oldest first
	changes  map[string]*change // by the name of their action
	acting   *change            // the one that is being done
	done     chan outcome       // of acting; has room for one
	looks    chan struct{}      // sent to by Look; has room for one
	sessions time.Time          // Since of the session that leases are from
	turn     <-chan struct{}    // Turned of the session that was last looked at
	counts   counts

	mu    sync.Mutex // guards the rest
	env   []string
	stdin []byte
	state State
}

// counts are what State counts.
type counts struct {
	renders, renderFailures map[string]int
	actions, actionFailures map[Verb]int
	renewals, replacements  int
}

// New renders everything once. It waits for a Vault that is away as long as Config.Wait.
// The error names the template and its line, the path and the field, or the file; then
// nothing was written that stays, and no lease goes on. The caller must call Run.
func New(ctx context.Context, cfg Config) (*Secrets, error) {
	cfg, err := cfg.withDefaults()
	if cfg.Vault == nil {
		err = errors.Join(errors.New("vault: no session given"), err)
	}
	if err != nil {
		return nil, &Error{Where: "configuring secrets", Err: err}
	}
	s := &Secrets{
		cfg: cfg, log: cfg.Log, actor: newActor(cfg),
		fetcher: &fetcher{vault: cfg.Vault, mounts: &mounts{vault: cfg.Vault}, refresh: cfg.Refresh},
		items:   map[string]*item{}, changes: map[string]*change{}, done: make(chan outcome, 1), looks: make(chan struct{}, 1),
		counts: counts{renders: map[string]int{}, renderFailures: map[string]int{}, actions: map[Verb]int{}, actionFailures: map[Verb]int{}},
	}
	if s.targets, err = cfg.prepare(); err != nil {
		return nil, err
	}
	s.sessions = cfg.Vault.Session().Since
	if err := s.first(ctx); err != nil {
		s.undo(ctx)
		return nil, err
	}
	return s, nil
}

// Check does of New what is done before Vault is asked: it reads the templates, looks up
// who is to own the files, and makes their folders ready. Config.Vault may be nil. The error
// is that of New.
func Check(cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return &Error{Where: "configuring secrets", Err: err}
	}
	_, err = cfg.prepare()
	return err
}

// CheckTemplate says what is wrong with the text of a template, called name in the error,
// as far as that can be seen without rendering it. The error is an [*Error].
func CheckTemplate(name, text string) error {
	_, err := newSource(name, text, func(string) (string, bool) { return "", false })
	return err
}

// prepare reads the templates and makes the places ready. Vault is not asked yet.
func (cfg Config) prepare() ([]*target, error) {
	var targets []*target
	places, err := cfg.places()
	faults := []error{err}
	add := func(t *target, text, name string) {
		var err error
		if t.source, err = newSource(name, text, cfg.Variable); err != nil {
			faults = append(faults, err)
		}
		targets = append(targets, t)
	}
	restart := Action{Verb: Restart}
	restart.setDefaults()
	for i, file := range cfg.Files {
		place := places[i]
		if place != nil {
			faults = append(faults, place.prepare())
		}
		add(&target{name: file.Path, place: place, action: file.OnChange}, file.Template, file.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Env)) {
		add(&target{name: "environment variable " + name, variable: name, action: restart}, cfg.Env[name], "environment variable "+name)
	}
	if cfg.Stdin != "" {
		add(&target{name: "standard input", action: restart}, cfg.Stdin, "standard input")
	}
	return targets, errors.Join(faults...)
}

// places are those of the files, in order; nil is that of a file whose owner there is not.
func (cfg Config) places() ([]*place, error) {
	var faults []error
	var owners []int
	places := make([]*place, len(cfg.Files))
	for i, file := range cfg.Files {
		var err error
		if places[i], err = newPlace(file, &cfg); err != nil {
			faults = append(faults, err)
			continue
		}
		if uid := places[i].uid; uid >= 0 {
			owners = append(owners, uid)
		}
	}
	for _, place := range places {
		if place != nil {
			place.owners = owners
		}
	}
	return places, errors.Join(faults...)
}

// first renders everything, and writes it once all of it is there.
func (s *Secrets) first(ctx context.Context) error {
	var rendered []rendering
	delay, start, told := firstDelay, time.Now(), false
	for {
		var err error
		if rendered, err = s.renderAll(ctx); err == nil {
			break
		}
		left := s.cfg.Wait - time.Since(start)
		switch {
		case ctx.Err() != nil:
			return stopped(ctx, err)
		case left <= 0 || !isAway(err):
			return err
		case !told:
			told = true
			s.log.Warn("waiting for vault to render the application's secrets", "cause", err.Error(), "time_left", left.Round(time.Second).String())
		}
		if !sleep(ctx, min(between(delay, 1, 1.5), left)) {
			return stopped(ctx, err)
		}
		delay = min(2*delay, longestFirstDelay)
	}
	for _, r := range rendered {
		if err := s.use(r); err != nil {
			return err
		}
		r.target.moved = r.target.renders
	}
	s.publish()
	return nil
}

// stopped is why a rendering ended with ctx: it was asked for, whatever Vault did.
func stopped(ctx context.Context, err error) error {
	return fmt.Errorf("%w, and until then: %w", ctx.Err(), err)
}

// Pace of attempts while Vault is away.
const (
	firstDelay        = 200 * time.Millisecond
	longestFirstDelay = 3 * time.Second
	longestDelay      = time.Minute
)

// isAway says whether an error is Vault's absence, which may pass.
func isAway(err error) bool {
	var call *CallError
	return errors.As(err, &call) && call.Kind == Away
}

// sleep waits for d and returns true, or false as soon as ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// renderAll renders every target in memory.
func (s *Secrets) renderAll(ctx context.Context) ([]rendering, error) {
	var all []rendering
	for _, t := range s.targets {
		r, err := s.render(ctx, t)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// Environment returns the rendered variables, as NAME=VALUE, sorted.
func (s *Secrets) Environment() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.env)
}

// Stdin returns what was rendered for the standard input, nil if nothing is.
func (s *Secrets) Stdin() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.stdin)
}

// Folders returns the folders in which files are put, sorted, each once: what the process
// must be able to write to.
func (s *Secrets) Folders() []string {
	var folders []string
	for _, t := range s.targets {
		if t.place != nil {
			folders = append(folders, t.place.dir)
		}
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}

// Format implements [fmt.Formatter]: no verb shows a secret.
func (s *Secrets) Format(f fmt.State, _ rune) { fmt.Fprint(f, "secrets.Secrets[redacted]") }
