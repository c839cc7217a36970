// Package upstream is how a route's requests reach its tool: which of the tool's
// sidecars is asked, over which connection, what happens when that one does not
// answer, and how it is known which of them are worth asking.
//
// A [Pool] is an http.RoundTripper over the sidecars of one route, each with the
// same pinned name. The way of a request:
//
//	choose one (choose.go) -> send it (transport.go) -> note how it went (member.go)
//	-> safe to send again, and somebody left? choose another (retry.go) | answer
//
// What is known of a sidecar comes from the requests themselves, and from probes
// if they are configured (probe.go). It belongs to the sidecar and not to the
// Pool: a Pool that replaces another takes over the members that are reached in
// the same way, with their connections, their health and what is under way.
//
// Nothing here opens a door: every member is reached over mutual TLS alone, and
// a Pool knows neither sessions nor identity headers. When no member is thought
// well of, one is asked all the same: trying beats refusing.
//
// Hostile input: the answers of sidecars, of which a fault's status and the
// presence of its header are looked at; whoever is signed in may provoke them, so
// that they weigh less than a connection that cannot be made. Repeating requests
// follows RFC 9110 section 9.2.2.
package upstream
