//go:build !linux

package main

import "runtime/debug"

// giveBack lets go of the garbage of a start.
func giveBack() { debug.FreeOSMemory() }
