package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// Reaper waits for the children that this process has not started itself: orphans of the
// application, which the kernel gives to us. One that was started by this package is left
// to whoever has started it.
//
// A process that has one must start no program by other means, such as os/exec: the
// Reaper would take its end for an orphan's. A nil *Reaper is valid, and waits for nobody.
// It is safe for concurrent use.
type Reaper struct {
	log     *slog.Logger
	orphans atomic.Int64
	// start starts programs in place of os.StartProcess, and helper is the process that does
	// so for this one; nil and 0 for none. Set by Through, before anything is started.
	start  StartFunc
	helper int

	mu  sync.Mutex // held while a process is started, so that own has whoever can have ended
	own map[int]*process
}

// NewReaper makes this process the one that orphans among its descendants are given to.
// log is for what it finds; nil discards.
func NewReaper(log *slog.Logger) (*Reaper, error) {
	if err := becomeReaper(); err != nil {
		return nil, fmt.Errorf("becoming the parent of orphans: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Reaper{log: log, own: map[int]*process{}}, nil
}

// StartFunc is [os.StartProcess], or starts the same program as a child of this process by
// other means.
type StartFunc func(name string, argv []string, attr *os.ProcAttr) (*os.Process, error)

// Through has programs started by start, and leaves the process with the number helper alone,
// which does so. It is to be called before anything is started.
func (r *Reaper) Through(start StartFunc, helper int) { r.start, r.helper = start, helper }

// starter is how programs are started.
func (r *Reaper) starter() StartFunc {
	if r == nil || r.start == nil {
		return os.StartProcess
	}
	return r.start
}

// Run waits for orphans until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	for {
		r.reapAll()
		select {
		case <-ctx.Done():
			r.reapAll() // those that the end of the application has left
			return nil
		case <-signals:
		}
	}
}

// Orphans is how many there have been.
func (r *Reaper) Orphans() int64 {
	if r == nil {
		return 0
	}
	return r.orphans.Load()
}

// reapAll waits for all that have ended.
func (r *Reaper) reapAll() {
	for _, one := range relatives() {
		if one.gone && one.parent == os.Getpid() {
			r.reap(one.pid)
		}
	}
}

// reap waits for a child that has ended, unless we have started it.
func (r *Reaper) reap(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.own[pid] != nil {
		return
	}
	var status syscall.WaitStatus
	if got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil); err == nil && got == pid {
		r.orphans.Add(1)
		r.log.Debug("waited for an orphan", "pid", pid)
	}
}

// starting starts p, and knows it until it was waited for.
func (r *Reaper) starting(p *process, start func() error) error {
	if r == nil {
		return start()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.own, func(_ int, p *process) bool {
		select {
		case <-p.reaped:
			return true
		default:
			return false
		}
	})
	if err := start(); err != nil {
		return err
	}
	r.own[p.proc.Pid] = p
	return nil
}

// rest returns the processes that are left of p: itself, everything in its process group,
// and, if orphans are given to us, all our descendants that do not come from another
// process of ours.
func (r *Reaper) rest(p *process) []int {
	all := relatives()
	if all == nil { // without /proc, the kernel alone knows
		select {
		case <-p.exited:
			_ = syscall.Kill(-p.pid, syscall.SIGKILL)
			return nil
		default:
			return []int{p.pid}
		}
	}
	family := map[int]bool{p.pid: true}
	others := map[int]bool{}
	if r != nil {
		family[os.Getpid()] = true
		others[r.helper] = true
		r.mu.Lock()
		for pid, own := range r.own {
			if own != p {
				others[pid] = true
			}
		}
		r.mu.Unlock()
	}
	for grown := true; grown; { // a parent may stand behind its child
		grown = false
		for _, one := range all {
			if !family[one.pid] && !others[one.pid] && (family[one.parent] || one.group == p.pid) {
				family[one.pid], grown = true, true
			}
		}
	}
	var rest []int
	for _, one := range all {
		if family[one.pid] && !one.gone && one.pid != os.Getpid() {
			rest = append(rest, one.pid)
		}
	}
	slices.Sort(rest)
	return rest
}
