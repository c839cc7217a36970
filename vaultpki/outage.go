package vaultpki

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Pace of the calls of a Client while Vault is away.
const (
	firstOutageDelay   = 200 * time.Millisecond
	longestOutageDelay = time.Minute // before jitter, which adds up to a half
)

// outage makes all readers of a Client ask an absent Vault no more often than one
// would: while it is away, one call at a time is let through, and with growing
// delays. Everybody else is told at once that Vault is away, and for how long
// not to ask. It is safe for concurrent use.
type outage struct {
	mu      sync.Mutex
	cause   error // of the last failure; nil while Vault is there
	next    time.Time
	probing bool // the one call is under way
	delays  *backoff.ExponentialBackOff
	// back is closed and replaced when Vault is heard of after it was away.
	back chan struct{}
}

func newOutage() *outage {
	return &outage{delays: newDelays(firstOutageDelay, longestOutageDelay), back: make(chan struct{})}
}

// enter asks for leave to call. After leave was given, saw must be called.
func (o *outage) enter() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cause == nil {
		return nil
	}
	if wait := time.Until(o.next); wait > 0 || o.probing {
		return &wire.TransportError{
			RetryAfter: max(wait, firstOutageDelay),
			Err:        fmt.Errorf("vault is not asked for a while, it was away: %w", o.cause),
		}
	}
	o.probing = true
	return nil
}

// saw reports how a call ended.
func (o *outage) saw(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.probing = false
	switch {
	case !isAway(err):
		if err == nil || wire.Status(err) != 0 { // and not a caller that gave up
			o.end()
		}
	case o.cause == nil || !time.Now().Before(o.next):
		// One delay for all the calls that failed together.
		o.cause = err
		o.next = time.Now().Add(max(o.delays.NextBackOff(), wire.RetryAfter(err)))
	}
}

// end tells those who wait for it that Vault is back, if it was away. The caller holds mu.
func (o *outage) end() {
	if o.cause != nil {
		close(o.back)
		o.back = make(chan struct{})
	}
	o.cause = nil
	o.delays.Reset()
}

// over returns a channel that is closed when Vault is heard of after it was away.
func (o *outage) over() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.back
}

// isAway says whether a failure concerns Vault as a whole, and not one path.
func isAway(err error) bool {
	if !wire.MaySucceedLater(err) {
		return false
	}
	var status *wire.StatusError
	if !errors.As(err, &status) {
		return true
	}
	switch status.Status {
	case http.StatusTooManyRequests, 472, 473, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return status.Status < 400
}
