package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// forward sends the request on as state, and the answer back, if the tool may be asked
// for it.
func (g *Gateway) forward(ex *exchange, r *http.Request, rt *place, state *session.State) {
	if rf := g.refuseForeign(r, rt); rf != nil {
		g.deny(ex, r, rf)
		return
	}
	card, rf := rt.cardOf(state)
	if rf != nil {
		g.refuseUntold(ex, r, rf)
		return
	}
	if rf := g.load.persons.enter(state.User, g.limits.PerPerson); rf != nil {
		g.shedOr(ex, r, rf, shedPerson)
		return
	}
	defer g.load.persons.leave(state.User)
	if rf := rt.enter(r); rf != nil {
		g.shedOr(ex, r, rf, shedRoute)
		return
	}
	defer rt.inHand.Add(-1)
	ex.LetIn()
	if r.ContentLength != 0 {
		ex.ExpectBody(0)
		ex.Duplex()
		r = boundBody(ex, r, rt.Limits.BodyBytes, g.limits.Stall)
	}
	ctx, release := g.bound(ex, r, rt, state)
	defer release()
	out := &outgoing{exchange: ex, at: rt, state: state, card: card, span: ex.Span.Forward()}
	defer out.span.EndForward(&ex.Record)
	if renewed := g.cfg.Sessions.Refresh(state); renewed != nil {
		out.renewal = g.sealedCookies(ex, r, rt.Host, renewed)
	}
	ex.Time(g.cfg.Now)
	out.Context = ctx
	rt.proxy.Forward(out, ex, r)
	if hungUp(context.Cause(ctx)) {
		// The backend was hung up on, and may have had time to end its answer
		// as if it were whole.
		panic(http.ErrAbortHandler)
	}
}

// bound returns the context of a request to a tool. However long its answer takes, it
// ends with the session: a download, a long poll and a stream as much as a WebSocket.
// The caller must call release when there is nothing more to do, which notes in the
// record what has ended it before.
func (g *Gateway) bound(ex *exchange, r *http.Request, rt *place, state *session.State) (ctx context.Context, release func()) {
	use := session.Use{Host: rt.Host, Method: r.Method, Path: relay.SentPath(r.URL)}
	ctx, unbind := g.cfg.Sessions.Revocations().Bind(r.Context(), use, state)
	ctx, stopAge := g.boundByAge(ctx, r, rt, state)
	ctx, stopUse := g.boundByUse(ctx, ex, r)
	releaseBody := ex.BoundBody(ctx)
	return ctx, func() {
		releaseBody()
		noteEnding(ex, context.Cause(ctx))
		stopUse()
		stopAge()
		unbind()
	}
}

// noteEnding has the record say why a request ended before its answer did, if it did:
// cause is that of its context, nil while nothing has ended it.
func noteEnding(ex *exchange, cause error) {
	switch {
	case errors.Is(cause, session.ErrEnded):
		ex.Record.Reason, ex.Record.Cause = "session_ended", "session ended while the connection was open"
	case errors.Is(cause, session.ErrWithdrawn):
		ex.Record.Reason, ex.Record.Cause = "access_withdrawn", "access was withdrawn while the connection was open"
	case errors.Is(cause, errAuthnAge):
		ex.Record.Reason, ex.Record.Cause = policy.ReasonTooOld, "sign-on became too old while the connection was open"
	case errors.Is(cause, errUnused):
		ex.Record.Reason, ex.Record.Cause = string(session.AbsentIdle), errUnused.Error()
	case ex.SlowWriter(): // the tool may have answered to what it got
		ex.Record.Reason = codeBodyTooSlow
		ex.Fail(errBodyTooSlow)
	case ex.SlowReader():
		ex.Record.Reason, ex.Record.Cause = "client_too_slow", "client took nothing of the answer"
	case errors.Is(cause, errStopping):
		ex.Record.Cause = errStopping.Error()
	}
}

// hungUp reports whether it is us who have ended a request with that cause.
func hungUp(cause error) bool {
	for _, ours := range [...]error{session.ErrEnded, session.ErrWithdrawn, errAuthnAge, errUnused, errStopping} {
		if errors.Is(cause, ours) {
			return true
		}
	}
	return false
}

// outgoing is what the steps of forwarding need to know of one exchange, and the context
// that they find it by: one value in place of a chain of them.
type outgoing struct {
	context.Context
	exchange *exchange
	at       *place // where the request goes
	state    *session.State
	card     *header.Card // what the backend is told of the person; nil for nothing
	span     *tracing.Span
	renewal  []string // Set-Cookie lines that renew the session; nil for none
	body     backendBody
}

type outgoingKey struct{}

// Value implements context.Context.
func (out *outgoing) Value(key any) any {
	switch key.(type) {
	case outgoingKey:
		return out
	case relay.TimedKey:
		return out.exchange
	}
	return out.Context.Value(key)
}

func outgoingOf(ctx context.Context) *outgoing {
	out, _ := ctx.Value(outgoingKey{}).(*outgoing)
	return out
}

// sealedCookies are the Set-Cookie lines that save s. They are added to the
// backend's answer only after that has been filtered.
func (g *Gateway) sealedCookies(ex *exchange, r *http.Request, host string, s *session.State) []string {
	sink := headerSink{}
	if err := g.cfg.Sessions.Save(sink, r, host, s); err != nil {
		ex.Fail(err)
	}
	return sink["Set-Cookie"]
}

// headerSink is a ResponseWriter of which only the headers matter.
type headerSink http.Header

func (h headerSink) Header() http.Header         { return http.Header(h) }
func (h headerSink) Write(p []byte) (int, error) { return len(p), nil }
func (h headerSink) WriteHeader(int)             {}

// refuseForeign refuses what a page of another origin asks for in this person's
// name: WebSockets, with which browsers send cookies along (cross-site WebSocket
// hijacking), and requests that change something. SameSite cookies keep other
// sites out, but not a sibling: another tool of the same company.
func (g *Gateway) refuseForeign(r *http.Request, rt *place) *refusal {
	if relay.Upgrade(r) != relay.WebSocket {
		if err := g.crossSite.Check(r); err != nil && !rt.UnsafeCrossOrigin {
			return crossOrigin(err)
		}
		return nil
	}
	switch origins := r.Header["Origin"]; {
	case !rt.WebSocket:
		return &refusal{status: http.StatusForbidden, reason: "websocket_off", title: "Not allowed", message: "This tool does not take WebSocket connections."}
	case len(origins) > 1 || len(origins) == 1 && !strings.EqualFold(origins[0], rt.origin):
		return &refusal{status: http.StatusForbidden, reason: "websocket_origin", title: "Not allowed", message: "A page of another site asked for this connection."}
	}
	return nil
}

// crossOrigin refuses what a page of another origin wants changed.
func crossOrigin(cause error) *refusal {
	return &refusal{
		status: http.StatusForbidden, reason: "cross_origin", cause: cause, title: "Not allowed",
		message: "A page of another address sent this, which could act in your name. Do it from the tool itself.",
	}
}
