//go:build !linux

package handover

import "errors"

var errNotHere = errors.New("only Linux can do this")

// listenBeside lets others listen on the address too.
func listenBeside(int) error { return errNotHere }

// refuseNew has no new connection begin.
func refuseNew(int) error { return errNotHere }
