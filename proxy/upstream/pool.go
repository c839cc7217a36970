package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"
)

// MaxUpstreams is how many a Pool may have.
const MaxUpstreams = 32

// Options are how a route's upstreams are reached, chosen and watched. The zero
// value is one way to do it well. They must not be changed after New.
type Options struct {
	// Protocol is what is spoken to them. Default HTTP1.
	Protocol Protocol
	// ConnectTimeout is how long a connection may take to be made, handshake
	// included; HeaderTimeout how long the header of an answer may take, from the
	// end of the request. Defaults DefaultConnectTimeout and DefaultHeaderTimeout.
	ConnectTimeout, HeaderTimeout time.Duration
	// Sticky sends all requests of a session to one upstream, for as long as it
	// answers. Default: to the one with the fewest requests under way.
	Sticky bool
	// MaxRequests is how many one upstream may have under way at once, from this
	// process. Default 0: no limit.
	MaxRequests int
	// Draining are upstreams, as host:port, that get no new requests. What is under
	// way there ends as if nothing were. Not all may be.
	Draining []string
	// Health is how they are probed. Default: not at all.
	Health Health
}

// Health is how upstreams are probed: by GET requests that carry no identity, over
// the same mutual TLS. Any answer of the application below 500 says that it is alive.
type Health struct {
	// Path is what is asked for; empty probes nothing.
	Path string
	// Interval is the time between two probes of one upstream, Timeout how long
	// one may take. Both are required with a Path.
	Interval, Timeout time.Duration
	// Unhealthy is how many probes in a row fail before an upstream is left out,
	// Healthy how many succeed before it is back. At least 1 with a Path.
	Unhealthy, Healthy int
}

func (h Health) on() bool { return h.Path != "" }

// Config is what a Pool needs. It must not be changed after New.
type Config struct {
	// Route names the route in errors and logs, and Host is the route's host with
	// its port, which probes ask for. Required.
	Route, Host string
	// Upstreams are the sidecars, https://host:port: one at least, each once.
	Upstreams []*url.URL
	// TLS is how to speak to all of them: our client certificate, and the name of
	// the tool's sidecars pinned. The same value again, in a Pool that takes over
	// from this one, lets the connections go on. Required.
	TLS *tls.Config
	Options
	// Session returns what is the same for all requests of a session, or "". Nil
	// for never. It is asked if Sticky, concurrently.
	Session func(context.Context) string
	// Note is told of each attempt of a request before it is made: by its context,
	// to which upstream, and which attempt it is, from 1. It is called concurrently.
	// Nil for nobody.
	Note func(ctx context.Context, address string, attempt int)
	// Log gets what becomes of upstreams; nil discards.
	Log *slog.Logger
}

// Pool sends requests to the upstreams of a route. It implements
// http.RoundTripper, and is safe for concurrent use.
type Pool struct {
	cfg     Config
	log     *slog.Logger
	slots   []*slot
	turn    atomic.Uint32 // who comes first among equals
	retries atomic.Int64
}

// slot is a member's place in one Pool.
type slot struct {
	*member
	draining bool
	taken    atomic.Bool // by a later Pool
}

// New returns a Pool, or an error that names what is wrong with cfg. It makes no
// connection, and needs no end.
func New(cfg Config) (*Pool, error) {
	if cfg.TLS == nil {
		return nil, fmt.Errorf("route %q has no TLS configuration: a backend is never reached in the clear", cfg.Route)
	}
	if n := len(cfg.Upstreams); n == 0 || n > MaxUpstreams {
		return nil, fmt.Errorf("route %q has %d backends, expected 1 to %d", cfg.Route, n, MaxUpstreams)
	}
	cfg.setDefaults()
	p := &Pool{cfg: cfg, log: cfg.Log.With("route", cfg.Route)}
	working := 0
	for _, at := range cfg.Upstreams {
		if at == nil || at.Scheme != "https" || at.Host == "" {
			return nil, fmt.Errorf("route %q has backend %v, expected https://host:port", cfg.Route, at)
		}
		if slices.ContainsFunc(p.slots, func(s *slot) bool { return s.address == at.Host }) {
			return nil, fmt.Errorf("route %q has backend %v twice", cfg.Route, at)
		}
		s := &slot{
			member:   newMember(at, way{at.Host, cfg.TLS, cfg.Protocol, cfg.ConnectTimeout, cfg.HeaderTimeout}),
			draining: slices.Contains(cfg.Draining, at.Host),
		}
		if !s.draining {
			working++
		}
		p.slots = append(p.slots, s)
	}
	if working == 0 {
		return nil, fmt.Errorf("route %q has no backend that is not draining", cfg.Route)
	}
	return p, nil
}

