package session

import (
	"context"
	"iter"
)

// stream is one connection that must not outlive its session. It stands in two lists
// of connections, guarded by the lock of Revocations.
type stream struct {
	cancel context.CancelCauseFunc
	use    Use
	state  *State
	links  [lists]link
}

// link is a stream's place in one list; the first has no previous one.
type link struct{ previous, next *stream }

// list says which of a stream's links a list uses.
type list int

const (
	bySession list = iota
	byPerson
	lists
)

// connections are open ones by a key of their state. Every request comes and goes
// here, so a key has a chain of them and no map of its own.
type connections struct {
	list  list
	first map[string]*stream
}

func newConnections(l list) connections {
	return connections{list: l, first: make(map[string]*stream)}
}

func (c connections) add(key string, s *stream) {
	next := c.first[key]
	s.links[c.list] = link{next: next}
	if next != nil {
		next.links[c.list].previous = s
	}
	c.first[key] = s
}

// remove takes out s, if it is there.
func (c connections) remove(key string, s *stream) {
	l := &s.links[c.list]
	switch {
	case l.previous != nil:
		l.previous.links[c.list].next = l.next
	case c.first[key] != s:
		return
	case l.next != nil:
		c.first[key] = l.next
	default:
		delete(c.first, key)
	}
	if l.next != nil {
		l.next.links[c.list].previous = l.previous
	}
	*l = link{}
}

// removeAll takes out all that a key has.
func (c connections) removeAll(key string) {
	for s := range c.of(key) {
		s.links[c.list] = link{}
	}
	delete(c.first, key)
}

// of are those that a key has; the one that is given may be removed.
func (c connections) of(key string) iter.Seq[*stream] {
	return func(yield func(*stream) bool) {
		for s := c.first[key]; s != nil; {
			next := s.links[c.list].next
			if !yield(s) {
				return
			}
			s = next
		}
	}
}

// all are those of every key.
func (c connections) all() iter.Seq[*stream] {
	return func(yield func(*stream) bool) {
		for key := range c.first {
			for s := range c.of(key) {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// clear takes out all.
func (c connections) clear() {
	for s := range c.all() {
		s.links[c.list] = link{}
	}
	clear(c.first)
}
