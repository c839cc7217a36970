package http1

import (
	"io"
	"net/http"
	"time"
)

// unknownLength is a body's that is sent in chunks.
const unknownLength = -1

// firstByte is how long is waited for the first byte of a body that may be empty.
const firstByte = 200 * time.Millisecond

// measured returns how many bytes the body of req has, or unknownLength, and the
// request to go on with. Whether a body of unknown length has any bytes is found out
// first where there are none most of the time: some backends stumble over a GET in
// chunks.
func measured(req *http.Request) (*http.Request, int64) {
	switch {
	case noBody(req):
		return req, 0
	case req.ContentLength > 0:
		return req, req.ContentLength
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, "PROPFIND", "SEARCH":
		return tasted(req)
	}
	return req, unknownLength
}

// tasted reads one byte of the body of req; the request that it returns has it still.
func tasted(req *http.Request) (*http.Request, int64) {
	first := make(chan taste, 1)
	go func() {
		var t taste
		t.n, t.err = req.Body.Read(t.buf[:])
		first <- t
	}()
	timer := time.NewTimer(firstByte)
	defer timer.Stop()
	again := *req
	whole := &tastedBody{ReadCloser: req.Body, first: first}
	again.Body = whole
	select {
	case t := <-first:
		if t.n == 0 && t.err == io.EOF { //nolint:errorlint // as io.Reader has it
			closeBody(req)
			again.Body = nil
			return &again, 0
		}
		whole.now(t)
	case <-timer.C:
	}
	return &again, unknownLength
}

// taste is what the first read of a body returned.
type taste struct {
	buf [1]byte
	n   int
	err error
}

// tastedBody is a body whose first byte was read already, or is about to be.
type tastedBody struct {
	io.ReadCloser
	first <-chan taste // nil once it was taken
	taste
}

func (b *tastedBody) now(t taste) { b.taste, b.first = t, nil }

// Read implements io.Reader.
func (b *tastedBody) Read(p []byte) (int, error) {
	if b.first != nil {
		b.now(<-b.first)
	}
	if b.n > 0 && len(p) > 0 {
		b.n, p[0] = 0, b.buf[0]
		return 1, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.ReadCloser.Read(p) //nolint:wrapcheck // the body's own
}
