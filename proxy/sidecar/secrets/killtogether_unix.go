//go:build unix

package secrets

import (
	"os/exec"
	"syscall"
)

// killTogether has a command that takes too long killed with all that it started.
func killTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
