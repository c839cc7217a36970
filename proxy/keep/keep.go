// Package keep holds forms that could not be sent, because whoever sent them had to
// sign in first, until the same person sends them on with a click.
//
// It is memory of this process alone: a restart loses what is kept, and another
// replica does not have it. What a form holds is sealed under a key of its own that
// only the browser has, so that nothing of it can be read here until the browser comes
// back. It knows no HTTP and no session: who may have a form back is decided by the
// name that it was kept for.
//
// Hostile input: the form, which is bounded in size, in number per person and in all,
// and in time; ids and keys, of which only the right pair opens anything. Nobody's form
// makes room for another's: what does not fit is refused.
package keep

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"
)

// The bounds.
const (
	// MaxForm is the size of the largest body that is kept, in bytes.
	MaxForm = 256 << 10
	// maxTexts is the size of all that is kept beside the body.
	maxTexts = 8 << 10
	// MaxPerPerson is how many forms one person may have kept at once.
	MaxPerPerson = 4
	// MaxForms and MaxBytes, of bodies, bound what is kept of everybody.
	MaxForms = 512
	MaxBytes = 32 << 20
	// Life is how long a form is kept.
	Life = 15 * time.Minute
)

// Why a form is not kept.
var (
	// ErrTooLarge says that the form has more than MaxForm bytes.
	ErrTooLarge = errors.New("form is larger than what is kept")
	// ErrPerson says that the person has MaxPerPerson forms kept.
	ErrPerson = errors.New("person has as many forms kept as may be")
	// ErrFull says that there is no room for anybody's.
	ErrFull = errors.New("memory of kept forms is full")
)

// Form is what a browser sent to one host.
type Form struct {
	// Target is the path and the query, as they came.
	Target string
	// ContentType, Origin and Referer are the headers of those names; empty if there
	// was none.
	ContentType, Origin, Referer string
	// Body is the form itself.
	Body []byte
	// Size is that of Body, and At when the form came; the Store sets both.
	Size int
	At   time.Time
}

// Store keeps forms. Safe for concurrent use; make one with New.
type Store struct {
	now func() time.Time

	mu     sync.Mutex
	forms  map[string]*kept // by id; guarded by mu
	person map[string]int   // how many forms somebody has, reserved ones included; guarded by mu
	count  int              // of forms and reservations; guarded by mu
	bytes  int              // that they may take; guarded by mu
}

// kept is a form in memory. Nothing of it changes until it is removed, but taken.
type kept struct {
	owner
	at     time.Time
	size   int    // reserved of the store's bytes
	sealed []byte // see seal
	expiry *time.Timer
	taken  bool // until it is settled whether it was sent; guarded by the store's mu
}

// owner is whose a form is, and for which host.
type owner struct{ host, user string }

// New returns an empty Store. now is called concurrently.
func New(now func() time.Time) *Store {
	return &Store{now: now, forms: make(map[string]*kept), person: make(map[string]int)}
}

// Reservation is room for one form that is still to be read: nobody makes the process
// hold more than the bounds by sending many at once. It belongs to one goroutine, which
// must end it with Keep or Release.
type Reservation struct {
	store *Store
	owner owner
	size  int
	ended bool
}

