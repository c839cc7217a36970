// Package process starts the demo's processes, watches them and stops them.
//
// Each child runs in a process group of its own, so that Ctrl-C in the terminal
// reaches only the orchestrator, which then stops the children in its own order.
// On Linux the kernel kills the children when the orchestrator dies, however it
// dies. Output goes to a log file per child.
package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Spec says what to run. It is not modified.
type Spec struct {
	Name string   // for people
	Path string   // of the program
	Args []string // without the program's name
	Env  []string // the whole environment, "KEY=value"
	Log  string   // file that receives both outputs; appended to
}

// Child is a process that was started. Safe for concurrent use.
type Child struct {
	spec     Spec
	cmd      *exec.Cmd
	done     chan struct{}
	stopping atomic.Bool
	err      error // how it ended; read it after done
}

// Start starts a child. The caller must stay on one operating-system thread from
// its first Start on (runtime.LockOSThread): Linux ties the death signal of a child
// to the thread that started it.
func Start(spec Spec) (*Child, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", spec.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(spec.Path, spec.Args...) //nolint:gosec,noctx // what the orchestrator names; it is stopped by signals
	cmd.Env = spec.Env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	c := &Child{spec: spec, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// Name returns the name in the child's Spec.
func (c *Child) Name() string { return c.spec.Name }

// Log returns the path of the child's log file.
func (c *Child) Log() string { return c.spec.Log }

// PID returns the process ID, which is also that of its group.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Stopping says whether Stop or Kill was called: whether the end is asked for.
func (c *Child) Stopping() bool { return c.stopping.Load() }

// Ending says in words how the process ended: "exit status 11" or "signal: killed".
// It may be called once Done is closed.
func (c *Child) Ending() string {
	if c.err == nil {
		return "exit status 0"
	}
	return c.err.Error()
}

// Stop sends SIGTERM, waits for the end, and after the deadline kills the whole
// group. It returns an error if it had to kill, or if the exit code was not 0.
func (c *Child) Stop(within time.Duration) error {
	c.stopping.Store(true)
	c.signal(syscall.SIGTERM)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.Kill()
		<-c.done
		return fmt.Errorf("stopping %s: still running after %s, killed", c.Name(), within)
	}
	if exit := (*exec.ExitError)(nil); errors.As(c.err, &exit) && !exit.Exited() {
		return nil // it went by a signal, ours or one that came before
	}
	if c.err != nil {
		return fmt.Errorf("stopping %s: %w", c.Name(), c.err)
	}
	return nil
}

// Kill ends the whole group at once and does not wait.
func (c *Child) Kill() {
	c.stopping.Store(true)
	c.signal(syscall.SIGKILL)
}

// signal reaches the child and whatever it started. A group that is gone already
// is no error: that is what was wanted.
func (c *Child) signal(sig syscall.Signal) {
	syscall.Kill(-c.PID(), sig) //nolint:errcheck // ESRCH
}

// Tail returns the last lines of the child's log, each indented.
func (c *Child) Tail(lines int) string {
	data, err := os.ReadFile(c.spec.Log)
	if err != nil {
		return "    (" + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "    " + strings.Join(all, "\n    ")
}
