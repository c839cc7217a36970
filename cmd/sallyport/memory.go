package main

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryLimit is what the process runs under, in bytes, or 0 if nothing bounds it: the
// limit of the runtime, by GOMEMLIMIT or [tuneCollector], or that of its control groups.
// root is where the file system begins.
func memoryLimit(root string) int64 {
	limit := debug.SetMemoryLimit(-1) // asks, and changes nothing
	if group := groupMemory(root); group > 0 {
		limit = min(limit, group)
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// groupMemory is the lowest limit of this process's control groups (cgroup v2), in
// bytes, or 0 if there is none that can be read.
func groupMemory(root string) int64 {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	lowest := int64(0)
	for line := range strings.Lines(string(text)) {
		group, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !unified {
			continue
		}
		for group = filepath.Clean("/" + group); ; group = filepath.Dir(group) {
			folder := filepath.Join(root, "sys/fs/cgroup", group)
			lowest = lower(lowest, lower(readLimit(folder, "memory.max"), readLimit(folder, "memory.high")))
			if group == "/" {
				break
			}
		}
	}
	return lowest
}

// lower is the lower of two limits, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// readLimit reads one of a control group's limits; 0 for none.
func readLimit(folder, name string) int64 {
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return 0
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit < 0 { // "max"
		return 0
	}
	return limit
}
