package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of a process's times in /proc (USER_HZ).
const tick = 10 * time.Millisecond

// processorTime is what a process and all of its descendants have used so far.
func processorTime(pid int) time.Duration {
	var ticks int64
	for _, p := range tree(pid) {
		fields := statOf(p)
		if len(fields) < 15 {
			continue
		}
		for _, f := range fields[11:15] { // utime, stime, cutime, cstime
			n, _ := strconv.ParseInt(f, 10, 64) // of the kernel
			ticks += n
		}
	}
	return time.Duration(ticks) * tick
}

// memory is the proportional share of a tree's memory, in bytes.
func memory(pid int) (total int64) {
	for _, p := range tree(pid) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			continue // gone
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64) // of the kernel
				total += n << 10
			}
		}
	}
	return total
}

// tree is a process and all of its descendants.
func tree(root int) []int {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // no bad pattern
	for _, stat := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil {
			continue
		}
		if fields := statOf(pid); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1]) // of the kernel
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// statOf are the fields of a process's stat after its name, which may hold anything;
// nil if it is gone.
func statOf(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
}
