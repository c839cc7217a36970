package swarm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// errBusy: there are as many live tokens as are remembered, of all services or of
// one.
var (
	errBusy        = errors.New("too many tasks started within the life of their tokens")
	errServiceBusy = fmt.Errorf("of this service alone: %w", errBusy)
)

// key is what one token was made for: a task of a service, its secret, and the
// order. A secret whose labels were changed in between is another order.
type key struct{ service, task, secret, order string }

// memory remembers the token of each task until it ends, and makes requests for
// the same one share a call. It is bounded: who starts more tasks than limit
// within the life of their tokens has to wait, which also spares Vault a flood.
// A service that does so alone waits at its share, and no other with it.
type memory struct {
	limit, share int

	mu      sync.Mutex // guards entries, and each entry's fields until done is closed
	entries map[key]*entry
}

// entry is a token that is being made or was.
type entry struct {
	done chan struct{} // closed once the fields below are set
	token
	err error
}

// token is a wrapping token to hand out, and when it ends.
type token struct {
	value string
	ends  time.Time
}

func newMemory(limit, share int) *memory {
	return &memory{limit: limit, share: share, entries: map[key]*entry{}}
}

// get returns the token of k: what is remembered, or else what issue makes. It
// runs issue once for all who ask meanwhile. A failure is shared by those, and not
// remembered. remembered is false for the one that ran issue.
func (m *memory) get(ctx context.Context, k key, issue func() (token, error)) (value string, remembered bool, err error) {
	e, mine, err := m.claim(k)
	if err != nil {
		return "", false, err
	}
	if !mine {
		select {
		case <-e.done:
			return e.value, true, e.err
		case <-ctx.Done():
			return "", true, ctx.Err()
		}
	}
	e.token, e.err = issue()
	m.mu.Lock()
	defer m.mu.Unlock()
	close(e.done)
	if e.err != nil {
		delete(m.entries, k)
	}
	return e.value, false, e.err
}

// claim returns the entry of k, and whether the caller has to fill it.
func (m *memory) claim(k key) (e *entry, mine bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, own := time.Now(), 0
	maps.DeleteFunc(m.entries, func(other key, e *entry) bool {
		over := e.isDone() && !now.Before(e.ends)
		if !over && other.service == k.service {
			own++
		}
		return over
	})
	if e, there := m.entries[k]; there {
		return e, false, nil
	}
	switch {
	case own >= m.share:
		return nil, false, errServiceBusy
	case len(m.entries) >= m.limit:
		return nil, false, errBusy
	}
	e = &entry{done: make(chan struct{})}
	m.entries[k] = e
	return e, true, nil
}

// isDone reports whether the fields may be read.
func (e *entry) isDone() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}

// size is how many tokens are remembered.
func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.entries)
}
