// Package proxy is the edge: HTTP in, HTTP out. It takes every request the same
// way, and each step is one function:
//
//	open record -> hygiene -> route by host -> reserved path? answer it
//	-> who (session) -> may they (policy) -> forward | begin sign-on | keep a form | 401 | 403
//	-> close record: one line
//
// The steps stand in gateway.go in this order. What a step finds out it writes
// into the exchange's record; the line is written once, at the end, whatever
// happened.
//
// What the door does has a file for each part: which identity provider it is
// (idp.go, choose.go), the way there (signon.go) and the answer (answer.go,
// refusedsignon.go); having people prove more than they did (stepup.go), and forms
// that wait for that (keptform.go, keptsend.go); sign-ons that never end
// (circles.go); signing out, begun here (signout.go) or there (slo.go); and what was
// found out about each message, for operators (traces.go).
//
// The package does not know Vault, YAML or where certificates come from: it is
// given service providers, keys and ready tls.Config values. It never parses
// XML.
//
// Hostile input: everything of the request; the backend's answer too, since a
// tool may be broken into. Output: requests to backends that carry our identity
// headers and nobody else's, and answers that carry none of our cookies.
//
// HTTP semantics follow RFC 9110, cookies RFC 6265bis, SAML saml-bindings-2.0.
package proxy
