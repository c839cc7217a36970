package proxy

import (
	"fmt"
	"hash/maphash"
	"sync"
)

// persons counts what each person has in hand, so that one who has signed in, or whoever
// has that cookie, cannot take the place of all others. Safe for concurrent use.
type persons struct {
	seed   maphash.Seed
	shards [personShards]personShard
}

const (
	personShards = 32
	// personShare is the part of all requests that one person may have in hand, and
	// personLeast how many that are where it is less.
	personShare, personLeast = 16, 128
)

type personShard struct {
	mu     sync.Mutex
	inHand map[string]int // guarded by mu
}

func newPersons() *persons {
	p := &persons{seed: maphash.MakeSeed()}
	for i := range p.shards {
		p.shards[i].inHand = make(map[string]int)
	}
	return p
}

func (p *persons) shard(who string) *personShard {
	return &p.shards[maphash.String(p.seed, who)%personShards]
}

// enter counts a request of who, or says that there are limit of them.
func (p *persons) enter(who string, limit int) *refusal {
	s := p.shard(who)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.inHand[who]
	if n >= limit {
		return &refusal{reason: codeOverloaded, cause: fmt.Errorf("this person has %d requests in hand, which is the limit", n)}
	}
	s.inHand[who] = n + 1
	return nil
}

// leave ends what enter began.
func (p *persons) leave(who string) {
	s := p.shard(who)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inHand[who]--; s.inHand[who] <= 0 {
		delete(s.inHand, who)
	}
}
