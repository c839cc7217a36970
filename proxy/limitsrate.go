package proxy

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// rates bounds how often each address may ask: a token bucket for each, kept as the
// moment at which it will be full again (GCRA). What it takes of memory is bounded;
// where more addresses ask at once than it can tell apart, those that came last share
// a bucket. Safe for concurrent use.
type rates struct {
	seed   maphash.Seed
	every  atomic.Int64 // nanoseconds until there is one more
	shards [rateShards]rateShard
}

const (
	rateShards       = 64
	ratePerShard     = 1024
	rateBurst        = 10 * time.Second // what is saved up at most
	rateSweepEvery   = int64(time.Second)
	maxRatePerSecond = int(time.Second)
)

type rateShard struct {
	mu     sync.Mutex
	full   map[netip.Addr]int64 // when a bucket will be full again, in Unix nanoseconds
	others int64                // the same of the bucket that is shared
	swept  int64
}

func newRates(perSecond int) *rates {
	r := &rates{seed: maphash.MakeSeed()}
	r.allow(perSecond)
	for i := range r.shards {
		r.shards[i].full = make(map[netip.Addr]int64)
	}
	return r
}

// allow sets how often each address may ask.
func (r *rates) allow(perSecond int) {
	r.every.Store(int64(time.Second) / int64(min(max(perSecond, 1), maxRatePerSecond)))
}

// take uses one of the tokens of address, or returns how long it must wait for one.
func (r *rates) take(address netip.Addr, now time.Time) (wait time.Duration) {
	at, every := now.UnixNano(), r.every.Load()
	shard := &r.shards[maphash.Comparable(r.seed, address)%rateShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	full, known := shard.full[address]
	shared := !known && !shard.room(at)
	if shared {
		full = shard.others
	}
	full = max(full, at) + every
	if over := full - at - int64(rateBurst); over > 0 {
		return time.Duration(over)
	}
	if shared {
		shard.others = full
	} else {
		shard.full[address] = full
	}
	return 0
}

// room reports whether one more address can be told apart; it forgets those whose
// buckets are full.
func (s *rateShard) room(at int64) bool {
	if len(s.full) < ratePerShard {
		return true
	}
	if at-s.swept < rateSweepEvery {
		return false
	}
	s.swept = at
	for address, full := range s.full {
		if full <= at {
			delete(s.full, address)
		}
	}
	return len(s.full) < ratePerShard
}