// Reserve makes room for a form of user's to host of at most size bytes, or returns one
// of the errors of this package. A negative size is unknown: it may be MaxForm.
func (s *Store) Reserve(host, user string, size int64) (*Reservation, error) {
	if size > MaxForm {
		return nil, ErrTooLarge
	}
	if size < 0 {
		size = MaxForm
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	switch {
	case s.person[user] >= MaxPerPerson:
		return nil, ErrPerson
	case s.count >= MaxForms || s.bytes+int(size) > MaxBytes:
		return nil, ErrFull
	}
	r := &Reservation{store: s, owner: owner{host, user}, size: int(size)}
	s.person[user]++
	s.count++
	s.bytes += r.size
	return r, nil
}

// Keep keeps f in the room that was reserved, and returns its id, which may be shown,
// and its key, which is for the browser alone. f.Body must not have more bytes than
// were reserved; it is overwritten.
func (r *Reservation) Keep(f Form) (id, key string, err error) {
	defer clear(f.Body)
	size := 0
	for _, text := range f.texts() {
		size += len(*text)
	}
	if r.ended || len(f.Body) > r.size || size > maxTexts {
		r.Release()
		return "", "", ErrTooLarge
	}
	s := r.store
	id = rand.Text()
	entry := &kept{owner: r.owner, at: s.now(), size: r.size}
	entry.sealed, key = seal(f, id, entry.owner)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ended = true
	s.forms[id] = entry
	entry.expiry = time.AfterFunc(Life, func() { s.expire(id, entry) })
	return id, key, nil
}

// Release gives the room back, unless Keep has used it.
func (r *Reservation) Release() {
	if r.ended {
		return
	}
	r.ended = true
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.store.giveBack(r.owner.user, r.size)
}

// Answer says whether there is a form for whoever asks.
type Answer int

// The answers.
const (
	// Gone says that there is none: it was sent, is being sent, has expired, was never
	// here, or the key is not its own.
	Gone Answer = iota
	// Another says that it was another person's. It is destroyed.
	Another
	// Here says that there is.
	Here
)

// Look returns the form of that id for the person and the host that it was kept for,
// without its body, and leaves it where it is.
func (s *Store) Look(id, key, host, user string) (Form, Answer) {
	return s.find(id, key, owner{host, user}, false)
}

// Target is the target of a form, for whoever has its key, or "" if it is not there.
func (s *Store) Target(id, key, host string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	entry := s.forms[id]
	if entry == nil || entry.taken || entry.host != host {
		return ""
	}
	form, ok := open(entry.sealed, key, id, entry.owner)
	if !ok {
		return ""
	}
	clear(form.Body)
	return form.Target
}

// Take is Look, and gives the body too: of concurrent calls one has it. Nobody has it
// again before Settle is called, nor after, if it was sent.
func (s *Store) Take(id, key, host, user string) (Form, Answer) {
	return s.find(id, key, owner{host, user}, true)
}

// Settle says what became of a form that was taken: it was sent, at least in part, or
// thrown away, and is removed; or nothing of it was, and it can be taken again.
func (s *Store) Settle(id string, sent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := s.forms[id]
	switch {
	case entry == nil || !entry.taken: // it has expired meanwhile
	case sent:
		s.remove(id, entry)
	default:
		entry.taken = false
	}
}

// Has reports whether a form of that id is kept.
func (s *Store) Has(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forms[id] != nil
}

func (s *Store) find(id, key string, by owner, take bool) (Form, Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
	entry := s.forms[id]
	if entry == nil || entry.taken || entry.host != by.host {
		return Form{}, Gone
	}
	form, ok := open(entry.sealed, key, id, entry.owner)
	switch {
	case !ok:
		return Form{}, Gone
	case entry.user != by.user:
		clear(form.Body)
		s.remove(id, entry)
		return Form{}, Another
	}
	form.At, form.Size = entry.at, len(form.Body)
	entry.taken = take
	if !take {
		clear(form.Body)
		form.Body = nil
	}
	return form, Here
}

// Len is how many forms are kept, or about to be.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// expire removes a form at the end of its life.
func (s *Store) expire(id string, entry *kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forms[id] == entry {
		s.remove(id, entry)
	}
}

// sweep removes what is too old by the store's clock, which timers do not follow if it
// was set. There are few. The caller holds mu.
func (s *Store) sweep() {
	now := s.now()
	for id, entry := range s.forms {
		if now.Sub(entry.at) >= Life {
			s.remove(id, entry)
		}
	}
}

// remove takes a form out of memory and overwrites it. The caller holds mu.
func (s *Store) remove(id string, entry *kept) {
	entry.expiry.Stop()
	delete(s.forms, id)
	clear(entry.sealed)
	s.giveBack(entry.user, entry.size)
}

// giveBack returns the room of one form. The caller holds mu.
func (s *Store) giveBack(user string, size int) {
	s.count--
	s.bytes -= size
	if s.person[user]--; s.person[user] <= 0 {
		delete(s.person, user)
	}
}
