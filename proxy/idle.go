package proxy

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/proxy/relay"
)

// errUnused is the cause with which an upgraded connection ends whose client has
// sent nothing for as long as a session may go unused.
var errUnused = errors.New("the client sent nothing on the open connection for as long as a session may be idle")

// boundByUse returns a context that ends when the client of an upgraded connection
// has sent nothing for the session's idle time: all that the person does goes over
// that connection, so nobody is there any more. Anything else that is under way is
// an answer, which its client only reads; it goes on to its end, or the session's.
func (g *Gateway) boundByUse(ctx context.Context, ex *exchange, r *http.Request) (bound context.Context, stop func()) {
	if relay.Upgrade(r) == "" {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	idle := g.cfg.Sessions.Idle()
	go func() {
		heard := time.Now()
		timer := time.NewTimer(idle)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			if last := ex.Heard(); last.After(heard) {
				heard = last
			}
			left := idle - time.Since(heard)
			if left <= 0 {
				cancel(errUnused)
				return
			}
			timer.Reset(left)
		}
	}()
	return ctx, func() { cancel(nil) }
}
