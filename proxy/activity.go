package proxy

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// activity estimates how many sessions were seen of late. Sessions live in cookies, so
// nobody has a list of them; and one would have to be bounded, or grow with what people
// do. Here is a sketch for each minute (HyperLogLog, Flajolet and others, 2007) instead:
// always of the same size, within some 2 % of the truth, and exact as a rule for a few
// hundred. No session can be found out from it. Safe for concurrent use; make it with
// newActivity.
type activity struct {
	seed    maphash.Seed
	mu      sync.Mutex // of whoever turns a minute over
	minutes [activeMinutes + 1]sketch
}

const (
	// activeMinutes is for how many whole minutes a session counts as active.
	activeMinutes = 5
	// sketchBits says how many registers a sketch has: 2 to that power.
	sketchBits = 11
)

// sketch is what was seen in one minute.
type sketch struct {
	minute    atomic.Int64                   // since 1970
	registers [1 << sketchBits]atomic.Uint32 // the longest run of zeros in a hash, plus one
}

func newActivity() *activity { return &activity{seed: maphash.MakeSeed()} }

// see notes that there was a request of the session that is called id.
func (a *activity) see(id string, now time.Time) {
	minute := now.Unix() / 60
	s := &a.minutes[minute%int64(len(a.minutes))]
	if s.minute.Load() != minute && !a.turn(s, minute) {
		return
	}
	hash := maphash.String(a.seed, id)
	register := &s.registers[hash>>(64-sketchBits)]
	run := uint32(bits.LeadingZeros64(hash<<sketchBits|1<<(sketchBits-1))) + 1 //nolint:gosec // at most 64
	for {
		longest := register.Load()
		if longest >= run || register.CompareAndSwap(longest, run) {
			return
		}
	}
}

// turn empties a sketch for a new minute, and reports false for one that is over. What
// others note of the new minute meanwhile may be lost: it comes again with the next
// request.
func (a *activity) turn(s *sketch, minute int64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch before := s.minute.Load(); {
	case before == minute:
		return true
	case before > minute:
		return false
	}
	for i := range s.registers {
		s.registers[i].Store(0)
	}
	s.minute.Store(minute)
	return true
}

// count returns about how many sessions were seen in the last minutes.
func (a *activity) count(now time.Time) int {
	var longest [1 << sketchBits]uint32
	last := now.Unix() / 60
	for i := range a.minutes {
		s := &a.minutes[i]
		if minute := s.minute.Load(); minute < last-activeMinutes || minute > last {
			continue
		}
		for j := range s.registers {
			longest[j] = max(longest[j], s.registers[j].Load())
		}
	}
	return estimate(longest[:])
}

// estimate is how many different hashes have left these registers.
func estimate(registers []uint32) int {
	sum, empty, m := 0.0, 0.0, float64(len(registers))
	for _, run := range registers {
		sum += math.Ldexp(1, -int(run))
		if run == 0 {
			empty++
		}
	}
	many := 0.7213 / (1 + 1.079/m) * m * m / sum
	if many <= 2.5*m && empty > 0 { // of a few, the empty registers say more
		return int(math.Round(m * math.Log(m/empty)))
	}
	return int(math.Round(many))
}
