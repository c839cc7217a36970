package main

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// tokenProbe looks after the Vault token of a process that may have nothing to read
// there for hours: it asks as often as others read their secrets. What comes of it,
// the client tells.
type tokenProbe struct {
	client *vaultpki.Client
	every  func() time.Duration
	wakeup chan struct{}
}

func newTokenProbe(client *vaultpki.Client, every func() time.Duration) *tokenProbe {
	return &tokenProbe{client, every, make(chan struct{}, 1)}
}

// run asks until ctx ends, then returns nil.
func (p *tokenProbe) run(ctx context.Context) error {
	for {
		timer := time.NewTimer(jittered(p.every()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-p.wakeup:
			timer.Stop()
		case <-timer.C:
		}
		_ = p.client.Probe(ctx)
	}
}

// wake makes run ask now.
func (p *tokenProbe) wake() {
	select {
	case p.wakeup <- struct{}{}:
	default: // it will, already
	}
}
