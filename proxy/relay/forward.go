package relay

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"
)

// Forwarder hands requests on. What reaches the backend, and what comes back, is byte for
// byte what Plain makes of it, in one pass over the headers of each direction and without
// copies of what nobody changes. Upgrades are left to Plain. Interim answers are dropped.
//
// Of Plain it uses Rewrite, Transport, ModifyResponse, ErrorHandler and BufferPool, which
// are all required; nothing else may be set that matters. Rewrite is given headers whose
// values it shares with the client's request: it sets, replaces and deletes, and writes
// into none. It is safe for concurrent use.
type Forwarder struct{ Plain *httputil.ReverseProxy }

// errUnaskedSwitch is an answer that ends HTTP on a connection where nobody wanted that.
var errUnaskedSwitch = errors.New("backend tried to switch protocols, which nobody asked for")

// Forward answers r, whose context is ctx in place of its own, with what the backend
// answers. An answer that cannot be brought to its end is cut: it panics with
// [http.ErrAbortHandler], as [httputil.ReverseProxy] does.
func (f Forwarder) Forward(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if _, asked := r.Header["Upgrade"]; asked {
		f.Plain.ServeHTTP(w, r.WithContext(ctx))
		return
	}
	out := f.outgoing(ctx, r)
	if out.Body != nil {
		defer out.Body.Close()
	}
	res, err := f.Plain.Transport.RoundTrip(out)
	if err != nil {
		f.Plain.ErrorHandler(w, out, err)
		return
	}
	if err := f.modify(res); err != nil {
		_ = res.Body.Close() // the first error is the one to tell
		f.Plain.ErrorHandler(w, out, err)
		return
	}
	announced := begin(w, res)
	if err := f.copyBody(ctx, w, res); err != nil {
		_ = res.Body.Close()
		panic(http.ErrAbortHandler) // nothing else tells the client that this was not the end
	}
	_ = res.Body.Close() // has come to its end
	trail(w, res.Trailer, announced)
}

// outgoing makes the request that the backend gets of r.
func (f Forwarder) outgoing(ctx context.Context, r *http.Request) *http.Request {
	out := r.WithContext(ctx)
	at := *r.URL
	out.URL, out.Header, out.Close = &at, endToEnd(r.Header), false
	if r.ContentLength == 0 {
		out.Body = nil // or nobody could tell that there is none
	} else if r.Body != nil {
		out.Body = &lentBody{of: r.Body}
	}
	f.Plain.Rewrite(&httputil.ProxyRequest{In: r, Out: out})
	if _, given := out.Header["User-Agent"]; !given {
		out.Header["User-Agent"] = noAgent // or the transport would write its own
	}
	return out
}

// What is shared by requests, and never written into.
var (
	noAgent     = []string{""}
	onlyTrailer = []string{"trailers"}
)

// roomForOurs is how many headers are set besides those of the client's.
const roomForOurs = 12

// endToEnd returns the headers of a client that go on to the backend: none that is about
// the connection to the client (RFC 9110 section 7.6.1), none that the client says is,
// and nothing of what a proxy says about where a request came from.
func endToEnd(in http.Header) http.Header {
	out := make(http.Header, len(in)+roomForOurs)
	for name, values := range in {
		if !hop(name) && !forwarding(name) {
			out[name] = values
		}
	}
	withoutNamed(out, in["Connection"])
	if httpguts.HeaderValuesContainsToken(in["Te"], "trailers") {
		out["Te"] = onlyTrailer
	}
	return out
}

// hop reports whether a header is about one connection alone, whatever that says.
func hop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

func forwarding(name string) bool {
	switch name {
	case "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto":
		return true
	}
	return false
}

// withoutNamed removes what the lines of a Connection header name.
func withoutNamed(h http.Header, lines []string) {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			switch name = textproto.TrimString(name); name {
			case "", "keep-alive": // which no header of h is called
			case "close":
				delete(h, "Close")
			default:
				h.Del(name)
			}
		}
	}
}

// modify takes from an answer what is about the connection to the backend, and has the
// filter look at it.
func (f Forwarder) modify(res *http.Response) error {
	if res.StatusCode == http.StatusSwitchingProtocols {
		if err := f.Plain.ModifyResponse(res); err != nil {
			return err
		}
		return errUnaskedSwitch
	}
	withoutNamed(res.Header, res.Header["Connection"])
	for name := range res.Header {
		if hop(name) {
			delete(res.Header, name)
		}
	}
	return f.Plain.ModifyResponse(res)
}

// begin sends the head of an answer, and returns how many trailers it announces.
func begin(w http.ResponseWriter, res *http.Response) (announced int) {
	h := w.Header()
	for name, values := range res.Header {
		if len(values) == 0 {
			continue
		}
		if name = textproto.CanonicalMIMEHeaderKey(name); h[name] != nil {
			values = append(h[name], values...)
		}
		h[name] = values
	}
	if len(res.Trailer) > 0 {
		names := make([]string, 0, len(res.Trailer))
		for name := range res.Trailer {
			names = append(names, name)
		}
		h.Add("Trailer", strings.Join(names, ", "))
	}
	w.WriteHeader(res.StatusCode)
	return len(res.Trailer)
}

// trail sends the trailers, of which that many were announced in the head.
func trail(w http.ResponseWriter, trailers http.Header, announced int) {
	if len(trailers) == 0 {
		return
	}
	_ = http.NewResponseController(w).Flush() // has it sent in chunks, after which there is room for them
	prefix := ""
	if len(trailers) != announced {
		prefix = http.TrailerPrefix
	}
	for name, values := range trailers {
		for _, value := range values {
			w.Header().Add(prefix+name, value)
		}
	}
}

// errLent is read from a body that was asked for after its request has ended.
var errLent = errors.New("read of a request's body after its end")

// lentBody is the body of a client's request in the hands of a transport, which may close
// it, and read it after the request was answered. Neither reaches the client's own.
type lentBody struct {
	of    io.Reader
	ended atomic.Bool
}

// Read implements io.Reader.
func (b *lentBody) Read(p []byte) (int, error) {
	if b.ended.Load() {
		return 0, errLent
	}
	return b.of.Read(p)
}

// Close implements io.Closer.
func (b *lentBody) Close() error {
	b.ended.Store(true)
	return nil
}
