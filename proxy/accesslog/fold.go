package accesslog

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// foldEvery is how long refusals of one kind from one address are counted before a
	// line says how many there were.
	foldEvery = 10 * time.Second
	// mostFolded bounds how many addresses are told apart meanwhile; what comes from
	// others is counted together.
	mostFolded = 1024
)

// Repeated are decisions that one line stands for: all the same, of one address.
type Repeated struct {
	// Count is how many there were, "sallyport.refused.count".
	Count int64
	// From and To are when the first and the last of the requests came, "event.start" and
	// "event.end".
	From, To time.Time
}

// Fold says that r is one of refusals that anybody can have as many of as they like, since
// the address has asked too often: the first of an address has its line; those that come
// in the next seconds are counted, and have one line together. The address is that of
// whoever the limit is for; with the zero value nothing is folded. Such records have one
// reason for all.
func (r *Record) Fold(address netip.Addr) {
	if address.IsValid() {
		r.fold = address.String()
	}
}

// folds are the refusals that have no line yet.
type folds struct {
	mu     sync.Mutex // guards the rest
	of     map[string]*folded
	ended  bool
	waits  bool // a timer will have them written
	others folded
}

type folded struct {
	Repeated
	address string // empty for several
	reason  string
}

// add counts r, and reports whether that is all: the first of its address is to be
// written. later says that somebody must have all written in a while.
func (f *folds) add(r *Record) (counted, later bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false, false
	}
	to, known := f.of[r.fold]
	if !known && len(f.of) < mostFolded {
		if f.of == nil {
			f.of = make(map[string]*folded)
		}
		f.of[r.fold] = &folded{address: r.fold, reason: r.Reason}
		later, f.waits = !f.waits, true
		return false, later
	}
	if !known {
		to = &f.others
		to.reason = r.Reason
	}
	to.count(Repeated{1, r.Time, r.Time})
	return true, false
}

func (f *folded) count(more Repeated) {
	if f.Count == 0 || more.From.Before(f.From) {
		f.From = more.From
	}
	if more.To.After(f.To) {
		f.To = more.To
	}
	f.Count += more.Count
}

// take returns what was counted, the earliest first, and begins anew.
func (f *folds) take(ended bool) []*folded {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*folded
	for _, one := range f.of {
		if one.Count > 0 {
			all = append(all, one)
		}
	}
	if f.others.Count > 0 {
		others := f.others
		all = append(all, &others)
	}
	f.of, f.others, f.waits, f.ended = nil, folded{}, false, f.ended || ended
	slices.SortFunc(all, func(a, b *folded) int { return a.From.Compare(b.From) })
	return all
}

// put puts back what found no room: it is counted on, and written later.
func (f *folds) put(all []*folded) (later bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended || len(all) == 0 {
		return false
	}
	if f.of == nil {
		f.of = make(map[string]*folded)
	}
	for _, one := range all {
		switch to, known := f.of[one.address]; {
		case known:
			to.count(one.Repeated)
		case one.address != "" && len(f.of) < mostFolded:
			f.of[one.address] = one
		default:
			f.others.count(one.Repeated)
			f.others.reason = one.reason
		}
	}
	later, f.waits = !f.waits, true
	return later
}

// folded counts r in place of writing it, and reports whether it has.
func (l *Log) folded(r *Record) bool {
	counted, later := l.folds.add(r)
	if later {
		time.AfterFunc(foldEvery, l.unfold)
	}
	return counted
}

// unfold writes the lines of what was counted.
func (l *Log) unfold() {
	all := l.folds.take(false)
	for i, one := range all {
		if l.putAtOnce(l.repeated(one), ofStranger) != nil {
			if l.folds.put(all[i:]) {
				time.AfterFunc(foldEvery, l.unfold)
			}
			return
		}
	}
}

// repeated is the line of what was counted.
func (l *Log) repeated(one *folded) []byte {
	v := Event{
		Action: ActionRepeated, Failed: true, Decision: DecisionDeny, Reason: one.reason, Client: one.address, Repeated: one.Repeated,
	}
	return l.line(nil, &Record{Time: time.Now(), Action: v.Action, Event: &v})
}
