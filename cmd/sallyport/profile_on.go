//go:build profile

package main

import (
	"os"
	"runtime/pprof"
)

// profileVariable names the file that a build with the tag "profile" writes its
// processor profile to. It is how `make pgo` renews default.pgo; no build that is
// delivered has it.
const profileVariable = "SALLYPORT_CPU_PROFILE"

// profile begins to profile this process, if it was asked to; the caller must call
// stop before the process ends.
func profile(lookup func(string) (string, bool)) (stop func()) {
	name, ok := lookup(profileVariable)
	if !ok {
		return func() {}
	}
	file, err := os.Create(name) //nolint:gosec // whoever builds with the tag says where
	if err != nil {
		return func() {}
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return func() {}
	}
	return func() {
		pprof.StopCPUProfile()
		_ = file.Close() // whoever asked reads it
	}
}
