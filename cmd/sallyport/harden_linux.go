package main

import "golang.org/x/sys/unix"

// harden keeps the process's memory to itself: no core dump, no tracer of the
// same user. Neither can fail in a way that we could mend, and neither is the
// only protection.
func harden() {
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
