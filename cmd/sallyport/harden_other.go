//go:build !linux

package main

// harden has nothing to do where there is no prctl.
func harden() {}
