package supervise

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is longer than anything takes that is not broken.
const patience = 60 * time.Second

// asSupervisor has the test binary be a process that does nothing but supervise the
// command on its command line.
const asSupervisor = "SUPERVISE_TEST_AFTER"

func TestMain(m *testing.M) {
	after, is := os.LookupEnv(asSupervisor)
	if !is {
		os.Exit(m.Run())
	}
	if err := superviseAlone(os.Args[1:], after); err != nil {
		fmt.Fprintln(os.Stderr, "supervisor:", err)
		os.Exit(9)
	}
}

// superviseAlone runs a command until SIGTERM.
func superviseAlone(command []string, after string) error {
	patient, err := time.ParseDuration(after)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	reaper, err := NewReaper(log)
	if err != nil {
		return err
	}
	reaping, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		_ = reaper.Run(reaping)
		close(done)
	}()
	defer func() { end(); <-done }()
	child, err := New(Config{
		Command: command, Stop: Stop{After: patient}, Reaper: reaper, Log: log,
	})
	if err != nil {
		return err
	}
	return child.Run(ctx)
}

// written is a writer that somebody waits for.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced at each write
}

func newWritten() *written { return &written{more: make(chan struct{})} }

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.more)
	w.more = make(chan struct{})
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// wait returns everything that was written as soon as it has text in it, so many times.
func (w *written) wait(t *testing.T, text string, times int) string {
	t.Helper()
	late := time.After(patience)
	for {
		w.mu.Lock()
		all, more := w.text.String(), w.more
		w.mu.Unlock()
		if strings.Count(all, text) >= times {
			return all
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%q was not written %d times:\n%s", text, times, all)
		}
	}
}

// running is a Child that runs.
type running struct {
	*Child
	out, log *written
	stop     context.CancelFunc
	done     chan error
}

// run runs a child until the test ends. Its output and its log go to writers.
func run(t *testing.T, cfg Config) *running {
	t.Helper()
	r := &running{out: newWritten(), log: newWritten(), done: make(chan error, 1)}
	if cfg.Stdout == nil {
		cfg.Stdout = r.out
	}
	if cfg.Stderr == nil {
		cfg.Stderr = r.out
	}
	cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
	child, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Child = child
	ctx, stop := context.WithCancel(t.Context())
	r.stop = stop
	go func() { r.done <- child.Run(ctx) }()
	t.Cleanup(func() { stop(); <-child.ended })
	return r
}

// end waits until Run has returned, and returns what.
func (r *running) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(patience):
		t.Fatalf("the child does not end: %+v\n%s", r.State(), r.log)
		return nil
	}
}

// sh is a command that a shell reads.
func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

// gone waits until there is no process of that number, or it is a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			return
		}
		if one, ok := parseStat(string(text)); ok && one.gone {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("process %d is still there: %s", pid, text)
		}
	}
}

// pidsIn returns the numbers behind the word in lines such as "word 123".
func pidsIn(t *testing.T, text, word string) (pids []int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), word+" "); ok {
			pid, err := strconv.Atoi(rest)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		t.Fatalf("there is no %s in %q", word, text)
	}
	return pids
}
