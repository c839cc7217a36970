// Package listen is what stands between a socket and an HTTP server: it learns who
// is really at the other end of a connection, and bounds what connections may cost,
// before a byte of TLS or HTTP is read.
//
// It knows no request, no session and no route; see package proxy.
//
// Hostile input: the first bytes of every connection. Output: a net.Listener whose
// connections say truthfully where they come from.
package listen
