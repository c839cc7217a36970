package saml

import (
	"container/heap"
	"errors"
	"sync"
	"time"
)

var (
	errReplayed   = errors.New("it was used before")
	errReplayFull = errors.New("the memory of what was used is full")
)

// memory is the replay memory of one process. When it is full it refuses what
// is new: forgetting a live assertion would let it be used again. Each identity
// provider has as much room: one that fills its own locks out nobody of another's.
type memory struct {
	max int // of one owner
	now func() time.Time

	mu    sync.Mutex // guards the rest
	known map[string]bool
	queue entries        // the same, the first to be forgotten on top
	count map[string]int // of each owner's
}

type entry struct {
	id    string
	until time.Time
	owner string // entity ID of the identity provider
}

// NewReplay returns an empty replay memory of this process: the one that a
// [ServiceProvider] makes for itself if it is given none. now is called
// concurrently.
func NewReplay(now func() time.Time) Replay { return newMemory(maxReplayEntries, now) }

func newMemory(limit int, now func() time.Time) *memory {
	return &memory{max: limit, now: now, known: map[string]bool{}, count: map[string]int{}}
}

// Remember implements [Replay].
func (m *memory) Remember(id string, until time.Time) bool {
	return m.remember("", id, until) == nil
}

func (m *memory) remember(owner, id string, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(m.now())
	if m.known[id] {
		return errReplayed
	}
	if m.count[owner] >= m.max {
		return errReplayFull
	}
	m.known[id] = true
	m.count[owner]++
	heap.Push(&m.queue, entry{id, until, owner})
	return nil
}

// forget drops what is past its time. The caller holds mu.
func (m *memory) forget(now time.Time) {
	for len(m.queue) > 0 && !now.Before(m.queue[0].until) {
		delete(m.known, m.queue[0].id)
		if owner := m.queue[0].owner; m.count[owner] > 1 {
			m.count[owner]--
		} else {
			delete(m.count, owner)
		}
		heap.Pop(&m.queue)
	}
}

// entries is a heap by expiry.
type entries []entry

func (e entries) Len() int           { return len(e) }
func (e entries) Less(i, j int) bool { return e[i].until.Before(e[j].until) }
func (e entries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }

// Push implements [heap.Interface].
func (e *entries) Push(x any) { *e = append(*e, x.(entry)) }

// Pop implements [heap.Interface].
func (e *entries) Pop() any {
	last := (*e)[len(*e)-1]
	(*e)[len(*e)-1] = entry{} // let go of the string
	*e = (*e)[:len(*e)-1]
	return last
}
