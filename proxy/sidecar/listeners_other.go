//go:build !linux

package sidecar

import (
	"errors"
	"net/netip"
)

// askListeners cannot ask here.
func askListeners(uint16) ([]netip.Addr, error) { return nil, errors.ErrUnsupported }
