package proxy

import (
	"slices"
	"sync"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/session"
)

// cards remembers what the backend of one route is told of the people who asked it last:
// a page with a hundred pictures writes the same headers a hundred times. It depends on
// the person and on the route's template alone, and a Gateway that replaces another
// begins anew. Safe for concurrent use; the zero value is empty.
type cards struct {
	mu             sync.RWMutex
	recent, before map[string]toldCard // by the session's id; guarded by mu
}

// cardsLimit bounds each half of the memory, some hundred bytes an entry, and as much as
// the groups that are released.
const cardsLimit = 512

// toldCard is a card, and of whom it tells.
type toldCard struct {
	user, email, name string
	groups            []string
	card              *header.Card
}

// tells reports whether the card is that of s. A session's id alone does not say who it is
// of: the identity provider may have sent another name since.
func (m *toldCard) tells(s *session.State) bool {
	return m.card != nil && m.user == s.User && m.email == s.Email && m.name == s.Name && slices.Equal(m.groups, s.Groups)
}

// of returns the card of s, or nil.
func (c *cards) of(s *session.State) *header.Card {
	c.mu.RLock()
	m, ok := c.recent[s.ID]
	if !ok {
		m = c.before[s.ID]
	}
	c.mu.RUnlock()
	if !m.tells(s) {
		return nil
	}
	if !ok {
		c.put(s, m.card)
	}
	return m.card
}

// put remembers the card of s; what was not asked for since the newer half was new is
// forgotten to make room.
func (c *cards) put(s *session.State, card *header.Card) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent == nil || len(c.recent) >= cardsLimit {
		c.before, c.recent = c.recent, make(map[string]toldCard)
	}
	c.recent[s.ID] = toldCard{user: s.User, email: s.Email, name: s.Name, groups: slices.Clone(s.Groups), card: card}
}
