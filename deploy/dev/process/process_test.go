package process

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start runs a shell script and waits until it has written "up".
func start(t *testing.T, script string) *Child {
	t.Helper()
	c, err := Start(Spec{
		Name: "child", Path: "/bin/sh", Args: []string{"-c", script},
		Env: []string{"PATH=/bin:/usr/bin"}, Log: filepath.Join(t.TempDir(), "child.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Kill(); <-c.Done() })
	waitFor(t, "the child's first line", func() bool { return strings.Contains(c.Tail(10), "up") })
	return c
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s: it did not come", what)
		}
		<-time.After(5 * time.Millisecond) // a real process is being waited for
	}
}

func TestStop(t *testing.T) {
	tests := []struct {
		name, script string
		within       time.Duration
		want         string // in the error; "" for none
	}{
		{"clean", "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done", 10 * time.Second, ""},
		{"by the signal itself", "echo up; exec sleep 60", 10 * time.Second, ""},
		{"with a failure", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done", 10 * time.Second, "exit status 3"},
		{"not at all", "trap '' TERM; echo up; while :; do sleep 0.02; done", 50 * time.Millisecond, "killed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := start(t, tt.script).Stop(tt.within)
			if tt.want == "" && err != nil {
				t.Errorf("error %v, want none", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestKillReachesGrandchildren(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	c := start(t, "sleep 60 & echo $! >"+pid+"; echo up; wait")
	c.Kill()
	<-c.Done()
	data, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	stat := "/proc/" + strings.TrimSpace(string(data)) + "/stat"
	waitFor(t, "the grandchild's end", func() bool {
		state, err := os.ReadFile(stat)
		return err != nil || strings.Contains(string(state), ") Z ")
	})
}

func TestUnexpectedEndIsSeen(t *testing.T) {
	c := start(t, "echo up; echo 'something is wrong'; exit 11")
	<-c.Done()
	if c.Stopping() {
		t.Error("the end is taken for an asked-for one")
	}
	if c.Ending() != "exit status 11" {
		t.Errorf("ending %q", c.Ending())
	}
	if got := c.Tail(1); got != "    something is wrong" {
		t.Errorf("tail %q", got)
	}
}

func TestChildHasItsOwnGroup(t *testing.T) {
	c := start(t, "echo up; exec sleep 60")
	group, err := syscall.Getpgid(c.PID())
	if err != nil {
		t.Fatal(err)
	}
	if group != c.PID() || group == syscall.Getpgrp() {
		t.Errorf("group %d of process %d; ours is %d", group, c.PID(), syscall.Getpgrp())
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	_, err := Start(Spec{Name: "ghost", Path: "/does/not/exist", Log: filepath.Join(t.TempDir(), "log")})
	if err == nil || !strings.Contains(err.Error(), "starting ghost") {
		t.Errorf("error %v", err)
	}
}
