package accesslog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// smallDisk is a folder on a file system of its own, of that many KiB: a tmpfs in
// namespaces of its own, which needs no privilege, reached through a process in there.
func smallDisk(t *testing.T, kib int) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o "size=$1k" none "$2" && echo mounted && exec cat`, "sh", fmt.Sprint(kib), dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "mounted\n" {
		t.Fatalf("mounting a small disk: %q, %v", line, err)
	}
	return fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir)
}

// TestDiskFull fills a real disk by records, and makes room again: no record is
// missing, and nobody was let in meanwhile.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, 4096)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "access.log")
	f, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	// What waits at most when the disk is full finds room when the ballast is gone.
	l := Prepare(Config{Service: "gateway", Buffer: 2 << 20, Sinks: []Sink{NewOutput("file", f)}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	asked, letIn := ask(l, func(int) bool { return !errors.Is(l.Err(), syscall.ENOSPC) })
	if err := l.Err(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Err = %v, want %v", err, syscall.ENOSPC)
	}
	refused, wrong := ask(l, func(n int) bool { return n < 30 })
	if wrong != 0 {
		t.Errorf("%d people were let in while the disk was full", wrong)
	}
	if got := l.Flush(timeout(t, 100*time.Millisecond)); got == nil {
		t.Error("records are written though the disk is full")
	}
	if err := os.Truncate(ballast, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(ctx); err != nil || l.Err() != nil {
		t.Fatalf("it does not recover by itself: %v, %v", err, l.Err())
	}
	after, welcome := ask(l, func(n int) bool { return n < 50 })
	if after != welcome {
		t.Errorf("%d people were let in of %d when there was room again", welcome, after)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, r := range verify(t, text).records(t) {
		count[strings.TrimSpace(string(r.Action)+" "+r.Decision)]++
	}
	want := map[string]int{"log_start": 1, "access allow": letIn + welcome, "access deny": asked - letIn + refused, "log_end": 1}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// ask has eight clients ask again and again while more says so of the number of their
// requests, and returns how many requests there were and how many were let in.
func ask(l *Log, more func(n int) bool) (asked, letIn int) {
	var all, in atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 0; more(n); n++ {
				r, err := typical(), l.Err()
				if errors.Is(err, ErrFull) || err == nil && l.queue.used.Load() > l.queue.limit/2 { // the writer had no processor for a while
					<-time.After(time.Millisecond)
					continue
				}
				if err != nil {
					r.Decision, r.Reason = DecisionDeny, "access_log"
				} else {
					in.Add(1)
				}
				all.Add(1)
				_ = l.Write(&r) // what is lost is missed in the end
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	return int(all.Load()), int(in.Load())
}

// timeout is a context that ends soon.
func timeout(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
