// Package relay is what both ends of the inner door, gateway and sidecar, do
// with a request that they hand on: refuse what no honest client sends, count it, bound
// its record to its end, and see that nothing slips past the filters on its way there
// or back; have both directions be open at once where that is safe; and cut whoever
// keeps the other side waiting ([Watch]).
//
// It decides nothing and knows no session, no route and no peer; see packages
// proxy and proxy/sidecar.
//
// Hostile input: the bytes of requests and of backends' answers. net/http and
// net/http/httputil parse them; here is what those do not do by themselves:
// interim answers and trailers bypass ModifyResponse, upgrades other than to
// WebSocket would tunnel past every check, a path is written anew when it
// holds a byte that Go would have escaped (RFC 9110, RFC 3986), and a client that
// takes nothing, or sends nothing, may keep an exchange for as long as it likes.
package relay

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// WebSocket is the one protocol that a connection may be upgraded to.
const WebSocket = "websocket"

// Upgrade returns the protocol that r asks to switch to, in lower case, or "".
func Upgrade(r *http.Request) string {
	for _, line := range r.Header["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return strings.ToLower(strings.Join(r.Header["Upgrade"], ","))
			}
		}
	}
	return ""
}

// Retarget makes pr.Out a request to target with the host, the path and the
// query as they came, byte for byte, and without what could carry something
// past the filters: trailers, and upgrades other than to WebSocket. Managed
// headers are the caller's to strip and set.
func Retarget(pr *httputil.ProxyRequest, target *url.URL) {
	out, h := pr.Out, pr.Out.Header
	keepEscapes(out.URL)
	pr.SetURL(target)
	out.Host = pr.In.Host                 // as it came; the gateway has better
	out.URL.RawQuery = pr.In.URL.RawQuery // nothing is decided on the query
	out.Trailer = nil
	delete(h, "Trailer")
	delete(h, "Http2-Settings")
	if Upgrade(pr.In) != WebSocket {
		delete(h, "Upgrade")
		delete(h, "Connection")
	}
}

// keepEscapes has u.EscapedPath return what SentPath does.
func keepEscapes(u *url.URL) {
	if u.RawPath != "" {
		u.RawPath = SentPath(u)
	}
}

// SentPath is the path of u as Retarget has it sent on: to the byte what whoever
// decides by the path has to look at. It keeps "%2F" apart from "/". Go does so by
// itself, but not in a path that also holds a byte which it would have escaped and
// a browser did not, such as "|": it then writes the whole path anew from its
// decoded form. Here only those bytes are escaped, and every other stays as it came.
func SentPath(u *url.URL) string {
	path := u.EscapedPath()
	if u.RawPath == "" || path == u.RawPath {
		return path
	}
	var raw strings.Builder
	for i := range len(u.RawPath) {
		c := u.RawPath[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@[]%/", c) >= 0 {
			raw.WriteByte(c)
		} else {
			fmt.Fprintf(&raw, "%%%02X", c)
		}
	}
	return raw.String()
}

// Buffers lends the buffers that bodies are copied through. The zero value is
// ready, and safe for concurrent use.
type Buffers struct{ pool sync.Pool }

const bufferSize = 64 << 10

// Get implements httputil.BufferPool.
func (b *Buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool.
func (b *Buffers) Put(buf []byte) { b.pool.Put((*[bufferSize]byte)(buf)) }
