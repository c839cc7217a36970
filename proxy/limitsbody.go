package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// bodyRate is what a request's body has to keep up with while the tool waits for it, in
// bytes a second, over the time that it is granted at first. That is also the most that
// a fast one saves up.
const bodyRate = 240

// codeBodyTooSlow: a body stopped on the way.
const codeBodyTooSlow = "body_too_slow"

var (
	errBodyTooLarge  = errors.New("body is larger than the route takes")
	errBodyTooSlow   = errors.New("body came too slowly")
	errBodyMalformed = errors.New("body is malformed")
)

// bodyFault is the answer to a request whose own body is to blame; nil for other errors.
func bodyFault(err error) *refusal {
	switch {
	case errors.Is(err, errBodyTooLarge):
		return bodyTooLarge(err)
	case errors.Is(err, errBodyTooSlow):
		return &refusal{
			status: http.StatusRequestTimeout, reason: codeBodyTooSlow, cause: err,
			title: "That took too long", message: "What you sent came too slowly, or stopped on the way. The tool may have got a part of it.",
		}
	case errors.Is(err, errBodyMalformed):
		return &refusal{
			status: http.StatusBadRequest, reason: "body_malformed", cause: err,
			title: "That could not be read", message: "What you sent is not in a form that a browser sends. The tool may have got a part of it.",
		}
	}
	return nil
}

func bodyTooLarge(cause error) *refusal {
	return &refusal{
		status: http.StatusRequestEntityTooLarge, reason: "body_too_large", cause: cause,
		title: "That is too large", message: "What you sent is larger than this tool takes.",
	}
}

// boundedBody is a request's body that must come in time, and be no larger than the
// route takes. It is read by one goroutine at a time.
type boundedBody struct {
	io.ReadCloser
	exchange *exchange
	left     int64         // bytes that may still come
	bounded  bool          // whether left counts
	version  int           // of HTTP: 1, 2, 3
	chunked  bool          // whether it comes without a length
	steady   bool          // whether it has to keep up with bodyRate
	credit   time.Duration // for how long it may still be waited for
	most     time.Duration // of credit
}

// boundBody returns r with its body held to limit, if that is not zero, and to coming
// in time: it may stand still for stall. Streams of gRPC are open for as long as both sides like.
func boundBody(ex *exchange, r *http.Request, limit int64, stall time.Duration) *http.Request {
	if r.Body == nil || r.Body == http.NoBody {
		return r
	}
	bounded := *r
	bounded.Body = &boundedBody{
		ReadCloser: r.Body, exchange: ex, left: limit, bounded: limit > 0, credit: stall, most: stall,
		steady:  !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"),
		version: r.ProtoMajor, chunked: r.ContentLength < 0,
	}
	return &bounded
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (n int, err error) {
	if b.bounded && int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	if !b.steady || b.exchange.Answering() {
		n, err = b.ReadCloser.Read(p)
	} else {
		begun := time.Now()
		b.exchange.WaitsForBody(true)
		n, err = b.ReadCloser.Read(p)
		b.exchange.WaitsForBody(false)
		b.credit = min(b.credit-time.Since(begun)+time.Duration(n)*time.Second/bodyRate, b.most)
	}
	if b.left -= int64(n); b.bounded && b.left < 0 {
		return 0, errBodyTooLarge
	}
	if err == nil && b.credit < 0 {
		b.exchange.NoteSlowWriter()
		return n, errBodyTooSlow
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fmt.Errorf("%w: %w", errBodyTooSlow, err)
	case malformed(err, b.version, b.chunked):
		return n, fmt.Errorf("%w: %w", errBodyMalformed, err)
	}
	return n, err
}
