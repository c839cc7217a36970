package main

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// followers keep several things of one kind fresh, each on its own, so that one that
// does not answer delays no other. Which there are follows from the configuration that
// is in use.
type followers[T any] struct {
	wanted  func() []string // the names of those that are needed now
	start   func(name string) *follower[T]
	changed chan struct{} // asks run to look which there are

	mu      sync.Mutex // guards running
	running map[string]runningFollower[T]
}

// runningFollower is one of them, and what ends it.
type runningFollower[T any] struct {
	*follower[T]
	end context.CancelFunc // nil until run has begun
}

// newFollowers returns those that are needed now; they follow nothing before run.
func newFollowers[T any](wanted func() []string, start func(name string) *follower[T]) *followers[T] {
	m := &followers[T]{wanted: wanted, start: start, changed: make(chan struct{}, 1), running: map[string]runningFollower[T]{}}
	for _, name := range wanted() {
		m.running[name] = runningFollower[T]{follower: start(name)}
	}
	return m
}

// run implements [followed].
func (m *followers[T]) run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		m.reconcile(ctx, &all)
		select {
		case <-ctx.Done():
			return nil
		case <-m.changed:
		}
	}
}

// reconcile begins to follow what is new, and ends what is gone.
func (m *followers[T]) reconcile(ctx context.Context, all *sync.WaitGroup) {
	wanted := m.wanted()
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, f := range m.running {
		if !slices.Contains(wanted, name) {
			f.stop()
			delete(m.running, name)
		}
	}
	for _, name := range wanted {
		f, ok := m.running[name]
		if !ok {
			f.follower = m.start(name)
		}
		if f.end != nil {
			continue
		}
		var own context.Context
		own, f.end = context.WithCancel(ctx) //nolint:gosec // stop calls it, or ctx ends
		m.running[name] = f
		all.Go(func() { _ = f.run(own) }) // it returns nil
	}
}

func (f runningFollower[T]) stop() {
	if f.end != nil {
		f.end()
	}
}

// wake implements [followed].
func (m *followers[T]) wake() {
	select {
	case m.changed <- struct{}{}:
	default: // it will look, already
	}
	for _, f := range m.all() {
		f.wake()
	}
}

// states implements [followed].
func (m *followers[T]) states() []followState {
	var states []followState
	for _, f := range m.all() {
		states = append(states, f.status())
	}
	return states
}

// all are the followers that there are, in the order of their names.
func (m *followers[T]) all() []runningFollower[T] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []runningFollower[T]
	for _, name := range slices.Sorted(maps.Keys(m.running)) {
		all = append(all, m.running[name])
	}
	return all
}

// now has one of them read and waits for what becomes of it. It reports whether there is
// one of that name.
func (m *followers[T]) now(ctx context.Context, name string) bool {
	m.mu.Lock()
	f, ok := m.running[name]
	m.mu.Unlock()
	if ok {
		f.now(ctx)
	}
	return ok
}
