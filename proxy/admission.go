package proxy

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sallyport/sallyport/proxy/listen"
	"github.com/sallyport/sallyport/saml"
)

// admission bounds what strangers may have done for them at once: in all, and
// by one address, so that one of them cannot use up everybody's share. Whoever
// finds all places taken waits a little. Safe for concurrent use.
type admission struct {
	places     chan struct{}
	perAddress int
	wait       time.Duration

	mu     sync.Mutex
	inside map[netip.Addr]int // by address, waiting ones included; guarded by mu
}

func newAdmission(places, perAddress int, wait time.Duration) *admission {
	return &admission{places: make(chan struct{}, places), perAddress: perAddress, wait: wait, inside: make(map[netip.Addr]int)}
}

// enter takes a place for the client at address, and returns how to leave it,
// or a *saml.Refusal that says whose share is used up.
func (a *admission) enter(ctx context.Context, address string) (leave func(), err error) {
	from := networkOf(address)
	if !a.count(from) {
		return nil, busy(fmt.Errorf("%d of %s are in hand, which is its share", a.perAddress, from))
	}
	timer := time.NewTimer(a.wait)
	defer timer.Stop()
	select {
	case a.places <- struct{}{}:
		return func() { <-a.places; a.forget(from) }, nil
	case <-timer.C:
		err = fmt.Errorf("all %d places were taken for %s", cap(a.places), a.wait)
	case <-ctx.Done():
		err = fmt.Errorf("waiting for a place: %w", ctx.Err())
	}
	a.forget(from)
	return nil, busy(err)
}

// busy refuses what there is no place for now.
func busy(cause error) error { return &saml.Refusal{Code: saml.CodeBusy, Err: cause} }

func (a *admission) count(from netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inside[from] >= a.perAddress {
		return false
	}
	a.inside[from]++
	return true
}

func (a *admission) forget(from netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.inside[from]--; a.inside[from] <= 0 {
		delete(a.inside, from)
	}
}

// networkOf is the network of a client. What is no address counts as one and the same.
func networkOf(address string) netip.Addr {
	addr, _ := netip.ParseAddr(address) // the zero value is no address
	return listen.Network(addr)
}

const (
	// strangerPatience is how long a body may take that is read before anybody
	// was let in.
	strangerPatience = 10 * time.Second
	// Answers of identity providers in hand at once: each may hold half a
	// megabyte, and costs milliseconds once it was read.
	answersAtOnce, answersPerAddress = 128, 16
	// Requests to identity providers made at once: each costs a signature.
	beginsAtOnce, beginsPerAddress = 8, 16
	admissionWait                  = 5 * time.Second
)
