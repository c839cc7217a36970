package upstream

import (
	"context"
	"errors"
	"hash/fnv"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstPause is how long an upstream is put aside after the first strike; it
	// doubles with every further one, up to maxPause.
	firstPause = time.Second
	maxPause   = 30 * time.Second
	// faultsInARow are a strike. One alone may be the work of a single request,
	// which whoever is signed in can send as often as he likes.
	faultsInARow = 3
)

// member is one upstream, for as long as some Pool reaches it in this way. Safe
// for concurrent use.
type member struct {
	way
	origin *url.URL
	hash   uint64 // of address

	conns    atomic.Pointer[transport]
	inFlight atomic.Int64
	faults   atomic.Int64 // connections that were not made, and faults of the sidecar

	// What requests read without a lock; written under mu.
	until atomic.Int64 // put aside until then, Unix nanoseconds; 0 for not at all
	epoch atomic.Int64 // of strikes: what began before the last one says nothing new
	row   atomic.Int64 // faults since it last answered
	sick  atomic.Bool  // by probes

	mu        sync.Mutex
	strikes   int       // since it last answered
	good, bad int       // probes in a row
	probedAt  time.Time // when the last one began
	cause     string    // of the strike or of the failed probes
	since     time.Time // of the state that it is in
}

func newMember(origin *url.URL, w way) *member {
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(w.address)) // a hash takes everything
	m := &member{way: w, origin: origin, hash: sum.Sum64(), since: time.Now()}
	m.renew()
	return m
}

// renew has new requests shake hands anew, those under HTTP/2 too, where one
// connection never becomes idle; what is under way ends on the old connections.
func (m *member) renew() {
	fresh := newTransport(m.way)
	if old := m.conns.Swap(&fresh); old != nil {
		(*old).CloseIdleConnections()
	}
}

// closeIdle lets go of connections. Call it when no Pool sends requests any more.
func (m *member) closeIdle() { (*m.conns.Load()).CloseIdleConnections() }

// available reports whether m is thought well of, or may be tried again.
func (m *member) available(now int64, probing bool) bool {
	return now >= m.until.Load() && m.well(probing)
}

// well reports whether probes, if there are any, say that m answers.
func (m *member) well(probing bool) bool { return !probing || !m.sick.Load() }

// claim reports whether a request may be sent to an available m. Of those that
// come when its pause is over, one is: the others wait for how that goes.
func (m *member) claim(now int64) bool {
	if m.until.Load() == 0 {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	until := m.until.Load()
	if until == 0 || now < until {
		return until == 0
	}
	m.until.Store(now + int64(m.pause()))
	return true
}

// enter counts a request in, unless there are limit of them; 0 is no limit.
func (m *member) enter(limit int) bool {
	if n := m.inFlight.Add(1); limit > 0 && n > int64(limit) {
		m.leave()
		return false
	}
	return true
}

func (m *member) leave() { m.inFlight.Add(-1) }

// pause is how long the strikes so far put m aside. The caller holds mu.
func (m *member) pause() time.Duration {
	return min(firstPause<<min(max(m.strikes-1, 0), 10), maxPause)
}

// change is what became of a member's state.
type change int

const (
	unchanged change = iota
	worse
	better
)

// strike puts m aside on account of cause, for something that began in epoch.
func (m *member) strike(epoch int64, cause error) change {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.epoch.CompareAndSwap(epoch, epoch+1) {
		return unchanged // the same outage, seen by one more request
	}
	m.strikes++
	m.row.Store(0)
	now := time.Now()
	m.until.Store(now.Add(m.pause()).UnixNano())
	if m.strikes > 1 {
		return unchanged
	}
	m.since, m.cause = now, cause.Error()
	return worse
}

// answered notes an answer of the application to what began in epoch.
func (m *member) answered(epoch int64) change {
	if m.until.Load() == 0 && m.row.Load() == 0 {
		return unchanged
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epoch.Load() != epoch {
		return unchanged // it began before the strike
	}
	return m.forgive()
}

// forgive ends a pause. The caller holds mu.
func (m *member) forgive() change {
	m.row.Store(0)
	m.strikes = 0
	if m.until.Swap(0) == 0 {
		return unchanged
	}
	m.since, m.cause = time.Now(), ""
	return better
}

// probe notes the result of a probe: passive tells whether it ended a pause,
// active whether the probes' own verdict has changed.
func (m *member) probe(err error, h Health) (passive, active change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.good, m.bad = 0, m.bad+1
		if m.bad < h.Unhealthy || m.sick.Swap(true) {
			return unchanged, unchanged
		}
		m.since, m.cause = time.Now(), err.Error()
		return unchanged, worse
	}
	m.good, m.bad = m.good+1, 0
	passive = m.forgive()
	if m.good < h.Healthy || !m.sick.Swap(false) {
		return passive, unchanged
	}
	m.since, m.cause = time.Now(), ""
	return passive, better
}

// judge notes how a request went, and returns what changed and why. err and res
// are the transport's.
func (m *member) judge(epoch int64, res *http.Response, err error) (change, error) {
	if err == nil {
		err = faultOf(res)
		if err == nil {
			return m.answered(epoch), nil
		}
		m.faults.Add(1)
		if m.row.Add(1) < faultsInARow {
			return unchanged, err
		}
		return m.strike(epoch, err), err
	}
	if !Unsent(err) || errors.Is(err, context.Canceled) {
		return unchanged, err // slow, broken off, or given up: that can be the request's doing
	}
	m.faults.Add(1)
	return m.strike(epoch, err), err
}
