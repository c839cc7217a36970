package main

import (
	"slices"
	"sync"
	"time"
)

// maxNotes is how many the board holds; the oldest goes when one more comes.
const maxNotes = 200

// note is one entry. It is never changed once it is on the board.
type note struct {
	ID     int       `json:"id"`
	Author string    `json:"author"`
	Text   string    `json:"text"`
	At     time.Time `json:"at"`
}

// board holds the notes. Safe for concurrent use.
type board struct {
	mu    sync.Mutex
	last  int    // the newest ID given
	notes []note // oldest first
}

func (b *board) add(author, text string, at time.Time) note {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	added := note{ID: b.last, Author: author, Text: text, At: at}
	b.notes = append(b.notes, added)
	if len(b.notes) > maxNotes {
		b.notes = slices.Delete(b.notes, 0, 1)
	}
	return added
}

// list returns the notes, newest first.
func (b *board) list() []note {
	b.mu.Lock()
	defer b.mu.Unlock()
	notes := slices.Clone(b.notes)
	slices.Reverse(notes)
	return notes
}

func (b *board) find(id int) (note, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.IndexFunc(b.notes, func(n note) bool { return n.ID == id })
	if i < 0 {
		return note{}, false
	}
	return b.notes[i], true
}

// remove takes away the note if author wrote it, and says whether it did.
func (b *board) remove(id int, author string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := len(b.notes)
	b.notes = slices.DeleteFunc(b.notes, func(n note) bool { return n.ID == id && n.Author == author })
	return len(b.notes) < before
}

// hub hands each message to everybody who listens. Safe for concurrent use.
type hub[T any] struct {
	mu        sync.Mutex
	listeners map[chan T]struct{}
}

// listen returns a channel of the messages from now on, and the end of it. A
// listener that lags more than a few messages behind misses some.
func (h *hub[T]) listen() (messages <-chan T, leave func()) {
	ch := make(chan T, 16)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = make(map[chan T]struct{})
	}
	h.listeners[ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.listeners, ch)
	}
}

func (h *hub[T]) send(message T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.listeners {
		select {
		case ch <- message:
		default:
		}
	}
}
