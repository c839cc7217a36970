package supervise

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/proxy/sidecar/launch"
)

// process is one run of a program that we have started. Until reap it keeps its
// number, though it may have ended: nobody else gets a signal that is meant for it.
type process struct {
	pid    int
	began  time.Time
	proc   *os.Process
	exited chan struct{} // closed when it has ended, before it is waited for
	reaped chan struct{} // closed by reap
	status *os.ProcessState
	name   string
	output *outputs // nil if it writes to descriptors of ours
	stdin  *os.File // our end, nil if there is none
}

// program is what is to be started.
type program struct {
	argv, env []string
	dir       string
	files     [3]*os.File
}

// spawn executes a program as the leader of a process group of its own. The caller's
// goroutine must be locked to its thread for as long as the program is to live.
func spawn(prog program, reaper *Reaper) (*process, error) {
	path := prog.argv[0]
	if !slices.Contains([]byte(path), '/') {
		found, err := exec.LookPath(path)
		if err != nil {
			return nil, cause(err)
		}
		path = found
	}
	if err := launch.KeepDescriptors(); err != nil {
		return nil, err
	}
	attr := &os.ProcAttr{Dir: prog.dir, Env: prog.env, Files: prog.files[:], Sys: attributes()}
	p := &process{exited: make(chan struct{}), reaped: make(chan struct{}), name: prog.argv[0]}
	err := reaper.starting(p, func() (err error) {
		p.proc, err = reaper.starter()(path, prog.argv, attr)
		return err
	})
	if err != nil {
		return nil, cause(err)
	}
	p.pid, p.began = p.proc.Pid, time.Now()
	go func() {
		awaitExit(p.pid)
		close(p.exited)
	}()
	return p, nil
}

// cause is why a program was not executed, without what the standard library says around
// it.
func cause(err error) error {
	var look *exec.Error
	if errors.As(err, &look) {
		err = look.Err
	}
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err
}

// CheckCommand looks for the program of a command as a start does, and says what keeps it
// from being executed, as far as that can be told without doing so. The error is a
// [*StartError].
func CheckCommand(command []string) error {
	if _, err := exec.LookPath(command[0]); err != nil {
		return &StartError{command[0], cause(err)}
	}
	return nil
}

// signal sends a signal to the process, if it has not ended.
func (p *process) signal(s os.Signal) error {
	select {
	case <-p.exited:
		return ErrNotRunning
	default:
		return p.proc.Signal(s)
	}
}

// reap waits for a process that has exited, and lets go of its number.
func (p *process) reap() {
	p.status, _ = p.proc.Wait() // it has exited; nil if somebody else was faster
	close(p.reaped)
}

// result is how it has ended, after reap.
func (p *process) result() *ExitedError {
	e := &ExitedError{Command: p.name, Code: -1}
	if p.status == nil {
		return e
	}
	e.Code = p.status.ExitCode()
	if status, ok := p.status.Sys().(syscall.WaitStatus); ok && status.Signaled() { //nolint:misspell // the standard library's name
		e.Signal = status.Signal()
	}
	return e
}

// told is what the log is told of a process that has ended, after reap; nothing of one that
// there never was.
func (p *process) told() []any {
	if p == nil {
		return nil
	}
	return []any{"pid", p.pid, "exit", p.result().String(), "ran", time.Since(p.began).Round(time.Millisecond).String()}
}

// start starts the application.
func (c *Child) start() (*process, error) {
	began := time.Now()
	prog := program{argv: c.cfg.Command, env: merged(c.cfg.Base, c.env), dir: c.cfg.Dir}
	pipes, err := c.plumb(&prog)
	if err != nil {
		return nil, &StartError{c.cfg.Command[0], err}
	}
	p, err := spawn(prog, c.cfg.Reaper)
	pipes.started()
	if err != nil {
		pipes.abandon()
		return nil, &StartError{c.cfg.Command[0], err}
	}
	p.output, p.stdin = pipes.outputs, pipes.stdin
	c.failed.ran++
	took := p.began.Sub(began)
	c.mu.Lock()
	c.process = p
	c.state = State{Running: true, PID: p.pid, Since: p.began, Restarts: c.state.Restarts, Last: c.state.Last}
	if c.cfg.Check != nil {
		c.state.Check = Starting
	}
	c.mu.Unlock()
	pipes.begin()
	c.cfg.Log.Info("app has started", "pid", p.pid, "start", c.failed.ran, "app", c.cfg.Command[0], "took", took.Round(100*time.Microsecond).String())
	if c.cfg.Started != nil {
		c.cfg.Started(p.pid, took)
	}
	return p, nil
}

// sweepInterval is how often we look whether what the application has left is gone.
const sweepInterval = 20 * time.Millisecond

// killPatience is how long what was killed may take to go: a process that waits for a
// disk cannot be ended by anybody.
const killPatience = 5 * time.Second

// end ends the application, if it has not, and everything that it has left behind: first
// with the signal for that, and after Stop.After with SIGKILL. The log is told why.
func (c *Child) end(p *process, why string) {
	ctx, cancel := withTimeout(c.cfg.Stop.After)
	defer cancel()
	if p.signal(c.cfg.Stop.Signal) == nil {
		c.cfg.Log.Info("app is asked to end", "pid", p.pid, "signal", c.cfg.Stop.Signal.String(), "why", why)
		_ = p.signal(syscall.SIGCONT) // who was stopped cannot obey
		select {
		case <-p.exited:
		case <-ctx.Done():
		}
	}
	c.endRest(ctx, p)
	<-p.exited
	p.reap()
	result := p.result()
	c.mu.Lock()
	c.process = nil
	c.state.Running, c.state.PID, c.state.Since, c.state.Last = false, 0, time.Now(), result
	c.state.Check, c.state.Cause = Unchecked, ""
	c.mu.Unlock()
	p.closePipes()
}

// endRest ends whatever is left of the application until ctx ends, and then kills it.
func (c *Child) endRest(ctx context.Context, p *process) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	told := map[int]bool{p.pid: true}
	for ctx.Err() == nil {
		rest := c.cfg.Reaper.rest(p)
		if len(rest) == 0 {
			return
		}
		for _, pid := range rest {
			if !told[pid] {
				told[pid] = true
				_ = syscall.Kill(pid, c.cfg.Stop.Signal)
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	rest := c.cfg.Reaper.rest(p)
	if len(rest) == 0 {
		return
	}
	c.cfg.Log.Warn("app does not end in time and is killed", "pid", p.pid, "processes", len(rest), "after", c.cfg.Stop.After.String())
	c.kill(p, tick)
}

// kill kills what is left of the application until nothing is: while we look, it may
// have made more.
func (c *Child) kill(p *process, tick *time.Ticker) {
	ctx, cancel := withTimeout(killPatience)
	defer cancel()
	for ctx.Err() == nil {
		rest := c.cfg.Reaper.rest(p)
		if len(rest) == 0 {
			return
		}
		_ = syscall.Kill(-p.pid, syscall.SIGKILL) // at once, so that none forks while others are looked for
		for _, pid := range rest {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	c.cfg.Log.Warn("app was killed and does not go: the kernel holds it", "pid", p.pid)
}
