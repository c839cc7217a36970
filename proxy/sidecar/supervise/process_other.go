//go:build !linux

package supervise

import (
	"errors"
	"syscall"
)

// supported says that applications cannot be supervised here.
func supported() error { return errors.New("an application can be supervised on Linux alone") }

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func awaitExit(int) {}

func becomeReaper() error { return supported() }

func relatives() []relative { return nil }
