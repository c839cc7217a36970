package supervise

import (
	"context"
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
// [*ExitedError]. reaper is that of the process, if it has one.
func Exec(ctx context.Context, reaper *Reaper, prog Program) error {
	runtime.LockOSThread() // see Child.Run
	defer runtime.UnlockOSThread()
	nothing, err := null()
	if err != nil {
		return &StartError{prog.Argv[0], err}
	}
	defer nothing.Close()
	output := nothing
	if prog.Output != nil {
		output = prog.Output
	}
	p, err := spawn(program{prog.Argv, prog.Env, prog.Dir, [3]*os.File{nothing, output, output}}, reaper)
	if err != nil {
		return &StartError{prog.Argv[0], err}
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
	result := p.result()
	result.Cause = late
	if result.Success() {
		return nil
	}
	return result
}
