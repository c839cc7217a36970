package proxy

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/upstream"
)

// newPool is the way to the tool of a route.
func (g *Gateway) newPool(spec Route) (*upstream.Pool, error) {
	return upstream.New(upstream.Config{
		Route: spec.Name, Host: g.probedHost(spec), TLS: spec.TLS, Options: spec.Upstream, Log: g.cfg.Log,
		Upstreams: append([]*url.URL{spec.Backend}, spec.MoreBackends...),
		Session:   sessionOf,
		Note:      noteAttempt,
	})
}

// sessionOf is the id of the session that a request belongs to, or "".
func sessionOf(ctx context.Context) string {
	if state := outgoingOf(ctx).state; state != nil {
		return state.ID
	}
	return ""
}

// probedHost is the Host of probes: the one that people ask for, or any of a wildcard.
func (g *Gateway) probedHost(spec Route) string {
	host := spec.Host
	if parent, wild := strings.CutPrefix(host, "*."); wild {
		host = "probe." + parent
	}
	return cmp.Or(spec.BackendHost, strings.TrimPrefix(g.origin(host), "https://"))
}

// noteAttempt writes into the record where a request was sent, and how often.
func noteAttempt(ctx context.Context, address string, attempt int) {
	record := &outgoingOf(ctx).exchange.Record
	record.Upstream, record.Attempts = address, attempt
}

// busyRetry is after how many seconds a busy tool is worth another try.
const busyRetry = "5"

// CloseIdleConnections makes new requests shake hands anew with every backend.
// Call it after the client certificate was renewed.
func (g *Gateway) CloseIdleConnections() {
	for _, rt := range g.order {
		if rt.pool != nil {
			rt.pool.CloseIdleConnections()
		}
	}
}

// sidecarFault is an answer of the sidecar itself: the reason why the
// application has not answered.
type sidecarFault string

func (f sidecarFault) Error() string {
	return fmt.Sprintf("sidecar answers for the application: %q", string(f))
}

// backendFailed answers for a backend that did not. The cause is for the log.
func (g *Gateway) backendFailed(_ http.ResponseWriter, r *http.Request, err error) {
	ex := outgoingOf(r.Context()).exchange
	if rf := bodyFault(err); rf != nil {
		// net/http would read on before it answers, and after that.
		ex.Header().Set("Connection", "close")
		ex.ExpectBody(time.Millisecond)
		g.refuse(ex, r, *rf)
		return
	}
	if r.Context().Err() != nil {
		// The client has gone, the session has ended, or we are stopping: an
		// empty answer must not pass for the backend's.
		ex.Fail(err)
		panic(http.ErrAbortHandler)
	}
	status, reason := backendFault(err)
	rf := refusal{
		status: status, reason: reason, cause: err,
		title: "The tool does not answer", message: "You are signed in and allowed, but the tool behind this address cannot be reached. Try again in a moment; if it stays like this, give its owner the request number below.",
		link: g.door + "/", text: "Your tools",
	}
	if reason == codeBackendBusy {
		rf.title, rf.message = "The tool is busy", "You are signed in and allowed, but the tool behind this address has as much to do as it may. Try again in a moment."
		ex.Header().Set("Retry-After", busyRetry)
	}
	g.refuse(ex, r, rf)
}
