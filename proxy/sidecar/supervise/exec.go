package supervise

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// Program is a program that is run once, beside the application.
type Program struct {
	Argv []string // no shell reads it
	Env  []string // all of its environment
	Dir  string
	// Output is where both its outputs go; nil for nowhere.
	Output *os.File
}

// Exec runs a program until it has ended or ctx has; then its process group is killed. It
// reads nothing of ours, and writes to prog.Output alone. An end other than with exit code 0 is an
// error, which is none of the application's own. reaper is that of the process, if it has one.
func Exec(ctx context.Context, reaper *Reaper, prog Program) error {
	runtime.LockOSThread() // see Child.Run
	defer runtime.UnlockOSThread()
	nothing, err := null()
	if err != nil {
		return fmt.Errorf("starting the command %s: %w", prog.Argv[0], err)
	}
	defer nothing.Close()
	output := nothing
	if prog.Output != nil {
		output = prog.Output
	}
	p, err := spawn(program{prog.Argv, prog.Env, prog.Dir, [3]*os.File{nothing, output, output}}, reaper)
	if err != nil {
		return fmt.Errorf("starting the command %s: %w", prog.Argv[0], err)
	}
	var late error
	select {
	case <-p.exited:
	case <-ctx.Done():
		late = errKilled
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // and what it has left
	<-p.exited
	p.reap()
	switch result := p.result(); {
	case late != nil:
		return fmt.Errorf("command %s: %w", prog.Argv[0], late)
	case !result.Success():
		return fmt.Errorf("command %s ended with %s", prog.Argv[0], result.String())
	}
	return nil
}
