package syslog

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errSilent says that a collector has not read what it was sent.
var errSilent = errors.New("the collector does not read what it is sent")

// tookIt is asked of a collector that does not close its side: that its kernel has
// everything must do then.
func (c *connection) tookIt() error {
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return fmt.Errorf("looking for what was not taken: %w", err)
	}
	var waiting int
	var fault error
	if err := raw.Control(func(fd uintptr) { waiting, fault = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
		return fmt.Errorf("looking for what was not taken: %w", err)
	}
	if fault != nil {
		return fmt.Errorf("looking for what was not taken: %w", fault)
	}
	if waiting > 0 {
		return errSilent
	}
	return nil
}
