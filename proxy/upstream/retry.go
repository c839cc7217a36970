package upstream

import (
	"io"
	"net/http"
	"sync"

	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/relay"
)

// maxAttempts bounds how often one request is sent: who waits for an answer is
// served better by a page than by a tour of everything that is down.
const maxAttempts = 3

// attempt is one request and what may still become of it.
type attempt struct {
	request *http.Request
	// again says that it may be sent once more after it has been sent: its method is
	// safe, it has no body, and it upgrades nothing. PUT and DELETE are idempotent
	// too (RFC 9110 section 9.2.2), but many tools take them for something else.
	again bool
	body  *heldBody // nil if there is none
}

func begin(r *http.Request) *attempt {
	a := &attempt{request: r}
	if r.Body != nil && r.Body != http.NoBody {
		a.body = &heldBody{inner: r.Body}
		return a
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		a.again = relay.Upgrade(r) == ""
	}
	return a
}

// to is the request to m. The one that came is left as it is.
func (a *attempt) to(m *member) *http.Request {
	out := m.addressed(a.request)
	if a.body != nil {
		a.body.lend()
		if out == a.request {
			same := *out
			out = &same
		}
		out.Body = a.body
	}
	return out
}

// addressed is r with m's address, in a copy if it has another.
func (m *member) addressed(r *http.Request) *http.Request {
	if r.URL.Host == m.address && r.URL.Scheme == m.origin.Scheme {
		return r
	}
	out, at := *r, *r.URL
	at.Scheme, at.Host = m.origin.Scheme, m.address
	out.URL = &at
	return &out
}

// mayRepeat reports whether the request may go to another upstream after this.
func (a *attempt) mayRepeat(res *http.Response, err error) bool {
	switch {
	case a.request.Context().Err() != nil:
		return false
	case err == nil:
		return a.again && faultOf(res) != nil
	case Unsent(err):
		return a.body == nil || a.body.untouched()
	}
	return a.again && !wasAnswered(err) && !isTimeout(err)
}

// end lets go of the body, which no further attempt needs.
func (a *attempt) end() {
	if a.body != nil {
		a.body.release()
	}
}

// faultOf is what a sidecar says of its application, or of itself, in place of an
// answer; nil for everything else. One below 500 is about the request alone.
func faultOf(res *http.Response) error {
	if res.StatusCode < http.StatusInternalServerError {
		return nil
	}
	if reason := res.Header.Get(header.Fault); reason != "" {
		return fault(reason)
	}
	return nil
}

// discard ends an answer that nobody gets. A sidecar's own is short; its
// connection is worth keeping.
func discard(res *http.Response) {
	if res == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // whatever comes of it, the connection is let go
	res.Body.Close()
}

// heldBody keeps a request's body open until it is known who gets it: transports
// close it when they fail. Once a byte was read it belongs to that attempt.
type heldBody struct {
	inner io.ReadCloser

	mu     sync.Mutex
	owned  bool // read from, or released: closing is for good
	closed bool // asked for while it was not
}

// Read implements io.Reader.
func (b *heldBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.owned = true
	b.mu.Unlock()
	return b.inner.Read(p)
}

// Close implements io.Closer.
func (b *heldBody) Close() error {
	b.mu.Lock()
	owned := b.owned
	b.closed = true
	b.mu.Unlock()
	if !owned {
		return nil
	}
	return b.inner.Close()
}

// untouched reports whether another attempt can have the body.
func (b *heldBody) untouched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.owned
}

// lend gives the body to the next attempt.
func (b *heldBody) lend() {
	b.mu.Lock()
	b.closed = false
	b.mu.Unlock()
}

// release gives the body to the attempt that has it, which was the last.
func (b *heldBody) release() {
	b.mu.Lock()
	late := b.closed && !b.owned
	b.owned = true
	b.mu.Unlock()
	if late {
		_ = b.inner.Close() // as the attempt has asked; it has nobody to tell
	}
}
