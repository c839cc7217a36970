package sidecar

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/relay"
)

// TCPServer is where a guard of connections stands. It must not be changed while it
// serves.
type TCPServer struct {
	// Listener accepts plain TCP connections; Serve closes it. Required.
	Listener net.Listener
	// TLS demands a certificate of every client. [ALPN] is the caller's to set, for each
	// handshake. Required.
	TLS *tls.Config
	// Guard returns the guard in use, for each connection. Required.
	Guard func() *TCP
	// Announce is how long connections are still taken after ctx has ended, and Drain how
	// long they may take to end after that.
	Announce, Drain time.Duration
	// Quiet, if not nil, is called before the listener is closed, and returns when no
	// connection waits to be accepted any more and none can come.
	Quiet func(context.Context)
	// Log gets failed handshakes at Warn: nobody but peers has business here; nil discards.
	Log *slog.Logger
}

// acceptPause is how long to wait when the system has no room for a connection.
const acceptPause = 50 * time.Millisecond

// tcpServing is a TCPServer at work.
type tcpServing struct {
	TCPServer
	conns      sync.WaitGroup
	carried    atomic.Int64 // connections that are let in
	handshakes handshakes
	ctx        context.Context //nolint:containedctx // ends what is left after the drain
}

// Serve takes connections until ctx ends, and then stops: for Announce it goes on, then
// it takes no new ones and has the others end by themselves within Drain; what is left
// then is cut. It returns nil after a clean stop, and [relay.ErrDrain] when something had
// to be cut.
func (s TCPServer) Serve(ctx context.Context) error {
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	conns, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	serving := &tcpServing{TCPServer: s, ctx: conns}
	accepting := make(chan error, 1)
	go func() { accepting <- serving.accept() }()
	var err error
	select {
	case err = <-accepting:
		_ = s.Listener.Close() // it is broken: that is the error to tell
		cut(errStopping)
		serving.conns.Wait()
		return fmt.Errorf("serving on %s: %w", s.Listener.Addr(), err)
	case <-ctx.Done():
	}
	stopped := serving.leave(context.WithoutCancel(ctx), accepting)
	over := make(chan struct{})
	go func() { serving.conns.Wait(); close(over) }()
	if !within(s.Drain, over) {
		err = relay.ErrDrain
	}
	cut(errStopping)
	<-over // each has a line to write
	if !errors.Is(stopped, net.ErrClosed) {
		return errors.Join(err, stopped)
	}
	return err
}

// leave ends the taking of connections, and returns how that has ended.
func (s *tcpServing) leave(ctx context.Context, accepting <-chan error) error {
	within(s.Announce, nil)
	if s.Quiet != nil {
		s.Quiet(ctx)
	}
	if err := s.Listener.Close(); err != nil {
		return errors.Join(err, <-accepting)
	}
	return <-accepting
}

// within waits for what comes first, and reports whether that is done.
func within(limit time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// accept takes connections until the listener is closed or broken.
func (s *tcpServing) accept() error {
	for {
		conn, err := s.Listener.Accept()
		var temporary net.Error
		switch {
		case errors.Is(err, net.ErrClosed):
			return err //nolint:wrapcheck // the caller looks for just this
		case errors.As(err, &temporary) && temporary.Temporary(): //nolint:staticcheck // as net/http: no room for more files
			s.Log.Info("a connection could not be accepted", "cause", err.Error())
			within(acceptPause, s.ctx.Done())
			continue
		case err != nil:
			return fmt.Errorf("accepting: %w", err)
		}
		one := s.handshakes.begin(s.ctx, conn)
		if one == nil {
			_ = conn.Close() // has enough of them under way
			continue
		}
		s.conns.Go(func() { s.take(conn, one) })
	}
}

// endNoter is a connection of a client that notes that its bytes have ended. Package tls
// takes that for the end of what was said, whether the client has said so (RFC 8446
// section 6.1) or somebody on the way has cut the connection.
type endNoter struct {
	net.Conn
	ended atomic.Bool
}

// Read implements net.Conn.
func (c *endNoter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		c.ended.Store(true)
	}
	return n, err //nolint:wrapcheck // the connection's own
}

// SetLinger is that of net.TCPConn, where it is one.
func (c *endNoter) SetLinger(sec int) error {
	if abrupt, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		return abrupt.SetLinger(sec) //nolint:wrapcheck // the same
	}
	return nil
}

// brokeOff says of a client who says nothing any more that it has not said goodbye.
func brokeOff(client *tls.Conn) bool {
	noter, ok := client.NetConn().(*endNoter)
	return ok && noter.ended.Load()
}

// take shakes hands and hands the connection over.
func (s *tcpServing) take(conn net.Conn, one *handshake) {
	client := tls.Server(&endNoter{Conn: conn}, s.TLS)
	ctx, cancel := context.WithTimeout(one.ctx, handshakePatience)
	err := client.HandshakeContext(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	cancel()
	s.handshakes.leave(one)
	if err != nil {
		s.Log.Warn("TLS handshake of a connection failed", "client", conn.RemoteAddr().String(), "cause", err.Error())
		_ = conn.Close()
		return
	}
	guard := s.Guard()
	full := s.carried.Add(1) > int64(guard.cfg.Connections)
	defer s.carried.Add(-1)
	guard.handle(s.ctx, client, full)
}
