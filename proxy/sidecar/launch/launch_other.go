//go:build !linux

package launch

import (
	"context"
	"os"
)

// Launcher starts programs without a helper where no process can be confined.
type Launcher struct{}

// KeepDescriptors does nothing: no application is started here.
func KeepDescriptors() error { return nil }

// Helper says that there is no helper here.
func Helper([]string) bool { return false }

// Help does nothing.
func Help() error { return nil }

// Start returns a Launcher that does without a helper.
func Start(context.Context, Config) (*Launcher, error) { return &Launcher{}, nil }

// StartProcess is [os.StartProcess].
func (*Launcher) StartProcess(name string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	return os.StartProcess(name, argv, attr)
}

// PID is 0: there is no helper.
func (*Launcher) PID() int { return 0 }

// Close does nothing.
func (*Launcher) Close() error { return nil }
