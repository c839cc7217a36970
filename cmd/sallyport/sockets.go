package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/sallyport/sallyport/proxy/handover"
)

// The names of the sockets that systemd may hold for us (FileDescriptorName=).
const (
	socketHTTPS       = "https"
	socketHTTP3       = "http3"
	socketAdmin       = "admin"
	socketForwardAuth = "forward_auth"
)

// What each is for.
const (
	forRequests = "requests"
	forHTTP3    = "HTTP/3"
	forAdmin    = "probes and metrics"
	forIngress  = "questions of an ingress"
)

// hintAddress is what to do about an address that cannot be listened on.
const hintAddress = "end the process that has the address, or choose another one in the configuration"

// hintSockets is what to do about sockets that this process was given in vain.
const hintSockets = "let the names in FileDescriptorName= be those of the keys below listen that the configuration sets"

// sockets is where the listeners of a process come from: those that it was started
// with, and beside them those that it opens itself.
type sockets struct {
	inherited *handover.Sockets // nil for none
	// beside lets another process listen on the same addresses meanwhile.
	beside bool
}

// inheritSockets takes what the service manager has given to this process.
func inheritSockets(known ...string) (*handover.Sockets, error) {
	inherited, err := handover.Inherited(known...)
	if err != nil {
		return nil, &hinted{err, hintSockets}
	}
	return inherited, nil
}

// listen returns the socket of that name that is held for us, or one on address.
// what says what it is for.
func (s sockets) listen(ctx context.Context, name, address, what string) (*handover.Listener, error) {
	l, err := s.inherited.Listener(name)
	switch {
	case err != nil:
	case l == nil:
		l, err = handover.Listen(ctx, address, s.beside)
	case name == socketAdmin:
		if err = keepsInside(address, l.Addr()); err != nil {
			err = errors.Join(err, l.Close())
		}
	}
	if err != nil {
		return nil, &hinted{fmt.Errorf("listening for %s: %w", what, err), hintAddress}
	}
	return l, nil
}

// packets returns the datagram socket of that name that is held for us, or one on
// address.
func (s sockets) packets(ctx context.Context, name, address, what string) (net.PacketConn, error) {
	conn, err := s.inherited.PacketConn(name)
	if conn == nil && err == nil {
		conn, err = listenPacket(ctx, address)
	}
	if err != nil {
		return nil, &hinted{fmt.Errorf("listening for %s: %w", what, err), hintAddress}
	}
	return conn, nil
}

func listenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	var listen net.ListenConfig
	return listen.ListenPacket(ctx, "udp", address)
}

// keepsInside refuses a socket that other machines reach where the configuration says
// an address that they do not: nobody signs in there, and whoever reaches it sees, and
// renews, what is for operators. A socket for browsers under that name is found out too.
func keepsInside(configured string, held net.Addr) error {
	host, _, err := net.SplitHostPort(configured)
	if err != nil {
		return fmt.Errorf("reading the address %q: %w", configured, err)
	}
	at, err := netip.ParseAddrPort(held.String())
	if err != nil {
		return fmt.Errorf("reading the address of a socket: %w", err)
	}
	said, err := netip.ParseAddr(host)
	if inside := host == "localhost" || err == nil && said.IsLoopback(); inside && !at.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("the socket %q that is held for this process is at %s, which other machines reach, and the configuration says %s", socketAdmin, held, configured)
	}
	return nil
}

// addresses are where a process listens, by the names of the sockets; one that is
// empty is not listened on.
type addresses struct{ work, http3, admin, forwardAuth string }

// listening is one of the addresses, with what it is for.
type listening struct {
	name, address, what string
	datagrams           bool
}

func (a addresses) all() []listening {
	return []listening{
		{name: socketHTTPS, address: a.work, what: forRequests}, {name: socketHTTP3, address: a.http3, what: forHTTP3, datagrams: true},
		{name: socketAdmin, address: a.admin, what: forAdmin}, {name: socketForwardAuth, address: a.forwardAuth, what: forIngress},
	}
}

// try listens on the address, and returns what lets go of it.
func (l listening) try(ctx context.Context) (io.Closer, error) {
	if l.datagrams {
		return listenPacket(ctx, l.address)
	}
	return handover.Listen(ctx, l.address, false)
}

// checkFree finds an address that cannot be listened on, and a socket that nobody
// would listen on, before the introduction is used up. Nothing is accepted, and the
// addresses are let go at once: only run listens in earnest. Where another process
// listens meanwhile, no address is tried: the kernel would send clients to a socket
// that is closed at once.
func (s sockets) checkFree(ctx context.Context, at addresses) error {
	for _, one := range at.all() {
		if one.address == "" && s.inherited.Has(one.name) {
			return &hinted{fmt.Errorf("listening for %s: the socket %q is held for this process, and its configuration has no use for it", one.what, one.name), hintSockets}
		}
	}
	if at.http3 != "" && s.inherited.Has(socketHTTPS) && !s.inherited.Has(socketHTTP3) { // the two have one port
		return &hinted{fmt.Errorf("listening for %s: the socket %q is held for this process, and none called %q", forHTTP3, socketHTTPS, socketHTTP3), hintSockets}
	}
	for _, one := range at.all() {
		if one.address == "" || s.beside || s.inherited.Has(one.name) {
			continue
		}
		tried, err := one.try(ctx)
		if err != nil {
			return &hinted{fmt.Errorf("listening for %s: %w", one.what, err), hintAddress}
		}
		defer tried.Close() // after the others were tried: two may have one address
	}
	return nil
}
