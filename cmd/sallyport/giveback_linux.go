package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// giveBack lets go of the memory that a start has needed and a process that only waits does
// not: garbage, and the pages of this program that were looked at once. The kernel brings
// back those of the program that are wanted again from its cache, without a disk. What
// fails is as it was before.
func giveBack() {
	debug.FreeOSMemory()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		if from, to, ok := unwritten(strings.TrimSuffix(line, "\n"), program); ok {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}

// unwritten reads a line of proc_pid_maps(5), and says whether it is a part of the program
// that nobody can have written to, so that it is in memory what it is in the file.
func unwritten(line, program string) (from, to uintptr, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 6 || fields[1] != "r-xp" && fields[1] != "r--p" || !strings.HasSuffix(line, " "+program) {
		return 0, 0, false
	}
	low, high, _ := strings.Cut(fields[0], "-")
	first, err := strconv.ParseUint(low, 16, 64)
	if err != nil {
		return 0, 0, false
	}
	last, err := strconv.ParseUint(high, 16, 64)
	return uintptr(first), uintptr(last), err == nil && first < last
}
