package proxy

import (
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/portal"
)

const (
	// codeOverloaded: more is in hand than the limits allow.
	codeOverloaded = "overloaded"
	// codeRateLimited: this address has asked too often.
	codeRateLimited = "rate_limited"
	// shedRetry is when somebody who was turned away may try again.
	shedRetry = 2 * time.Second
)

// canned is a page that was drawn beforehand: what is said when there is too much to do
// must cost next to nothing.
type canned struct {
	refusal
	header http.Header
	page   []byte
}

func (g *Gateway) prepareRefusals() (err error) {
	if g.full, err = g.can(refusal{
		status: http.StatusServiceUnavailable, reason: codeOverloaded,
		title: "Too much to do at this moment", message: "Sallyport has more requests in hand than it can serve well. Try again in a few seconds.",
	}); err != nil {
		return err
	}
	g.often, err = g.can(refusal{
		status: http.StatusTooManyRequests, reason: codeRateLimited,
		title: "Too many requests", message: "Too many requests have come from your address. Try again in a few seconds.",
	})
	return err
}

// can draws the page of rf once and for all.
func (g *Gateway) can(rf refusal) (*canned, error) {
	drawn := headerAndBody{header: http.Header{}}
	err := g.pages.WriteNotice(&drawn, portal.Notice{Status: rf.status, Title: rf.title, Message: rf.message, Reason: rf.reason})
	return &canned{refusal: rf, header: drawn.header, page: drawn.body}, err
}

// headerAndBody is a ResponseWriter that keeps an answer.
type headerAndBody struct {
	header http.Header
	body   []byte
}

func (k *headerAndBody) Header() http.Header { return k.header }
func (k *headerAndBody) WriteHeader(int)     {}
func (k *headerAndBody) Write(p []byte) (int, error) {
	k.body = append(k.body, p...)
	return len(p), nil
}

// answer refuses with a page or JSON, and says when to try again.
func (c *canned) answer(ex *exchange, r *http.Request, retry time.Duration) {
	ex.Record.Decision, ex.Record.Reason = accesslog.DecisionDeny, c.reason
	seconds := int64((retry + time.Second - 1) / time.Second)
	ex.Header().Set("Retry-After", strconv.FormatInt(max(seconds, 1), 10))
	if r.ContentLength != 0 {
		ex.Header().Set("Connection", "close") // else net/http reads what is left of the body first
	}
	if !wantsPage(r) {
		writeJSON(ex, c.status, map[string]string{"error": c.reason, "message": c.message, "request_id": ex.Record.RequestID})
		return
	}
	maps.Copy(ex.Header(), c.header)
	ex.WriteHeader(c.status)
	_, err := ex.Write(c.page)
	ex.Fail(err) // the person has gone away
}

// shed turns a request away: too much is in hand, and why says of what.
func (g *Gateway) shed(ex *exchange, r *http.Request, why string) {
	now := ex.Record.Time
	g.cfg.Metrics.shed.WithLabelValues(why).Inc()
	if why != shedRoute && why != shedPerson {
		g.load.shed.Store(now.UnixNano())
	}
	if g.alarms.due("requests are turned away "+why, now) {
		g.cfg.Log.Warn("requests are turned away: more is in hand than the limits allow", "event", "overloaded",
			"limit", why, "route", ex.Record.Route, "in_hand", g.load.inHand.Load(), "memory", g.load.memory.Load())
	}
	g.full.answer(ex, r, shedRetry)
}

// tooOften refuses whoever has asked for more than strangers may, signed in or not: it
// is asked before anybody knows.
func (g *Gateway) tooOften(ex *exchange, r *http.Request) bool {
	network := networkOf(ex.Record.ClientAddress)
	wait := g.strangers.take(network, ex.Record.Time)
	if wait == 0 {
		return false
	}
	g.cfg.Metrics.limited.Inc()
	ex.Record.Fold(network)
	g.often.answer(ex, r, wait)
	return true
}
