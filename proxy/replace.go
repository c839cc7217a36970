package proxy

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
)

// inherit takes over what a Gateway that replaces another shares with it: how
// much strangers may ask for at once, and the connections to every backend that
// is still reached in the same way.
func (g *Gateway) inherit(before *Gateway) {
	g.answers, g.begins, g.alarms, g.forms = before.answers, before.begins, before.alarms, before.forms
	for host, rt := range g.routes {
		old := before.routes[host]
		if old == nil || old.TLS != rt.TLS || *old.Backend != *rt.Backend {
			continue
		}
		rt.transport = old.transport
		rt.proxy.Transport = relay.WithoutTrailers{Base: old.transport}
		old.inherited.Store(true)
	}
}

// Retire lets go of the idle connections that no other Gateway took over, and of the
// assertions: a WebSocket may keep this one for hours. Call
// it when this one gets no more requests; those under way go on to their end.
func (g *Gateway) Retire() {
	if g.cfg.Assertions != nil {
		g.cfg.Assertions.Forget()
	}
	for _, rt := range g.order {
		if !rt.inherited.Load() {
			rt.transport.CloseIdleConnections()
		}
	}
}

// Live is the Gateway in use, as an http.Handler: it can be replaced between two
// requests without one of them being lost. The zero value is not usable; make
// one with NewLive. Safe for concurrent use.
type Live struct {
	current atomic.Pointer[Gateway]
}

// NewLive begins with g.
func NewLive(g *Gateway) *Live {
	l := &Live{}
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
	g.cfg.Sessions.Revocations().Withdraw(func(_ string, s *session.State) bool { return g.vouched(s, nil) == session.Present })
	time.AfterFunc(withdrawAfter, func() { l.Gateway().withdraw() })
}

// withdraw ends what is under way and would not be let in. Whoever asked a
// Gateway before this one has been let in, and bound, long ago.
func (g *Gateway) withdraw() {
	g.cfg.Sessions.Revocations().Withdraw(func(host string, s *session.State) bool {
		rt := g.routes[host]
		return rt != nil && g.vouched(s, rt) == session.Present && g.judge(rt, s).Verdict == policy.Allow
	})
}

// ServeHTTP implements http.Handler.
func (l *Live) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.current.Load().ServeHTTP(w, r) }
