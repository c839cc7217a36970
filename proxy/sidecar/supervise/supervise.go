// Package supervise runs one unmodified application as a child process: it starts it
// with an environment that has nothing of ours, hands signals on to it, restarts it if
// that is wanted, asks it whether it answers, and ends it and everything that it has
// left behind.
//
// As the first process of a container, or as a subreaper, the process that has a
// [Reaper] also waits for orphans, so that no zombie stays.
//
// Hostile input: what the application writes, and how it behaves: it may ignore every
// signal that can be ignored, fork away, or write without end. Output: its lines, and our
// log. Linux only: elsewhere [New] refuses.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Config is what a Child needs. It must not be changed after New.
type Config struct {
	// Command is the program and its arguments; no shell reads it. A name without a
	// slash is looked up in PATH. Required.
	Command []string
	// Base is the environment that the application inherits. nil means [Inherited] of
	// this process's own.
	Base []string
	// Env is added to Base, and goes before it where a name stands in both.
	Env []string
	// Stdin is what the application reads from its standard input, and then the end of
	// it. nil is the end at once.
	Stdin []byte
	// Dir is the working directory; "" is that of this process.
	Dir string
	// Restart says when the application is started again.
	Restart Policy
	// Backoff is how long to wait before that.
	Backoff Backoff
	// Limit is how often it is started again within LimitWindow at most; then it has
	// ended for good. The zero value is [DefaultLimit].
	Limit int
	// Stop is how it is asked to end.
	Stop Stop
	// Output is what becomes of what it writes.
	Output Output
	// Service is the name that its lines have, where they have one.
	Service string
	// Stdout and Stderr are where its lines go; nil means those of this process.
	Stdout, Stderr io.Writer
	// Forward are signals to this process that are handed on to the application.
	Forward []os.Signal
	// Check asks the application whether it answers; nil asks nothing.
	Check *Check
	// Reaper has this process wait for orphans; nil leaves them to somebody else, and
	// then what the application has moved to another process group may outlive it.
	Reaper *Reaper
	// Log is for starts, ends and checks; nil discards.
	Log *slog.Logger
	// Started is called after each start, with how long it took until the program was
	// executed; nil calls nothing.
	Started func(pid int, took time.Duration)
}

// Stop is how an application is asked to end. The zero value is SIGTERM and
// [DefaultStopAfter].
type Stop struct {
	Signal syscall.Signal
	// After is how long it may take, and everything that it has started, before all of
	// it is killed.
	After time.Duration
}

// DefaultStopAfter is shorter than the ten seconds that container engines wait.
const DefaultStopAfter = 8 * time.Second

// Errors of Signal and Restart.
var (
	ErrNotRunning = errors.New("the application does not run")
	ErrEnded      = errors.New("the application has ended for good")
)

// Child is one application. Its methods are safe for concurrent use; Run is called once.
type Child struct {
	cfg      Config
	requests chan *request
	retiring chan struct{} // closed by Retire
	ended    chan struct{}

	// Of Run's goroutine alone.
	env     []string
	stdin   []byte
	pending *request // of a restart that is under way
	failed  history

	mu        sync.Mutex
	process   *process // nil if it does not run
	state     State
	answering chan struct{}
}

// request is a restart that was asked for.
type request struct {
	env   []string
	stdin []byte
	done  chan error // has room for one
}

