package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/sidecar/launch"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
	"github.com/sallyport/sallyport/proxy/sidecar/supervise"
)

// app is the application that a sidecar runs. A nil *app is none.
type app struct {
	child   *supervise.Child
	reaper  *supervise.Reaper
	helper  *launch.Launcher   // starts programs that are not confined with us; nil if we are not
	started chan struct{}      // closed at the first start
	cancel  context.CancelFunc // asks it to end
	done    chan struct{}      // closed when it has ended for good
	err     error              // why, after done
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
//
// Where this process is to be confined, a helper is started that is not.
func newApp(ctx context.Context, command []string, cfg *config.Sidecar, to appSurroundings, log *slog.Logger) (_ *app, err error) {
	if len(command) == 0 {
		return nil, nil
	}
	reaper, err := supervise.NewReaper(log)
	if err != nil {
		return nil, err
	}
	a := &app{reaper: reaper, started: make(chan struct{}), done: make(chan struct{})}
	if !cfg.Confine.UnsafeOff {
		if a.helper, err = launch.Start(ctx, launch.Config{Commands: appCommands(command, cfg), Names: appVariables(cfg)}); err != nil {
			return nil, fmt.Errorf("preparing the app: %w", err)
		}
		reaper.Through(a.helper.StartProcess, a.helper.PID())
	}
	settings := appSettings(command, cfg, to, reaper, log)
	settings.Started = func(int, time.Duration) {
		select {
		case <-a.started:
		default:
			close(a.started)
		}
	}
	if a.child, err = supervise.New(settings); err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the app: %w", err), a.close())
	}
	to.rendered.tells(a)
	return a, nil
}

// appSurroundings are what an application is given, and where it writes to.
type appSurroundings struct {
	std      stdio
	lines    *lines
	rendered *appSecrets
}

// appCommands are the programs that a configuration has started.
func appCommands(command []string, cfg *config.Sidecar) []launch.Command {
	commands := []launch.Command{{Argv: command}}
	if check := cfg.Child.Check.Command; len(check) > 0 {
		commands = append(commands, launch.Command{Argv: check})
	}
	for _, file := range cfg.Secrets.Files {
		if file.OnChange.Action == string(secrets.Command) {
			commands = append(commands, launch.Command{Argv: file.OnChange.Command, Dir: actionFolder})
		}
	}
	return commands
}

// appVariables are the names of variables whose values are secrets.
func appVariables(cfg *config.Sidecar) []string {
	var names []string
	for _, variable := range cfg.Secrets.Env {
		names = append(names, variable.Name)
	}
	return names
}

// appSettings are the settings of an application.
func appSettings(command []string, cfg *config.Sidecar, to appSurroundings, reaper *supervise.Reaper, log *slog.Logger) supervise.Config {
	c := cfg.Child
	settings := supervise.Config{
		Command: command, Restart: appPolicies[c.Restart], Limit: c.Limit,
		Backoff: supervise.Backoff{First: c.Backoff.First.Duration, Most: c.Backoff.Most.Duration},
		Stop:    supervise.Stop{Signal: appSignals[c.Stop.Signal], After: c.Stop.After.Duration},
		Output:  appOutputs[c.Output], Service: cfg.Name.Label(), Stdout: to.std.Out, Stderr: to.std.Err, Reaper: reaper, Log: log,
	}
	settings.Env, settings.Stdin = to.rendered.forApp()
	if settings.Output != supervise.Pass {
		settings.Stdout = to.lines
	}
	for _, name := range c.Forward {
		settings.Forward = append(settings.Forward, appSignals[name])
	}
	if c.Check.On() {
		settings.Check = appCheck(c.Check)
	}
	return settings
}

// close ends the helper, after the application.
func (a *app) close() error {
	if a == nil || a.helper == nil {
		return nil
	}
	return a.helper.Close()
}

// release is close at the end of a life, of which nothing hangs on how the helper ends.
func (a *app) release(log *slog.Logger) {
	if err := a.close(); err != nil {
		log.Debug("ending the helper", "error", err)
	}
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
// ctx may end before. clock measures it.
func (a *app) start(ctx context.Context, clock *stopwatch) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a.cancel = cancel
	reap, end := context.WithCancel(context.WithoutCancel(ctx))
	var reaping sync.WaitGroup
	reaping.Go(func() { _ = a.reaper.Run(reap) }) // has nothing to say
	go func() {
		a.err = a.child.Run(running)
		end()
		reaping.Wait()
		close(a.done)
	}()
	for _, step := range []struct {
		name string
		done <-chan struct{}
	}{{"app_started", a.started}, {"app_answers", a.child.Answering()}} {
		select {
		case <-step.done:
			clock.lap(step.name)
		case <-a.done:
			return a.err
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), a.stop())
		}
	}
	return nil
}

// ended is closed when the application has ended for good.
func (a *app) ended() <-chan struct{} { return a.done }

// retire says that a stop is under way.
func (a *app) retire() {
	if a != nil {
		a.child.Retire()
	}
}

// stop ends the application in order, and returns why it has ended, if it has done so
// before.
func (a *app) stop() error {
	a.cancel()
	<-a.done
	return a.err
}

// state is the application's part in the answer about health.
func (a *app) state() (ok bool, says string) {
	s := a.child.State()
	switch {
	case s.OK():
		says = "runs since " + s.Since.UTC().Format(time.RFC3339)
		if s.Check != supervise.Unchecked {
			says += ", its check is passing"
		}
	case s.Running:
		says = fmt.Sprintf("its check is %s: %s", s.Check, s.Cause)
	case s.Last != nil:
		says = "it does not run, the last time it ended with " + s.Last.String()
	default:
		says = "it does not run"
	}
	if s.Restarts > 0 {
		says += fmt.Sprintf(", started again %d times", s.Restarts)
	}
	return s.OK(), says
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
