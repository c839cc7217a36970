package http1

import (
	"errors"
	"net/http"
)

var (
	errHead     = errors.New("head of the answer is larger than may be")
	errInterim  = errors.New("more interim answers than may be")
	errClosed   = errors.New("reading from an answer that was closed")
	errTooLate  = timeoutError("no answer in time")
	errTooShort = errors.New("body of the request ended before its length")
	errTooLong  = errors.New("body of the request goes on after its length")
)

// timeoutError is a net.Error.
type timeoutError string

func (e timeoutError) Error() string { return string(e) }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// unanswered is an error before the first byte of an answer.
type unanswered struct {
	error
	unwritten bool // nothing of the request was written either
}

// Unwrap lets errors.Is see the cause.
func (u unanswered) Unwrap() error { return u.error }

// sole takes off what only this package has use for.
func sole(err error) error {
	if u, ok := err.(unanswered); ok { //nolint:errorlint // never wrapped: it is the outermost
		return u.error
	}
	return err
}

// sendableAgain returns req in a form to send once more after err, or nil.
func sendableAgain(req *http.Request, err error) *http.Request {
	u, ok := err.(unanswered) //nolint:errorlint // never wrapped: it is the outermost
	if !ok || req.Context().Err() != nil || !u.unwritten && !safe(req) {
		return nil
	}
	if noBody(req) {
		return req
	}
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	again := *req
	again.Body = body
	return &again
}

// safe reports whether nothing happens twice if req is answered twice.
func safe(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return noBody(req) || req.GetBody != nil
	}
	if req.Header["Idempotency-Key"] == nil && req.Header["X-Idempotency-Key"] == nil {
		return false
	}
	return noBody(req) || req.GetBody != nil
}

func noBody(req *http.Request) bool { return req.Body == nil || req.Body == http.NoBody }

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // whoever made it has seen, or will see
	}
}
