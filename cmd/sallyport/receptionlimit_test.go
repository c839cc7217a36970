package main

import (
	"net"
	"testing"

	"github.com/sallyport/sallyport/proxy/listen"
)

// TestEveryListenerOfStrangersHasLimits: whoever exhausts the descriptors at the one for an
// ingress has everybody at the others go without.
func TestEveryListenerOfStrangersHasLimits(t *testing.T) {
	var config net.ListenConfig
	inner, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	if got := (reception{}).limited(inner); got != inner {
		t.Error("limits that nobody has asked for")
	}
	closed := make(chan string, 1)
	limited := reception{limit: func(l net.Listener) net.Listener {
		return listen.Limit(l, listen.Limits{PerAddress: 1, Closed: func(limit string) { closed <- limit }})
	}}.limited(inner)
	go func() {
		for {
			if _, err := limited.Accept(); err != nil {
				return
			}
		}
	}()
	for range 2 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if limit := <-closed; limit != listen.LimitAddress {
		t.Errorf("closed at %q", limit)
	}
}
