package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"syscall"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/sidecar/supervise"
)

// app is the application that a sidecar runs. A nil *app is none.
type app struct {
	child  *supervise.Child
	reaper *supervise.Reaper
	cancel context.CancelFunc // asks it to end
	done   chan struct{}      // closed when it has ended for good
	err    error              // why, after done
}

// appSignals are the names of signals in a configuration.
var appSignals = map[string]syscall.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH, "TTIN": syscall.SIGTTIN, "TTOU": syscall.SIGTTOU,
}

var (
	appPolicies = map[string]supervise.Policy{"never": supervise.Never, "on-failure": supervise.OnFailure, "always": supervise.Always}
	appOutputs  = map[string]supervise.Output{"pass": supervise.Pass, "prefix": supervise.Prefix, "json": supervise.JSON}
)

// newApp returns the application of a command line, which does not run yet; nil if there
// is none. What it writes goes where this process does; its lines, if they are made ours,
// to out.
func newApp(command []string, cfg *config.Sidecar, to appOutput, rendered *appSecrets, log *slog.Logger) (*app, error) {
	if len(command) == 0 {
		return nil, nil
	}
	reaper, err := supervise.NewReaper(log)
	if err != nil {
		return nil, err
	}
	c := cfg.Child
	settings := supervise.Config{
		Command: command, Restart: appPolicies[c.Restart], Limit: c.Limit,
		Backoff: supervise.Backoff{First: c.Backoff.First.Duration, Most: c.Backoff.Most.Duration},
		Stop:    supervise.Stop{Signal: appSignals[c.Stop.Signal], After: c.Stop.After.Duration},
		Output:  appOutputs[c.Output], Service: cfg.Name.Label(), Stdout: to.std.Out, Stderr: to.std.Err, Reaper: reaper, Log: log,
	}
	settings.Env, settings.Stdin = rendered.forApp()
	if settings.Output != supervise.Pass {
		settings.Stdout = to.out
	}
	for _, name := range c.Forward {
		settings.Forward = append(settings.Forward, appSignals[name])
	}
	if c.Check.On() {
		settings.Check = appCheck(c.Check)
	}
	child, err := supervise.New(settings)
	if err != nil {
		return nil, fmt.Errorf("preparing the app: %w", err)
	}
	a := &app{child: child, reaper: reaper, done: make(chan struct{})}
	rendered.tells(a)
	return a, nil
}

// appOutput is where an application may write.
type appOutput struct {
	std stdio
	out *lines // for lines that are made ours
}

// appCheck is how an application is asked.
func appCheck(k config.ChildCheck) *supervise.Check {
	check := &supervise.Check{Command: k.Command, Every: k.Every.Duration, Timeout: k.Timeout.Duration, Failures: k.Failures, Start: k.Start.Duration}
	if k.HTTP != "none" {
		check.HTTP = k.HTTP
	}
	if k.TCP != "none" {
		check.TCP = k.TCP
	}
	return check
}

// start starts the application and returns when it answers. It runs until stop, though
// ctx may end before.
func (a *app) start(ctx context.Context) error {
	if a == nil {
		return nil
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	var reaping sync.WaitGroup
	reap, end := context.WithCancel(context.WithoutCancel(ctx))
	reaping.Go(func() { _ = a.reaper.Run(reap) }) // has nothing to say
	go func() {
		a.err = a.child.Run(running)
		end()
		reaping.Wait()
		close(a.done)
	}()
	select {
	case <-a.child.Answering():
		return nil
	case <-a.done:
		return a.err
	case <-ctx.Done():
		a.stop()
		return context.Cause(ctx)
	}
}

// ended is closed when the application has ended for good, though nobody has asked for it.
func (a *app) ended() <-chan struct{} {
	if a == nil {
		return nil
	}
	return a.done
}

// stop ends the application in order, and returns why it has ended, if it has done so
// before.
func (a *app) stop() error {
	if a == nil {
		return nil
	}
	a.cancel()
	<-a.done
	return a.err
}

// unready says why an application gets no requests; "" if it does.
func (a *app) unready() string {
	if a == nil {
		return ""
	}
	switch s := a.child.State(); {
	case s.OK():
		return ""
	case s.Running:
		return fmt.Sprintf("app: its check is %s: %s", s.Check, s.Cause)
	case s.Last != nil:
		return "app: it does not run: " + s.Last.String()
	}
	return "app: it does not run"
}

// lines makes one writer of standard output for the access log and the application, so
// that no line of one stands within a line of the other.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

// Write writes at once.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(p)
}
