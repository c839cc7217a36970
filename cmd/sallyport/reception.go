package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/listen"
)

// reception is what a gateway's listener for browsers has besides: HTTP/3 beside it, and
// load balancers before it that say whom they speak for. The zero value has neither.
type reception struct {
	http3 bool
	// publicPort is the port of HTTP/3 as browsers see it.
	publicPort int
	// balancers are those that begin every connection with a PROXY protocol header;
	// nil if there are none.
	balancers []netip.Prefix
	// limit holds the connections of both, together, to their limits; nil for none. A
	// balancer's are counted by whom it speaks for.
	limit func(net.Listener) net.Listener
}

func receptionOf(cfg *config.Gateway) reception {
	r := reception{http3: cfg.Listen.HTTP3, publicPort: cfg.Door.PublicPort}
	if cfg.Clients.ProxyProtocol {
		r.balancers = cfg.Clients.Networks()
	}
	return r
}

// socket opens the socket for HTTP/3, if it is spoken: on the UDP port of the number
// that the TCP listener has.
func (r reception) socket(ctx context.Context, work net.Listener) (net.PacketConn, error) {
	if !r.http3 {
		return nil, nil //nolint:nilnil // none is wanted
	}
	var listen net.ListenConfig
	socket, err := listen.ListenPacket(ctx, "udp", work.Addr().String())
	if err != nil {
		return nil, &hinted{fmt.Errorf("listening for HTTP/3: %w", err), hintAddress}
	}
	return socket, nil
}

// checkFree finds a UDP port that cannot be listened on; see checkFree.
func (r reception) checkFree(ctx context.Context, address string) error {
	if !r.http3 {
		return nil
	}
	var listen net.ListenConfig
	socket, err := listen.ListenPacket(ctx, "udp", address)
	if err != nil {
		return &hinted{fmt.Errorf("listening for HTTP/3: %w", err), hintAddress}
	}
	return socket.Close()
}

// serve serves the work on both, until ctx ends or one of them fails. A balancer's
// connections are counted by whom it speaks for, and those of both together.
func (r reception) serve(ctx context.Context, cfg proxy.ServerConfig, socket net.PacketConn) error {
	if r.balancers != nil {
		cfg.Listener = listen.ProxyProtocol(listen.ProxyProtocolConfig{Listener: cfg.Listener, Trusted: r.balancers, Log: cfg.Log})
	}
	if r.limit != nil {
		cfg.Listener = r.limit(cfg.Listener)
	}
	if socket == nil {
		return proxy.Serve(ctx, cfg)
	}
	cfg3 := proxy.Server3Config{Socket: socket, TLS: cfg.TLS, Handler: cfg.Handler, Announce: cfg.Announce, Drain: cfg.Drain, Log: cfg.Log}
	if counting, ok := cfg.Listener.(interface {
		Admit(net.Addr) (leave func(), ok bool)
	}); ok {
		cfg3.Admit = counting.Admit
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return proxy.Serve3(ctx, cfg3) })
	cfg.Handler = proxy.Advertise(cfg.Handler, r.publicPort)
	group.Go(func() error { return proxy.Serve(ctx, cfg) })
	return group.Wait()
}
