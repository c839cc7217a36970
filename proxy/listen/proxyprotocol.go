package listen

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ProxyProtocolConfig is what a ProxyProtocol listener needs. It must not be changed
// afterwards.
type ProxyProtocolConfig struct {
	// Listener accepts the connections; it is closed with the new one. Required.
	Listener net.Listener
	// Trusted are the load balancers that may connect, and are believed. Connections
	// from anywhere else are closed without an answer. Required.
	Trusted []netip.Prefix
	// Log gets a line at Debug for each connection that is not let in; nil discards.
	Log *slog.Logger
}

const (
	// headerPatience is how long a load balancer may take to say whom it speaks for.
	headerPatience = 5 * time.Second
	// headersAtOnce is how many connections may be about to say so.
	headersAtOnce = 1024
)

// ProxyProtocol returns a listener for connections of load balancers that say, in a
// PROXY protocol header of version 1 or 2 before all else, whose connection they pass
// on (haproxy.org, proxy-protocol.txt). The header is demanded of every connection: if
// it could be left out, a client behind a balancer that sends none could write one of
// its own. What is accepted has the client's address as its RemoteAddr, and the
// balancer's where the balancer speaks for itself, as in its health checks.
//
// Headers are read beside each other, so that a slow one holds up nobody. Safe for
// concurrent use.
func ProxyProtocol(cfg ProxyProtocolConfig) net.Listener {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &proxyListener{
		cfg: cfg, ready: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{}), places: make(chan struct{}, headersAtOnce),
	}
}

type proxyListener struct {
	cfg    ProxyProtocolConfig
	begin  sync.Once // of accepting
	ending sync.Once
	ready  chan net.Conn
	failed chan error
	closed chan struct{}
	places chan struct{}
}

// Accept implements net.Listener.
func (l *proxyListener) Accept() (net.Conn, error) {
	l.begin.Do(func() { go l.acceptAll() })
	select {
	case conn := <-l.ready:
		return conn, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. Connections whose header is being read are closed.
func (l *proxyListener) Close() error {
	l.ending.Do(func() { close(l.closed) })
	return l.cfg.Listener.Close()
}

// Addr implements net.Listener.
func (l *proxyListener) Addr() net.Addr { return l.cfg.Listener.Addr() }

// acceptAll accepts until the listener is closed. Whatever else fails, such as for
// want of file descriptors, is told to whoever calls Accept, who waits a little.
func (l *proxyListener) acceptAll() {
	for {
		select {
		case l.places <- struct{}{}:
		case <-l.closed:
			return
		}
		conn, err := l.cfg.Listener.Accept()
		if err != nil {
			<-l.places
			select {
			case l.failed <- err:
				continue
			case <-l.closed:
				return
			}
		}
		go func() {
			defer func() { <-l.places }()
			l.introduce(conn)
		}()
	}
}

// introduce has a connection say whom it is for, and hands it on, or closes it.
func (l *proxyListener) introduce(conn net.Conn) {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-l.closed:
			conn.Close()
		case <-done:
		}
	}()
	client, err := l.clientOf(conn)
	if err != nil {
		l.cfg.Log.Debug("connection without a PROXY protocol header that counts", "peer", conn.RemoteAddr().String(), "cause", err.Error())
		conn.Close()
		return
	}
	select {
	case l.ready <- &proxiedConn{Conn: conn, client: client}:
	case <-l.closed:
		conn.Close()
	}
}

// clientOf is the address that a trusted peer says it speaks for.
func (l *proxyListener) clientOf(conn net.Conn) (net.Addr, error) {
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil || !Contains(l.cfg.Trusted, peer.Addr()) {
		return nil, errors.New("peer is none of the trusted proxies")
	}
	if err := conn.SetReadDeadline(time.Now().Add(headerPatience)); err != nil {
		return nil, err
	}
	client, err := readProxyHeader(conn)
	if err != nil {
		return nil, fmt.Errorf("reading the PROXY protocol header: %w", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if !client.IsValid() {
		return conn.RemoteAddr(), nil
	}
	return net.TCPAddrFromAddrPort(client), nil
}

// Contains reports whether one of the networks has addr, in whatever form it came.
func Contains(networks []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, network := range networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// proxiedConn is a connection that somebody else passes on.
type proxiedConn struct {
	net.Conn
	client net.Addr
}

// RemoteAddr implements net.Conn: it is the client's.
func (c *proxiedConn) RemoteAddr() net.Addr { return c.client }

// NetConn returns the connection itself, as tls.Conn does.
func (c *proxiedConn) NetConn() net.Conn { return c.Conn }
