// Package http1 is a client of HTTP/1.1 for a proxy: an http.RoundTripper that asks
// one backend, or a few, again and again over connections that it keeps.
//
// It does what [http.Transport] does in that place and takes less time for it: a
// request without a body is written, and its answer read, by the goroutine that
// asks, with one write and mostly one read. No goroutine stands behind a
// connection, in use or idle. What it leaves out is what a proxy has no use for:
// other proxies, HTTP/2, decompression, Request.Cancel, and trailers of requests,
// which are never sent.
//
// Hostile input: the bytes of backends. An answer is bounded in the size of all its
// heads, in the number of interim ones, and in the time until its head is there;
// its framing (RFC 9112 section 6) is read as strictly as net/http reads it. What a
// backend sends without being asked ends its connection, so that no request is
// answered with what was meant for another. Requests are checked too: no name, value,
// method, host or target of theirs adds a line to what is sent.
package http1
