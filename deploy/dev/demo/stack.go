package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

// stopWithin is above the drain time in the configuration files.
const stopWithin = 12 * time.Second

// stack is the processes that run, in the order of their start.
type stack struct {
	set     settings
	say     *reporter
	vault   vault
	restart chan struct{} // somebody asked to restart Vault

	// fail ends everything, with the reason.
	fail context.CancelCauseFunc

	mu       sync.Mutex
	children []*process.Child
}

func newStack(set settings, out io.Writer, fail context.CancelCauseFunc) *stack {
	return &stack{
		set: set, say: newReporter(out), fail: fail, restart: make(chan struct{}, 1),
	}
}

// start starts a child with the demo's small environment and watches over it: if
// it ends without being asked to, the whole stack does.
func (s *stack) start(spec process.Spec) (*process.Child, error) {
	spec.Env = append(baseEnvironment(), spec.Env...)
	spec.Log = s.set.in("log", spec.Name+".log")
	child, err := process.Start(spec)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.children = append(s.children, child)
	s.mu.Unlock()
	go func() {
		<-child.Done()
		if !child.Stopping() {
			s.fail(fmt.Errorf("running %s: it ended by itself (%s); the end of %s:\n%s",
				child.Name(), child.Ending(), child.Log(), child.Tail(15)))
		}
	}()
	return child, nil
}

// baseEnvironment leaves out what the caller's environment says about Vault and
// proxies: the demo is the same for everybody.
func baseEnvironment() []string {
	env := []string{"LANG=C.UTF-8"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// drop forgets a child that has ended.
func (s *stack) drop(child *process.Child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.children = slices.DeleteFunc(s.children, func(c *process.Child) bool { return c == child })
}

// stopOrder is the order of a clean stop: whoever asks stops before whom it asks.
// Vault may have been restarted, so it is last by name and not by its start.
func (s *stack) stopOrder() []*process.Child {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := slices.Clone(s.children)
	slices.Reverse(order)
	slices.SortStableFunc(order, func(a, b *process.Child) int {
		return isVault(a) - isVault(b)
	})
	return order
}

func isVault(c *process.Child) int {
	if c.Name() == "vault" {
		return 1
	}
	return 0
}

// stopAll stops every child and returns once all are gone. A child that ended by
// itself was reported already.
func (s *stack) stopAll() error {
	var errs []error
	order := s.stopOrder()
	for _, child := range order {
		select {
		case <-child.Done():
			continue
		default:
		}
		if err := child.Stop(stopWithin); err != nil {
			errs = append(errs, err)
		}
	}
	if len(order) > 0 {
		s.say.line("stopped; the logs stay in %s", s.set.in("log"))
	}
	return errors.Join(errs...)
}

// killAll kills every child at once; whoever waits for them sees their end.
func (s *stack) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, child := range s.children {
		child.Kill()
	}
}

// askRestart never blocks; two requests before the first is served are one.
func (s *stack) askRestart() {
	select {
	case s.restart <- struct{}{}:
	default:
	}
}
