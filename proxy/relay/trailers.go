package relay

import (
	"io"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/proxy/header"
)

// SafeTrailers lets through, of the trailers of a backend's answers, what cannot
// change what the filters have decided on (RFC 9110 section 6.5.1): trailers arrive
// after the answer was filtered. They go only to a client that says it takes them
// ("TE: trailers"); one that does not, such as most browsers, is sent none.
//
// net/http stores trailers, announced or not, in the Response that it made, at the
// end of the body. Whoever relays the answer is given a copy, whose trailers are
// there at that end too, and hold what may pass.
type SafeTrailers struct{ Base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t SafeTrailers) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.Base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answered(r.Context())
	filtered := *res
	filtered.Trailer = nil
	delete(filtered.Header, "Trailer")
	if res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified {
		endHere(&filtered)
	} else if mayHaveTrailers(res) && takesTrailers(r.Header) {
		grpc := isGRPC(res.Header)
		filtered.Trailer = announced(res.Trailer, grpc)
		filtered.Body = &trailedBody{ReadCloser: res.Body, from: res, to: &filtered, grpc: grpc}
	}
	return &filtered, nil
}

// endHere ends an answer that never has a body (RFC 9110 sections 15.3.5 and 15.4.5). It
// may say how long that of another would be; over HTTP/2 net/http would then miss one,
// and the answer would look cut.
func endHere(res *http.Response) {
	res.Body.Close()
	res.Body, res.ContentLength = http.NoBody, 0
	delete(res.Header, "Content-Length")
}

// mayHaveTrailers reports whether the framing of res leaves room for trailers. It
// never does for an upgraded connection, whose body is more than a reader.
func mayHaveTrailers(res *http.Response) bool {
	return res.StatusCode != http.StatusSwitchingProtocols && (res.ProtoMajor >= 2 || res.ContentLength < 0)
}

// takesTrailers reports whether a client has said that it reads trailers.
func takesTrailers(h http.Header) bool {
	for _, line := range h["Te"] {
		for coding := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(coding), "trailers") {
				return true
			}
		}
	}
	return false
}

// isGRPC reports whether an answer is one of gRPC, whose outcome is in its trailers.
func isGRPC(h http.Header) bool {
	kind, ok := strings.CutPrefix(strings.ToLower(h.Get("Content-Type")), "application/grpc")
	return ok && (kind == "" || kind[0] == '+' || kind[0] == ';')
}

// announced are the names of trailers to come that may pass, without values, or nil.
func announced(names http.Header, grpc bool) http.Header {
	var kept http.Header
	for name := range names {
		if passes(name, grpc) {
			if kept == nil {
				kept = make(http.Header)
			}
			kept[name] = nil
		}
	}
	return kept
}

// trailedBody moves the trailers that may pass from one Response to another when the
// body has come to its end.
type trailedBody struct {
	io.ReadCloser
	from, to *http.Response
	grpc     bool
}

// Read implements io.Reader.
func (b *trailedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.move()
	}
	return n, err
}

func (b *trailedBody) move() {
	for name, values := range b.from.Trailer {
		if !passes(name, b.grpc) {
			continue
		}
		if b.to.Trailer == nil {
			b.to.Trailer = make(http.Header)
		}
		b.to.Trailer[name] = values
	}
}

// passes reports whether a trailer of this name may pass: with gRPC, whose servers
// say in trailers what they like, all but those that would mean something to a
// client's or a cache's handling of the answer; elsewhere only those that are meant
// for trailers.
func passes(name string, grpc bool) bool {
	if !grpc {
		return plainTrailers[name]
	}
	return !header.Managed(name) && !forbiddenTrailer(name)
}

// plainTrailers describe the body that has come, and nothing else.
var plainTrailers = map[string]bool{"Content-Digest": true, "Repr-Digest": true, "Server-Timing": true}

// forbiddenTrailer reports whether a field of this name is about framing, routing,
// caching, authentication, cookies, or what a browser does with the answer.
func forbiddenTrailer(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "http2-settings",
		"age", "cache-control", "cdn-cache-control", "date", "etag", "expires", "last-modified", "pragma", "surrogate-control", "vary", "warning", "x-cache",
		"accept-ranges", "allow", "link", "location", "refresh", "retry-after", "server", "status",
		"authorization", "www-authenticate", "cookie", "set-cookie", "set-cookie2", "authentication-info",
		"alt-svc", "alt-used", "clear-site-data", "nel", "origin-agent-cluster", "permissions-policy", "referrer-policy",
		"report-to", "reporting-endpoints", "service-worker-allowed", "sourcemap", "speculation-rules", "strict-transport-security",
		"timing-allow-origin", "x-content-type-options", "x-frame-options", "x-xss-protection":
		return true
	}
	for _, prefix := range [...]string{"access-control-", "content-", "cross-origin-", "if-", "proxy-", "sec-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return strings.HasPrefix(name, ":")
}
