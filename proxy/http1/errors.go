package http1

import (
	"errors"
	"net/http"
)

var (
	errHead     = errors.New("head of the answer exceeded the limit")
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

// failure is why there is no answer. Its methods are for whoever might send the
// request elsewhere.
type failure struct {
	error
	unsent, answered bool
}

// Unwrap lets errors.Is see the cause.
func (f *failure) Unwrap() error { return f.error }

// Unsent reports whether no byte of the request was written, and its body was not
// read from.
func (f *failure) Unsent() bool { return f.unsent }

// Answered reports whether a byte of an answer had come.
func (f *failure) Answered() bool { return f.answered }

// sendableAgain returns req in a form to send once more after err, or nil.
func sendableAgain(req *http.Request, err error) *http.Request {
	var f *failure
	if !errors.As(err, &f) || f.answered || req.Context().Err() != nil {
		return nil
	}
	if f.unsent || safe(req) && noBody(req) {
		return req
	}
	if !safe(req) {
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
