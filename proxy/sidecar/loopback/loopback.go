// Package loopback connects to what listens on this machine, or in this network namespace,
// and asks nobody where that is.
package loopback

import (
	"context"
	"errors"
	"net"
	"time"
)

// Name is the name of this machine that RFC 6761 section 6.3 knows.
const Name = "localhost"

// Dialer connects within Timeout, or as long as its caller waits if that is zero. It is
// immutable and safe for concurrent use.
type Dialer struct {
	Timeout time.Duration
}

// DialContext connects as [net.Dialer.DialContext] does, but takes [Name] for 127.0.0.1 and,
// where nobody listens there, ::1. A resolver, which a file or a server on the network may
// have answer anything, is not asked for it.
func (d Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.Timeout > 0 { // for both addresses together
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	dialer := new(net.Dialer)
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != Name || network == "unix" {
		return dialer.DialContext(ctx, network, address) //nolint:wrapcheck // names network and address
	}
	conn, first := dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if first == nil {
		return conn, nil
	}
	conn, second := dialer.DialContext(ctx, network, net.JoinHostPort("::1", port))
	if second == nil {
		return conn, nil
	}
	return nil, errors.Join(first, second)
}
