package session

import (
	"strings"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// stores are where the sessions of each host are. Immutable.
type stores struct {
	sealer *sealer
	exact  map[string]*sessions.CookieStore
	wild   map[string]bool // by what follows the one label
}

func newStores(s *sealer, hosts []string) stores {
	all := stores{sealer: s, exact: make(map[string]*sessions.CookieStore), wild: make(map[string]bool)}
	for _, host := range hosts {
		if parent, wild := strings.CutPrefix(host, "*."); wild {
			all.wild[parent] = true
		} else {
			all.exact[host] = all.store(host)
		}
	}
	return all
}

// of returns the store of a host, or nil for one that is no host of ours. One that a
// wildcard stands for has its own, like every other: what is sealed for it opens
// nowhere else.
func (s stores) of(host string) *sessions.CookieStore {
	if store := s.exact[host]; store != nil || len(s.wild) == 0 {
		return store
	}
	label, parent, _ := strings.Cut(host, ".")
	if label == "" || label == "*" || !s.wild[parent] {
		return nil
	}
	return s.store(host)
}

// store makes the one of a host.
func (s stores) store(host string) *sessions.CookieStore {
	return &sessions.CookieStore{
		Codecs:  []securecookie.Codec{stateCodec{sealer: s.sealer, host: host}},
		Options: cookieOptions(),
	}
}
