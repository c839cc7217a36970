package proxy

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
)

// inherit takes over what a Gateway that replaces another shares with it: how
// much strangers may ask for at once, and every backend that is still reached in
// the same way: its connections, and what is known of it.
func (g *Gateway) inherit(before *Gateway) {
	g.answers, g.begins, g.alarms, g.forms = before.answers, before.begins, before.alarms, before.forms
	g.load, g.strangers, g.watch = before.load, before.strangers, before.watch
	g.strangers.allow(g.limits.StrangersPerSecond)
	g.watch.SetPatience(g.limits.Stall)
	known := make(map[string]*route, len(before.order))
	for _, old := range before.order {
		known[old.Name] = old
	}
	for _, rt := range g.order {
		old := known[rt.Name]
		if old == nil || rt.pool == nil || old.pool == nil {
			continue
		}
		rt.inHand = old.inHand
		rt.pool.TakeOver(old.pool)
	}
}

// Retire lets go of the connections that no other Gateway took over, and of the
// assertions: a WebSocket may keep this one for hours. Call it when this one gets no
// more requests; those under way go on to their end.
func (g *Gateway) Retire() {
	if g.cfg.Assertions != nil {
		g.cfg.Assertions.Forget()
	}
	for _, rt := range g.order {
		if rt.pool != nil {
			rt.pool.Retire()
		}
	}
}

// Live is the Gateway in use, as an http.Handler: it can be replaced between two
// requests without one of them being lost. The zero value is not usable; make
// one with NewLive. Safe for concurrent use.
type Live struct {
	current  atomic.Pointer[Gateway]
	replaced chan struct{} // wakes Run
}

// NewLive begins with g.
func NewLive(g *Gateway) *Live {
	l := &Live{replaced: make(chan struct{}, 1)}
	l.current.Store(g)
	return l
}

// Gateway returns the one in use.
func (l *Live) Gateway() *Gateway { return l.current.Load() }

// withdrawAfter is how long a request may go on that would not be let in any more:
// an answer comes to its end, and a stream that never ends does not stay for ever.
const withdrawAfter = time.Minute

// Replace puts g in use, for every request that begins from now on, and retires
// the one before. What is under way goes on; if g would not let it in, for
// a minute at most. What an identity provider has let in that g does not know any
// more ends at once: it may have been taken out because it cannot be trusted.
func (l *Live) Replace(g *Gateway) {
	l.current.Swap(g).Retire()
	l.wake()
	g.cfg.Sessions.Revocations().Withdraw(func(_ session.Use, s *session.State) bool { return g.vouched(s, nil) == session.Present })
	time.AfterFunc(withdrawAfter, func() { l.Gateway().withdraw() })
}

// withdraw ends what is under way and would not be let in. Whoever asked a
// Gateway before this one has been let in, and bound, long ago.
func (g *Gateway) withdraw() {
	g.cfg.Sessions.Revocations().Withdraw(func(use session.Use, s *session.State) bool {
		rt := g.placeUsed(use)
		return rt != nil && g.vouched(s, rt.route) == session.Present && g.judge(rt, s).Verdict == policy.Allow
	})
}

// ServeHTTP implements http.Handler.
func (l *Live) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.current.Load().ServeHTTP(w, r) }
