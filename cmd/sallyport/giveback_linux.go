package main

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// image is where a program is in memory and stays as it is in its file.
type image []pages

// program finds this one's. It does not change once the program runs.
func program() image {
	name, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return nil
	}
	return unwritten(string(maps), name)
}

// giveBack lets go of its pages, most of which were looked at once. The kernel brings back
// those that are wanted again from its cache, without a disk; it brings sixteen at a time,
// so that a check of a moment leaves megabytes. What fails is as it was before.
func (i image) giveBack() {
	for _, part := range i {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, part.from, part.to-part.from, unix.MADV_DONTNEED)
	}
}

// worked is the processor's time that this process has taken until now; 0 if the kernel
// does not say.
func worked() time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// mapped reads from proc_pid_statm(5) how many bytes of files this process has in memory; 0
// if the kernel does not say.
func mapped() int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return 0
	}
	count, err := strconv.Atoi(fields[2])
	if err != nil {
		return 0
	}
	return count * os.Getpagesize()
}

// pages are the addresses from one on, up to another.
type pages struct{ from, to uintptr }

// unwritten reads proc_pid_smaps(5), and returns the parts of the program that nobody may
// write to and nobody has: a linker writes to some before it forbids that, as the race
// detector's does. They are in memory what they are in the file.
func unwritten(smaps, program string) (parts image) {
	var part pages // empty if it is none
	clean := false
	add := func() {
		if clean && part.from < part.to {
			parts = append(parts, part)
		}
		part, clean = pages{}, false
	}
	for line := range strings.Lines(smaps) {
		line = strings.TrimSuffix(line, "\n")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "Anonymous:", "Swap:": // what is dirty beside may be so in the file
			if fields[1] != "0" {
				part = pages{}
			}
			clean = clean || fields[0] == "Anonymous:"
		default:
			if strings.HasSuffix(fields[0], ":") {
				continue
			}
			add()
			if len(fields) >= 6 && (fields[1] == "r-xp" || fields[1] == "r--p") && strings.HasSuffix(line, " "+program) {
				part = readPages(fields[0])
			}
		}
	}
	add()
	return parts
}

// readPages reads "FROM-TO"; what is not that is empty.
func readPages(text string) pages {
	low, high, _ := strings.Cut(text, "-")
	from, err := strconv.ParseUint(low, 16, 64)
	if err != nil {
		return pages{}
	}
	to, err := strconv.ParseUint(high, 16, 64)
	if err != nil {
		return pages{}
	}
	return pages{uintptr(from), uintptr(to)}
}