// New returns a Child that does not run yet, or an error that names what is wrong with
// cfg.
func New(cfg Config) (*Child, error) {
	if len(cfg.Command) == 0 || cfg.Command[0] == "" {
		return nil, errors.New("there is no command")
	}
	// What was ignored when this process was started, as nohup does, the application would
	// ignore, too. Of these two alone Go leaves it so.
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	if cfg.Base == nil {
		cfg.Base = Inherited(os.Environ())
	}
	if cfg.Stop.Signal == 0 {
		cfg.Stop.Signal = syscall.SIGTERM
	}
	if cfg.Stop.After == 0 {
		cfg.Stop.After = DefaultStopAfter
	}
	if cfg.Limit == 0 {
		cfg.Limit = DefaultLimit
	}
	if cfg.Stdout == nil {
		cfg.Stdout = os.Stdout
	}
	if cfg.Stderr == nil {
		cfg.Stderr = os.Stderr
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Backoff = cfg.Backoff.complete()
	if err := supported(); err != nil {
		return nil, err
	}
	c := &Child{
		cfg: cfg, requests: make(chan *request), retiring: make(chan struct{}), ended: make(chan struct{}), answering: make(chan struct{}),
		env: cfg.Env, stdin: cfg.Stdin,
	}
	if cfg.Check != nil {
		check, err := cfg.Check.complete()
		if err != nil {
			return nil, err
		}
		c.cfg.Check = &check
	}
	return c, nil
}

// Run starts the application and keeps it until ctx ends; then it is ended in order, and
// the result is nil. Else the result says why it has ended for good: an [*ExitedError]
// or a [*StartError].
//
// What the application has left behind is ended too, before Run returns.
func (c *Child) Run(ctx context.Context) error {
	// The kernel kills the application when the thread that has started it ends
	// (PR_SET_PDEATHSIG): it must be one that lives as long as this process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer c.finish()
	defer c.forwarding(ctx)()
	for {
		if ctx.Err() != nil {
			return nil
		}
		over, err := c.once(ctx)
		if over {
			return err
		}
	}
}

// once starts the application, waits until it has ended, and until it may be started
// again. over says that it may not.
func (c *Child) once(ctx context.Context) (over bool, err error) {
	p, err := c.start()
	c.reply(err)
	if err != nil {
		return c.judge(ctx, err, nil)
	}
	next, cause := c.watch(ctx, p)
	c.end(p, whyEnded(next, cause))
	switch {
	case next != nil:
		c.cfg.Log.Info("app has ended for a restart that was asked for", p.told()...)
		c.use(next)
		return c.isRetired(), nil
	case ctx.Err() != nil && cause == nil, c.isRetired():
		c.cfg.Log.Info("app has ended", p.told()...)
		return true, nil
	}
	exited := p.result()
	exited.Cause = cause
	if errors.Is(cause, errExited) {
		exited.Cause = nil
	}
	return c.judge(ctx, exited, p)
}

// whyEnded is why an application is asked to end, in a word for the log.
func whyEnded(next *request, cause error) string {
	switch {
	case next != nil:
		return "a restart was asked for"
	case cause != nil:
		return cause.Error()
	}
	return "a stop was asked for"
}

// errExited is the cause of an application that has ended by itself.
var errExited = errors.New("it has ended")

// watch returns why the application is to be ended, or has ended: because of cause, or
// for a restart, or, if both are nil, because ctx has ended.
func (c *Child) watch(ctx context.Context, p *process) (next *request, cause error) {
	checking, stop := context.WithCancel(ctx)
	unhealthy := make(chan error, 1)
	var checks sync.WaitGroup
	if c.cfg.Check != nil {
		checks.Go(func() { c.check(checking, unhealthy) })
	} else {
		c.answers()
	}
	defer checks.Wait()
	defer stop()
	select {
	case <-p.exited:
		return nil, errExited
	case <-ctx.Done():
		return nil, nil
	case next = <-c.requests:
		return next, nil
	case cause = <-unhealthy:
		return nil, cause
	}
}

// judge says whether an application that has ended, or was not to be started and is nil, has
// done so for good; if not, it waits until it may be started again.
func (c *Child) judge(ctx context.Context, err error, p *process) (over bool, _ error) {
	told := append(p.told(), "error", err)
	if p != nil && time.Since(p.began) > c.cfg.Backoff.Most {
		c.failed.inARow = 0
	}
	again, why := c.again(err)
	if !again {
		c.cfg.Log.Warn("app has ended and is not started again", append(told, "why", why)...)
		return true, err
	}
	wait := c.cfg.Backoff.wait(c.failed.inARow)
	c.failed.note(time.Now())
	c.note(func(s *State) { s.Restarts++; s.Next = time.Now().Add(wait) })
	c.cfg.Log.Warn("app has ended and is started again",
		append(told, "in", wait.Round(time.Millisecond).String(), "restarts", len(c.failed.starts), "limit", c.cfg.Limit)...)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return true, nil
	case next := <-c.requests:
		c.use(next)
	case <-timer.C:
	}
	return c.isRetired(), nil
}

// again says whether the application is started again after err, or why not.
func (c *Child) again(err error) (again bool, why string) {
	var exited *ExitedError
	ran := errors.As(err, &exited)
	switch {
	case !ran && c.failed.ran == 0:
		return false, "it could not be started"
	case c.cfg.Restart == Never:
		return false, "restart is never"
	case c.cfg.Restart == OnFailure && ran && exited.Success():
		return false, "it has done what it was for"
	case c.failed.recent(time.Now()) >= c.cfg.Limit:
		return false, fmt.Sprintf("it was started again %d times in %s", c.cfg.Limit, LimitWindow)
	}
	return true, ""
}

// use has the next start be as was asked for.
func (c *Child) use(next *request) {
	c.env, c.stdin, c.pending = next.env, next.stdin, next
}

// reply tells whoever has asked for the restart that is under way.
func (c *Child) reply(err error) {
	if c.pending != nil {
		c.pending.done <- err
		c.pending = nil
	}
}

// finish says that there will be no other start.
func (c *Child) finish() {
	c.reply(ErrEnded)
	c.note(func(s *State) { s.Ended = true })
	close(c.ended)
}

// Retire says that a stop is under way: if the application ends from now on, before the
// end of Run's context has it do so, that is no failure, and it is not started again. A
// service manager may tell all processes at once to end. Nor is it restarted: it answers
// the last requests.
func (c *Child) Retire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isRetired() {
		close(c.retiring)
	}
}

func (c *Child) isRetired() bool {
	select {
	case <-c.retiring:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the application; not to what it has started.
func (c *Child) Signal(signal os.Signal) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return ErrNotRunning
	}
	return c.process.signal(signal)
}

// Restart ends the application in order and starts it with another addition to its
// environment and another standard input; it returns when that is executed, or why it is
// not: [ErrEnded] after Retire. It is not counted by [Config.Limit], and does not wait as
// after a failure.
func (c *Child) Restart(ctx context.Context, env []string, stdin []byte) error {
	if c.isRetired() {
		return ErrEnded
	}
	r := &request{slices.Clone(env), slices.Clone(stdin), make(chan error, 1)}
	select {
	case c.requests <- r:
	case <-c.retiring:
		return ErrEnded
	case <-c.ended:
		return ErrEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
