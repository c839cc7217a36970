package handover

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Listener is a listening TCP socket. Safe for concurrent use.
type Listener struct {
	net.Listener
	// shared says that somebody else holds the socket too, and goes on with it.
	shared bool
}

// Listen opens a socket on address, as [net.Listen] takes it. With beside, other
// processes of the same user may listen on the same address at the same time, if
// all of them say so; elsewhere than on Linux that is an error.
func Listen(ctx context.Context, address string, beside bool) (*Listener, error) {
	var with net.ListenConfig
	with.SetMultipathTCP(false) // Go's default, which knows no filters (see Quiet); no browser uses it
	if beside {
		with.Control = func(_, _ string, conn syscall.RawConn) error { return control(conn, listenBeside) }
	}
	l, err := with.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", address, err)
	}
	return &Listener{Listener: l}, nil
}

// handshakes is how long a connection that was begun may take to be there: one
// round trip of a client that is far away. What takes longer is tried again by its
// client, and finds whoever listens then.
const handshakes = 300 * time.Millisecond

// Quiet has no new connection begin, and returns when those that had are there to
// be accepted, so go on accepting meanwhile. Close the listener then: a client that
// comes in between tries again by itself within a second, and meets whoever listens
// on the address by then. A socket that somebody else goes on with is left alone:
// its queue is not lost. Elsewhere than on Linux nothing happens.
func (l *Listener) Quiet(ctx context.Context) {
	socket, ok := l.Listener.(syscall.Conn)
	if l.shared || !ok {
		return
	}
	conn, err := socket.SyscallConn()
	if err != nil || control(conn, refuseNew) != nil {
		return // without the filter, what is in the queue by now is all that can be saved
	}
	timer := time.NewTimer(handshakes)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// control calls f with the descriptor of conn.
func control(conn syscall.RawConn, f func(fd int) error) error {
	var err error
	if outer := conn.Control(func(fd uintptr) { err = f(int(fd)) }); outer != nil {
		return outer
	}
	return err
}
