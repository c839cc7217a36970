package upstream

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// attended returns body, after whose end m has one request less.
func (m *member) attended(body io.ReadCloser) io.ReadCloser {
	if body == nil || body == http.NoBody {
		m.leave()
		return body
	}
	attended := &attendedBody{ReadCloser: body, member: m}
	if stream, ok := body.(io.ReadWriteCloser); ok { // an upgraded connection
		return &attendedStream{attendedBody: attended, stream: stream}
	}
	return attended
}

// attendedBody is the body of an answer.
type attendedBody struct {
	io.ReadCloser
	member *member
	left   atomic.Bool
}

// Close implements io.Closer.
func (b *attendedBody) Close() error {
	if !b.left.Swap(true) {
		b.member.leave()
	}
	return b.ReadCloser.Close()
}

// attendedStream is both directions of an upgraded connection.
type attendedStream struct {
	*attendedBody
	stream io.ReadWriteCloser
}

// Write implements io.Writer.
func (s *attendedStream) Write(p []byte) (int, error) { return s.stream.Write(p) }

// CloseWrite ends one direction, for whoever knows how.
func (s *attendedStream) CloseWrite() error {
	if half, ok := s.stream.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
