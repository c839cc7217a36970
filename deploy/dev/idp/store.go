package idp

import (
	"crypto/rand"
	"maps"
	"sync"
	"time"
)

// store keeps values under unguessable names for a limited time. It holds at most
// max of them: a stranger who opens the login page for ever pushes out the oldest
// and does not fill the memory. Safe for concurrent use.
type store[T any] struct {
	max  int
	life time.Duration
	now  func() time.Time

	mu    sync.Mutex
	byID  map[string]entry[T]
	order []string // oldest first; may name entries that were taken
}

type entry[T any] struct {
	value T
	until time.Time
}

func newStore[T any](limit int, life time.Duration, now func() time.Time) *store[T] {
	return &store[T]{max: limit, life: life, now: now, byID: make(map[string]entry[T])}
}

// put returns the name under which value can be found again.
func (s *store[T]) put(value T) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byID[id] = entry[T]{value: value, until: s.now().Add(s.life)}
	s.order = append(s.order, id)
	if len(s.order) > s.max {
		delete(s.byID, s.order[0])
		s.order = s.order[1:]
	}
	return id
}

func (s *store[T]) get(id string) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.byID[id]
	if !ok || !s.now().Before(found.until) {
		var none T
		return none, false
	}
	return found.value, true
}

// removeWhere removes the values that match, and returns how many did.
func (s *store[T]) removeWhere(match func(T) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.byID)
	maps.DeleteFunc(s.byID, func(_ string, e entry[T]) bool { return match(e.value) })
	return before - len(s.byID)
}

func (s *store[T]) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}
