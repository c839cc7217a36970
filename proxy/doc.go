// Package proxy is the edge: HTTP in, HTTP out. It takes every request the same
// way, and each step is one function:
//
//	open record -> hygiene, limits -> route by host and path -> reserved path? answer it
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
// So has the way to a tool: where a request goes (hosts.go, paths.go, route.go,
// routes.go), or what answers in place of a tool (ownroute.go); whom it comes from
// (clients.go); what the tool is told of a person (identity.go, vouch.go); handing on
// (forward.go, tobackend.go) to the sidecars that there are (backend.go, upstreams.go);
// and what becomes of the answer (frombackend.go, answers.go), or of one that is none
// (backendfaults.go). How much may be asked, of whom and for how long stands in the
// files limits*.go, idle.go and admission.go. An ingress that passes requests on by
// itself only asks (forwardauth*.go, nginxanswer.go).
//
// Around that: serving and stopping (serve.go, serve3.go, awaited.go), and a Gateway
// that takes the place of another (replace.go).
//
// The package does not know Vault, YAML or where certificates come from: it is
// given service providers, keys and ready tls.Config values. It never parses
// XML.
//
// Hostile input: everything of the request; the backend's answer too, since a
// tool may be broken into; and what an ingress hands on of a request when it asks.
// Output: requests to backends that carry our identity headers and nobody else's, and
// answers that carry none of our cookies.
//
// HTTP semantics follow RFC 9110, cookies RFC 6265bis, SAML saml-bindings-2.0.
package proxy
