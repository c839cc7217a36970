package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/quic-go/quic-go/http3"
)

// malformed reports whether err, of reading a request's body in a version of HTTP, is
// about what the client has sent, and not about its connection or an end that we have
// made. Else the tool would be blamed for it. Servers have no type for such errors; what
// is not known for one is none.
func malformed(err error, version int, chunked bool) bool {
	switch {
	case err == nil:
		return false
	case version == 1: // a body with a length ends early with its connection alone
		return chunked && aboutBytes(err) && !errors.Is(err, io.ErrUnexpectedEOF)
	case version == 2: // who goes away leaves an error without a type as well
		return strings.Contains(err.Error(), "Content-Length")
	}
	return aboutBytes(err)
}

// aboutBytes excludes the errors of connections and of ends.
func aboutBytes(err error) bool {
	var connection net.Error
	var stream *http3.Error
	return !errors.Is(err, io.EOF) && !errors.Is(err, http.ErrBodyReadAfterClose) && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, net.ErrClosed) && !errors.As(err, &connection) && !errors.As(err, &stream)
}
