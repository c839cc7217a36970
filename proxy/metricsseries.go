package proxy

import (
	"maps"
	"math/bits"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/relay"
)

// series has the counters and histograms of each route, so that a request looks for
// them by its route's name alone, takes no lock and makes no garbage. Its zero value has
// none yet, and needs of to be set. Safe for concurrent use.
type series struct {
	of func(route string) *routeSeries // makes those of a route

	routes atomic.Pointer[map[string]*routeSeries] // replaced as a whole, never changed
	mu     sync.Mutex                              // of whoever replaces it
}

// get returns those of a route.
func (s *series) get(route string) *routeSeries {
	if known := s.routes.Load(); known != nil {
		if found := (*known)[route]; found != nil {
			return found
		}
	}
	return s.add(route)
}

// add makes those of a route, unless somebody else has meanwhile.
func (s *series) add(route string) *routeSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	routes := map[string]*routeSeries{}
	if known := s.routes.Load(); known != nil {
		if found := (*known)[route]; found != nil {
			return found
		}
		maps.Copy(routes, *known)
	}
	made := s.of(route)
	routes[route] = made
	s.routes.Store(&routes)
	return made
}

// routeSeries are those of one route. Safe for concurrent use.
type routeSeries struct {
	duration, upstream prometheus.Observer
	// count makes the counter of requests with these labels; requests has what it made,
	// by the places of decision and status.
	count    func(code, decision string) prometheus.Counter
	statuses *statuses
	requests [len(decisions)][definedStatuses + 2]atomic.Pointer[prometheus.Counter]
	// shown is when a trace was last named for a duration, in Unix seconds, by the power
	// of two of its milliseconds.
	shown [24]atomic.Int64
}

func (m *Metrics) newRouteSeries(route string) *routeSeries {
	return &routeSeries{
		statuses: m.statuses,
		duration: m.duration.WithLabelValues(route), upstream: m.upstream.WithLabelValues(route),
		count: func(code, decision string) prometheus.Counter {
			return m.requests.WithLabelValues(route, code, decision)
		},
	}
}

// request is the counter of requests that ended with a status and a decision.
func (s *routeSeries) request(status int, decision string) prometheus.Counter {
	as, at := placeOfDecision(decision), s.statuses.place(status)
	place := &s.requests[as][at]
	if known := place.Load(); known != nil {
		return *known
	}
	made := s.count(s.statuses.names[at], decisions[as]) // the same for whoever else makes it now
	place.Store(&made)
	return made
}

// observe notes how long a request took. trace is the trace that it is part of, if that
// is recorded somewhere, else empty: it is named as an example of such a duration.
func (s *routeSeries) observe(r *accesslog.Record, trace string) {
	if trace == "" || !s.show(r.Time.Add(r.Duration), r.Duration) {
		s.duration.Observe(r.Duration.Seconds())
	} else if with, ok := s.duration.(prometheus.ExemplarObserver); ok {
		with.ObserveWithExemplar(r.Duration.Seconds(), prometheus.Labels{"trace_id": trace})
	}
	if r.UpstreamTime > 0 {
		s.upstream.Observe(r.UpstreamTime.Seconds())
	}
}

// show says whether a duration may have a trace as its example: one a second for each
// doubling of the duration. Another one would only replace it, and costs garbage.
func (s *routeSeries) show(now time.Time, took time.Duration) bool {
	place := &s.shown[min(bits.Len64(uint64(max(took, 0).Milliseconds())), len(s.shown)-1)] //nolint:gosec // it is not negative
	before, at := place.Load(), now.Unix()
	return before != at && place.CompareAndSwap(before, at)
}

// decisions are the values of the label of that name.
var decisions = [...]string{accesslog.DecisionAllow, accesslog.DecisionDeny, accesslog.DecisionSignIn, accesslog.DecisionStepUp, "other"}

func placeOfDecision(decision string) int {
	for i, known := range decisions[:len(decisions)-1] {
		if decision == known {
			return i
		}
	}
	return len(decisions) - 1
}

// otherStatus is the value of the label code for a status that nobody has defined, which
// is a tool's invention: one after the other would else be a series of its own.
const otherStatus = "other"

const (
	firstStatus, lastStatus = 100, 599
	definedStatuses         = 62 // that net/http has a text for
)

// statuses are the values of the label code, and the place of each: all that net/http has
// a text for, ours of a client that has gone, and the rest, which is at place 0. It is
// immutable.
type statuses struct {
	names  [definedStatuses + 2]string
	places [lastStatus - firstStatus + 1]uint8
}

func newStatuses() *statuses {
	s, next := new(statuses), uint8(1)
	s.names[0] = otherStatus
	for status := firstStatus; status <= lastStatus; status++ {
		if (http.StatusText(status) != "" || status == relay.StatusClientClosed) && int(next) < len(s.names) {
			s.names[next], s.places[status-firstStatus] = strconv.Itoa(status), next
			next++
		}
	}
	return s
}

func (s *statuses) place(status int) uint8 {
	if status < firstStatus || status > lastStatus {
		return 0
	}
	return s.places[status-firstStatus]
}
