package supervise

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// supervisor is a process of its own that supervises a command.
type supervisor struct {
	*exec.Cmd
	out, err *written
	done     chan error
}

// startSupervisor starts one, behind the words of before. What it supervises has after to
// end.
func startSupervisor(t *testing.T, after string, before []string, command ...string) *supervisor {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	argv := append(append(before, self), command...)
	s := &supervisor{Cmd: exec.Command(argv[0], argv[1:]...), out: newWritten(), err: newWritten(), done: make(chan error, 1)}
	s.Env = append(os.Environ(), asSupervisor+"="+after)
	s.Stdout, s.Stderr, s.WaitDelay = s.out, s.err, time.Second
	if err := s.Start(); err != nil {
		t.Fatalf("starting %q: %v", argv, err)
	}
	go func() { s.done <- s.Wait() }()
	t.Cleanup(func() { _ = s.Process.Kill() })
	return s
}

// end waits until the supervisor has ended, and returns its exit code.
func (s *supervisor) end(t *testing.T) int {
	t.Helper()
	select {
	case err := <-s.done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
			t.Fatal(err)
		}
		return s.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("the supervisor does not end\n%s\n%s", s.out, s.err)
		return 0
	}
}

// forking is an application that leaves processes behind in each way: in its process
// group, in a session of its own, and both with another parent. They ignore what can be.
const forking = `trap '' TERM HUP INT
hold() { echo "pid $(cut -d' ' -f4 /proc/self/stat)"; while :; do sleep 0.05; done; }
(hold) &
(exec setsid /bin/sh -c 'trap "" TERM; echo "pid $$"; while :; do sleep 0.05; done') &
((hold) &)
(setsid /bin/sh -c '(trap "" TERM; echo "pid $(cut -d" " -f4 /proc/self/stat)"; while :; do sleep 0.05; done) & exit' &)
`

// TestNothingOutlivesTheApplication ends an application that forks, or has it end.
func TestNothingOutlivesTheApplication(t *testing.T) {
	tests := map[string]struct {
		script string
		stop   bool
		code   int
	}{
		"it is stopped":     {forking + "while :; do sleep 0.05; done", true, 0},
		"it ends by itself": {forking + "sleep 0.5; exit 7", false, 9},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := startSupervisor(t, "300ms", nil, sh(test.script)...)
			pids := pidsIn(t, s.out.wait(t, "pid ", 4), "pid")
			if test.stop {
				if err := s.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			if code := s.end(t); code != test.code {
				t.Errorf("the supervisor ended with code %d, expected %d\n%s", code, test.code, s.err)
			}
			for _, pid := range pids {
				if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
					t.Errorf("process %d of the application is still there: %v\n%s", pid, err, s.err)
				}
			}
			if !strings.Contains(s.err.String(), "app does not end in time and is killed") {
				t.Errorf("nothing was killed\n%s", s.err)
			}
		})
	}
}

// TestApplicationDiesWithTheSupervisor kills the supervisor so that it can do nothing any
// more.
func TestApplicationDiesWithTheSupervisor(t *testing.T) {
	s := startSupervisor(t, "10s", nil, sh("trap '' TERM HUP; echo \"pid $$\"; while :; do sleep 0.05; done")...)
	pid := pidsIn(t, s.out.wait(t, "pid ", 1), "pid")[0]
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.end(t)
	gone(t, pid)
}

// inContainer has what follows be the first process of a pid namespace, as in a container.
// It is root that may make one.
func inContainer() []string {
	return []string{"unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"}
}

// TestFirstProcessWaitsForOrphans is the first process of a container whose application
// leaves orphans all the time; it waits until none of them is a zombie.
func TestFirstProcessWaitsForOrphans(t *testing.T) {
	const orphans = 50
	script := `test "$(cut -d' ' -f1 /proc/1/stat)" = 1 && grep -q supervise /proc/1/cmdline || exit 3
i=0; while [ $i -lt ` + strconv.Itoa(orphans) + ` ]; do (sleep 0.01 &) ; (setsid /bin/sh -c 'exit 5' &); i=$((i+1)); done
while grep -qsE '^[0-9]+ \([^)]*\) [ZS] 1 ' $(ls -d /proc/[0-9]*/stat | grep -v -e ^/proc/1/stat -e "^/proc/$$/"); do sleep 0.02; done
echo clean; exit 7`
	s := startSupervisor(t, "1s", inContainer(), sh(script)...)
	if code := s.end(t); code != 9 {
		t.Errorf("the supervisor ended with code %d, expected 9", code)
	}
	if !strings.Contains(s.err.String(), "has ended by itself: exit code 7") || !strings.Contains(s.out.String(), "clean") {
		t.Errorf("it has written %q, and its log is\n%s", s.out, s.err)
	}
}

// TestKilledFirstProcessTakesAllWithIt kills the first process of a container, and with it
// the kernel kills everything, however it was forked.
func TestKilledFirstProcessTakesAllWithIt(t *testing.T) {
	s := startSupervisor(t, "10s", inContainer(), sh(forking+"echo ready; while :; do sleep 0.05; done")...)
	s.out.wait(t, "pid ", 4)
	first := childOf(t, s.Process.Pid)
	inside := below(first)
	if len(inside) < 5 {
		t.Fatalf("%d processes below %d, expected the application and four more", len(inside), first)
	}
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.end(t)
	for _, pid := range inside {
		gone(t, pid)
	}
}

// childOf returns the number of a process's only child.
func childOf(t *testing.T, parent int) int {
	t.Helper()
	for _, one := range relatives() {
		if one.parent == parent {
			return one.pid
		}
	}
	t.Fatalf("process %d has no child", parent)
	return 0
}

// below returns everything that comes from a process.
func below(root int) (pids []int) {
	all, family := relatives(), map[int]bool{root: true}
	for grown := true; grown; {
		grown = false
		for _, one := range all {
			if family[one.parent] && !family[one.pid] {
				family[one.pid], grown = true, true
				pids = append(pids, one.pid)
			}
		}
	}
	return pids
}
