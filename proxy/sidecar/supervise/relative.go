package supervise

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// relative is a process, as the kernel describes it.
type relative struct {
	pid, parent, group int
	gone               bool // a zombie
}

// parseStat reads a line of proc_pid_stat(5). The name in it, which the process has
// chosen, ends at the last parenthesis.
func parseStat(text string) (relative, bool) {
	number, _, _ := strings.Cut(text, " ")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 3 {
		return relative{}, false
	}
	pid, err1 := strconv.Atoi(number)
	parent, err2 := strconv.Atoi(fields[1])
	group, err3 := strconv.Atoi(fields[2])
	r := relative{pid: pid, parent: parent, group: group, gone: slices.Contains([]string{"Z", "X", "x"}, fields[0])}
	return r, errors.Join(err1, err2, err3) == nil
}
