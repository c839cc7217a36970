package proxy

import (
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/proxy/session"
)

// Limits are how much a Gateway serves at once, and how much strangers may ask for.
// A field that is zero has its default.
type Limits struct {
	// Requests is how many may be in hand at once. Whoever has not signed in is turned
	// away when three quarters of them are. Default 20000.
	Requests int
	// PerPerson is how many of them one person may have, over all tools. Default a
	// sixteenth of Requests, at least 128.
	PerPerson int
	// Memory is how many bytes may be in use after a garbage collection; strangers are
	// turned away at three quarters of it. Zero sets no limit.
	Memory int64
	// StrangersPerSecond is how often one address (of IPv6 a /64) may ask for what
	// needs no session, over ten seconds. Default 100.
	StrangersPerSecond int
	// URLBytes is the length of a request's target. Default 16 KiB.
	URLBytes int
	// HeaderNames is how many different headers a request may have. Default 100.
	HeaderNames int
	// Stall is how long a client may make no progress at all, in sending a request or
	// taking an answer. Default 30s.
	Stall time.Duration
}

// Defaults of Limits.
const (
	DefaultRequests           = 20000
	DefaultStrangersPerSecond = 100
	DefaultURLBytes           = 16 << 10
	DefaultHeaderNames        = 100
	DefaultStall              = 30 * time.Second
)

// RouteLimits are how much may be asked of one tool. The zero value is what is right
// for most.
type RouteLimits struct {
	// Requests is how many may be under way to it at once; zero is half of those that
	// the Gateway serves.
	Requests int
	// BodyBytes is the size of a request's body; zero sets no limit: bodies are never
	// kept in memory.
	BodyBytes int64
	// HeaderBytes is the size of all headers of a request; zero leaves it at what the
	// server takes.
	HeaderBytes int
}

func (l Limits) orDefaults() Limits {
	fill := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	fill(&l.Requests, DefaultRequests)
	fill(&l.PerPerson, max(l.Requests/personShare, personLeast))
	fill(&l.StrangersPerSecond, DefaultStrangersPerSecond)
	fill(&l.URLBytes, DefaultURLBytes)
	fill(&l.HeaderNames, DefaultHeaderNames)
	if l.Stall == 0 {
		l.Stall = DefaultStall
	}
	return l
}

// exceeded refuses a request that is larger than any honest one.
func (l *Limits) exceeded(r *http.Request) *refusal {
	switch {
	case len(r.RequestURI) > l.URLBytes:
		return &refusal{
			status: http.StatusRequestURITooLong, reason: "url_too_long",
			title: "That address is too long", message: "The address of this request is longer than is served here.",
		}
	case len(r.Header) > l.HeaderNames:
		return tooManyHeaders(fmt.Errorf("%d headers, and %d are served", len(r.Header), l.HeaderNames))
	}
	return nil
}

func tooManyHeaders(cause error) *refusal {
	return &refusal{
		status: http.StatusRequestHeaderFieldsTooLarge, reason: "headers_too_large", cause: cause,
		title: "Your browser sends too much", message: "The request has more headers than are served here. Deleting the cookies of this address often helps.",
	}
}

// enter takes a place among the requests under way to rt, which the caller gives back
// with rt.inHand, or says why there is none.
func (rt *route) enter(r *http.Request) *refusal {
	if limit := rt.Limits.BodyBytes; limit > 0 && r.ContentLength > limit {
		return bodyTooLarge(fmt.Errorf("%d bytes, and the route takes %d", r.ContentLength, limit))
	}
	if limit := rt.Limits.HeaderBytes; limit > 0 {
		if size := headerBytes(r.Header); size > limit {
			return tooManyHeaders(fmt.Errorf("%d bytes of headers, and the route takes %d", size, limit))
		}
	}
	if n := rt.inHand.Add(1); n > int64(rt.Limits.Requests) {
		rt.inHand.Add(-1)
		return &refusal{reason: codeOverloaded, cause: fmt.Errorf("%d requests are under way to the tool, which is its limit", n-1)}
	}
	return nil
}

// headerBytes is the size of a header as HTTP/1.1 writes it.
func headerBytes(h http.Header) (size int) {
	for name, values := range h {
		for _, value := range values {
			size += len(name) + len(value) + 4
		}
	}
	return size
}

// shedOr answers with rf, or turns the request away since more is in hand than the limit
// of that name allows.
func (g *Gateway) shedOr(ex *exchange, r *http.Request, rf *refusal, why string) {
	if rf.reason == codeOverloaded {
		ex.Fail(rf.cause)
		g.shed(ex, r, why)
		return
	}
	g.deny(ex, r, rf)
}

// shedStranger turns away whoever has not signed in, while there is more to do than is
// good for those who have.
func (g *Gateway) shedStranger(ex *exchange, r *http.Request) bool {
	level, why := g.pressure(ex.Record.Time)
	if level < pressureStrangers {
		return false
	}
	g.shed(ex, r, why)
	return true
}

// crowdedOut does the same at the door, for those who have no session there.
func (g *Gateway) crowdedOut(ex *exchange, r *http.Request) bool {
	if level, _ := g.pressure(ex.Record.Time); level < pressureStrangers {
		return false
	}
	if _, absence := g.find(ex, r, nil); absence == session.Present {
		return false
	}
	return g.shedStranger(ex, r)
}
