package http1

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
)

// encoder makes the head of a request; pooled.
type encoder struct {
	buf   []byte
	lines []line
}

// line is a header.
type line struct {
	name   string
	values []string
}

var encoders = sync.Pool{New: func() any { return &encoder{buf: make([]byte, 0, 2<<10), lines: make([]line, 0, 32)} }}

// keptHead is how large a buffer is kept for other requests.
const keptHead = 32 << 10

func (e *encoder) free() {
	if cap(e.buf) > keptHead {
		return
	}
	clear(e.lines)
	e.buf, e.lines = e.buf[:0], e.lines[:0]
	encoders.Put(e)
}

// encode makes the head of req, whose body has that length, in the order in which
// net/http writes it: with the same bytes for the same request.
func (e *encoder) encode(req *http.Request, length int64) error {
	if err := e.target(req); err != nil {
		return err
	}
	if agent := agentOf(req); agent != "" {
		if err := e.field("User-Agent", agent); err != nil {
			return err
		}
	}
	if req.Close {
		e.buf = append(e.buf, "Connection: close\r\n"...)
	}
	e.framing(req.Method, length)
	for name, values := range req.Header {
		if !framed(name) {
			e.lines = append(e.lines, line{name, values})
		}
	}
	slices.SortFunc(e.lines, func(a, b line) int { return strings.Compare(a.name, b.name) })
	for _, l := range e.lines {
		for _, value := range l.values {
			if err := e.field(l.name, value); err != nil {
				return err
			}
		}
	}
	e.buf = append(e.buf, "\r\n"...)
	return nil
}

// agentOf is the one User-Agent that is sent, as net/http does; empty for none.
func agentOf(req *http.Request) string {
	agent, given := req.Header["User-Agent"]
	switch {
	case !given:
		return "Go-http-client/1.1"
	case len(agent) == 0:
		return ""
	}
	return agent[0]
}

// framed reports whether a header's line is made from elsewhere, or never sent.
func framed(name string) bool {
	switch name {
	case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}

// target writes the request's line and its host.
func (e *encoder) target(req *http.Request) error {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	if !httpguts.ValidHeaderFieldName(method) { // a token too
		return fmt.Errorf("request has method %q, which is none", method)
	}
	uri := req.URL.RequestURI()
	for i := range len(uri) {
		if uri[i] <= ' ' || uri[i] == 0x7f {
			return errors.New("target of the request holds a control or a blank")
		}
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	if !httpguts.ValidHostHeader(host) {
		return fmt.Errorf("request has host %q, which is none", host)
	}
	e.buf = append(e.buf, method...)
	e.buf = append(e.buf, ' ')
	e.buf = append(e.buf, uri...)
	e.buf = append(e.buf, " HTTP/1.1\r\nHost: "...)
	e.buf = append(e.buf, withoutZone(host)...)
	e.buf = append(e.buf, "\r\n"...)
	return nil
}

// withoutZone takes the zone from an IPv6 address, which means something on this
// machine only (RFC 6874 section 4).
func withoutZone(host string) string {
	if !strings.HasPrefix(host, "[") {
		return host
	}
	end := strings.LastIndex(host, "]")
	zone := strings.LastIndex(host[:max(end, 0)], "%")
	if end < 0 || zone < 0 {
		return host
	}
	return host[:zone] + host[end:]
}

// framing writes how the body of a request ends (RFC 9112 section 6.3).
func (e *encoder) framing(method string, length int64) {
	switch {
	case length == unknownLength:
		e.buf = append(e.buf, "Transfer-Encoding: chunked\r\n"...)
	case length > 0 || method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch:
		e.buf = append(e.buf, "Content-Length: "...)
		e.buf = strconv.AppendInt(e.buf, length, 10)
		e.buf = append(e.buf, "\r\n"...)
	}
}

// field writes one line.
func (e *encoder) field(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("request has header %q, which is no name", name)
	}
	if !validValue(value) {
		return fmt.Errorf("request has a value of header %s that is none", name) // it may be a secret
	}
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, ": "...)
	e.buf = append(e.buf, strings.Trim(value, " \t")...)
	e.buf = append(e.buf, "\r\n"...)
	return nil
}