func (c *Config) setDefaults() {
	if c.Protocol == "" {
		c.Protocol = HTTP1
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = DefaultConnectTimeout
	}
	if c.HeaderTimeout == 0 {
		c.HeaderTimeout = DefaultHeaderTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Note == nil {
		c.Note = func(context.Context, string, int) {}
	}
	if c.Session == nil {
		c.Session = func(context.Context) string { return "" }
	}
}

// TakeOver makes members of before that are reached in the same way members of
// p, with their connections, their health and what they have under way. Call it
// before p gets a request; both may be in use from then on.
func (p *Pool) TakeOver(before *Pool) {
	for _, s := range p.slots {
		for _, old := range before.slots {
			if old.way == s.way {
				s.member = old.member
				old.taken.Store(true)
			}
		}
	}
}

// Retire lets go of the connections of members that no other Pool took over, as
// soon as they have no request. Call it when p gets no more requests.
func (p *Pool) Retire() {
	for _, s := range p.slots {
		if !s.taken.Load() {
			s.closeIdle()
		}
	}
}

// CloseIdleConnections has new requests shake hands anew with every upstream.
// Requests that are under way end on the connections that they have.
func (p *Pool) CloseIdleConnections() {
	for _, s := range p.slots {
		s.renew()
	}
}

// RoundTrip implements http.RoundTripper: it sends r to an upstream, and, if that
// does not answer and it is safe, to others, each once. The URL's host is the
// Pool's to say. The error is that of the last attempt, or ErrBusy.
func (p *Pool) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(p.slots) == 1 {
		return p.only(r, p.slots[0])
	}
	session := ""
	if p.cfg.Sticky {
		session = p.cfg.Session(r.Context())
	}
	tried := marks(0)
	s := p.acquire(session, &tried)
	if s == nil {
		return busy(r)
	}
	attempt := begin(r)
	for n := 1; ; n++ {
		p.cfg.Note(r.Context(), s.address, n)
		res, err := p.send(s, attempt.to(s.member))
		if n == maxAttempts || !attempt.mayRepeat(res, err) {
			attempt.end()
			return res, err
		}
		next := p.acquire(session, &tried)
		if next == nil {
			attempt.end()
			return res, err
		}
		discard(res)
		p.retries.Add(1)
		s = next
	}
}

// only asks the only upstream that there is, whatever is thought of it.
func (p *Pool) only(r *http.Request, s *slot) (*http.Response, error) {
	if !s.enter(p.cfg.MaxRequests) {
		return busy(r)
	}
	p.cfg.Note(r.Context(), s.address, 1)
	return p.send(s, s.addressed(r))
}

// busy turns a request away that nobody has begun to read.
func busy(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close() // there is nothing to be told
	}
	return nil, ErrBusy
}

// send asks one upstream, which has been entered and is left with the end of the
// answer.
func (p *Pool) send(s *slot, r *http.Request) (*http.Response, error) {
	epoch := s.epoch.Load()
	res, err := (*s.conns.Load()).RoundTrip(r)
	if err == nil || r.Context().Err() == nil {
		became, cause := s.judge(epoch, res, err)
		p.tell(s.member, became, cause)
	}
	if err != nil {
		s.leave()
		return nil, err
	}
	res.Body = s.attended(res.Body)
	return res, nil
}

// tell says to the log what became of m on account of a request.
func (p *Pool) tell(m *member, became change, cause error) {
	switch became {
	case worse:
		p.log.Warn("backend is put aside: it does not answer", "backend", m.address, "cause", cause.Error(), "only_one", len(p.slots) == 1)
	case better:
		p.log.Info("backend answers again", "backend", m.address)
	}
}

// Status is what is known of one upstream.
type Status struct {
	// Address is its host:port.
	Address string
	// Healthy is whether it is thought well of.
	Healthy bool
	// Draining is whether it gets no new requests.
	Draining bool
	// InFlight is how many requests it has under way.
	InFlight int64
	// Faults are connections that were not made and faults of the sidecar, since
	// it is known.
	Faults int64
	// Since is from when this holds, and Cause why it is not Healthy; private.
	Since time.Time
	Cause string
}

// Status describes the upstreams, in their order.
func (p *Pool) Status() []Status {
	var all []Status
	for _, s := range p.slots {
		s.mu.Lock()
		all = append(all, Status{
			Address: s.address, Draining: s.draining, Healthy: s.until.Load() == 0 && s.well(p.cfg.Health.on()),
			InFlight: s.inFlight.Load(), Faults: s.faults.Load(), Since: s.since, Cause: s.cause,
		})
		s.mu.Unlock()
	}
	return all
}

// Retries is how many further attempts have been made for requests.
func (p *Pool) Retries() int64 { return p.retries.Load() }

// isTimeout reports whether err says that something took too long.
func isTimeout(err error) bool {
	var slow interface{ Timeout() bool }
	return errors.As(err, &slow) && slow.Timeout()
}
