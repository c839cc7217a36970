// Package h2spec has h2spec, a conformance suite for HTTP/2 that others wrote, judge the
// gateway's front beside a plain server of net/http: whatever the one does as RFC 9113
// and RFC 7541 say, the other does too. What net/http itself does otherwise is its own.
//
// Everything is in its test. The gateway runs in the test's process, with the listener
// that the product has, on a real connection; h2spec is a tool of this module, pinned in
// its go.mod.
package h2spec
