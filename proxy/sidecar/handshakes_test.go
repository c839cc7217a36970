package sidecar

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// from is a connection of an address that says nothing.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(f.address), 40000))
}

func TestHandshakesGiveTheirPlaceAway(t *testing.T) {
	const gateway, stranger, another = "192.0.2.1", "2001:db8::1", "192.0.2.3"
	for name, test := range map[string]struct {
		under  []string // way, and then filled up with those of stranger
		comes  string
		after  time.Duration
		ends   int  // which of all gives its place away
		served bool // who comes
	}{
		"to an address that has none":              {[]string{gateway, another}, "192.0.2.9", 0, 2, true},
		"to an address that has fewer":             {[]string{gateway, another}, gateway, 0, 2, true},
		"not to their own address, unless they":    {[]string{gateway}, stranger, handshakeGrace - 1, -1, false},
		"have had enough time":                     {[]string{gateway}, stranger, handshakeGrace, 1, true},
		"to a neighbour in the /64 as to its own":  {[]string{gateway}, "2001:db8::ffff", 0, -1, false},
		"to a neighbour of another /64 as to them": {[]string{gateway}, "2001:db8:0:1::1", 0, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var under handshakes
				var all []*handshake
				for len(all) < mostHandshakes {
					address := stranger
					if len(all) < len(test.under) {
						address = test.under[len(all)]
					}
					one := under.begin(context.Background(), from{address: address})
					if one == nil {
						t.Fatalf("handshake %d of %d finds no place", len(all), mostHandshakes)
					}
					all = append(all, one)
				}
				<-time.After(test.after)
				last := under.begin(context.Background(), from{address: test.comes})
				if (last != nil) != test.served {
					t.Fatalf("it is served: %t, expected %t", last != nil, test.served)
				}
				for i, one := range all {
					if ended := errors.Is(context.Cause(one.ctx), errCrowded); ended != (i == test.ends) {
						t.Errorf("handshake %d has ended: %t", i, ended)
					}
					under.leave(one)
				}
				if last != nil {
					under.leave(last)
				}
				if len(under.all) > 0 || len(under.count) > 0 {
					t.Errorf("when all are over, there are %d, of %v", len(under.all), under.count)
				}
			})
		})
	}
}

// TestWhoeverSaysNothingLocksNobodyOut has one address open all the connections that there
// may be, and more.
func TestWhoeverSaysNothingLocksNobodyOut(t *testing.T) {
	c := newConnections(t, plainApp(t, "tcp", tail))
	stranger := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}
	for range mostHandshakes + 10 {
		conn, err := stranger.DialContext(t.Context(), "tcp", c.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	conn := c.connect(t)
	if c.line(t)["event.action"] != "stream_begin" {
		t.Error("the gateway is not let in")
	}
	_ = conn.Close()
}
