// Package proxy is the edge: HTTP in, HTTP out. It takes every request the same
// way, and each step is one function:
//
//	open record -> hygiene -> route by host -> reserved path? answer it
//	-> who (session) -> may they (policy) -> forward | begin sign-on | 401 | 403
//	-> close record: one line
//
// The steps stand in gateway.go in this order. What a step finds out it writes
// into the exchange's record; the line is written once, at the end, whatever
// happened.
//
// The package does not know Vault, YAML or where certificates come from: it is
// given a service provider, keys and ready tls.Config values. It never parses
// XML.
//
// Hostile input: everything of the request; the backend's answer too, since a
// tool may be broken into. Output: requests to backends that carry our identity
// headers and nobody else's, and answers that carry none of our cookies.
//
// HTTP semantics follow RFC 9110, cookies RFC 6265bis, SAML saml-bindings-2.0.
package proxy
