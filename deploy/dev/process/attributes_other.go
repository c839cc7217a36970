//go:build unix && !linux

package process

import "syscall"

// attributes puts the child into a group of its own. Only Linux can tie its life
// to ours: elsewhere a killed orchestrator leaves its children behind.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
