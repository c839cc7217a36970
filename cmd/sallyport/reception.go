package main

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/listen"
)

// reception is what a gateway's listener for browsers has besides. The zero value has
// nothing.
type reception struct {
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
	r := reception{publicPort: cfg.Door.PublicPort}
	if cfg.Clients.ProxyProtocol {
		r.balancers = cfg.Clients.Networks()
	}
	return r
}

// limited is inner with its connections held to their limits: each listener that strangers
// reach has its own count.
func (r reception) limited(inner net.Listener) net.Listener {
	if r.limit == nil {
		return inner
	}
	return r.limit(inner)
}

// serve serves the work on cfg's listener, and HTTP/3 on socket unless that is nil, until
// ctx ends or one of them fails. A balancer's connections are counted by whom it speaks
// for, and those of both together.
func (r reception) serve(ctx context.Context, cfg proxy.ServerConfig, socket net.PacketConn) error {
	if r.balancers != nil {
		cfg.Listener = listen.ProxyProtocol(listen.ProxyProtocolConfig{Listener: cfg.Listener, Trusted: r.balancers, Log: cfg.Log})
	}
	cfg.Listener = r.limited(cfg.Listener)
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
