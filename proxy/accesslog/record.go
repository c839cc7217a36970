// Package accesslog writes one line for each decision of the gateway: who, what,
// decided how and why, by which rule, to where, with what result. A line is one
// JSON object with field names of the Elastic Common Schema (ECS 8).
//
// Hostile input: nearly every value of a record comes from a client. No value
// forges or splits a line: controls, format characters (bidi overrides, zero
// width) and invalid UTF-8 are escaped, and long values are cut and marked.
// Cookies, bodies, Authorization and query values are never part of a record.
//
// Output: lines on an io.Writer, and the answer whether they can be written;
// the gateway lets nobody in while they cannot.
package accesslog

import "time"

// Action is what a line is about.
type Action string

// The actions.
const (
	ActionAccess      Action = "access"       // a request for a tool
	ActionSignInBegin Action = "signin_begin" // somebody is sent to the identity provider
	ActionSignIn      Action = "signin"       // the identity provider answered
	ActionTicket      Action = "signin_carry" // a sign-on reaches a tool's host
	ActionSignOut     Action = "signout"
	ActionFormKept    Action = "form_kept"  // a form is kept until its sender has signed in
	ActionForm        Action = "form"       // the page from where it is sent, or thrown away
	ActionPortal      Action = "portal"     // the door's own pages
	ActionAuditView   Action = "audit_view" // somebody looks into this very log
	ActionRefused     Action = "refused"
)

// The decisions. What a policy's verdict is called is one of these.
const (
	DecisionAllow  = "allow"
	DecisionDeny   = "deny"
	DecisionSignIn = "signin"  // nobody is signed in: somebody may, and come back
	DecisionStepUp = "step_up" // somebody is, and has to prove anew who they are
)

// Record is one line. Fields that are empty are left out, except those that
// every line has. It is filled by one goroutine while a request is served.
type Record struct {
	Time      time.Time     // "@timestamp": when the request arrived
	Duration  time.Duration // "event.duration", nanoseconds until the last byte
	RequestID string        // "http.request.id": also on every page a person sees

	Action   Action // "event.action"
	Decision string // "sallyport.decision": one of the decisions
	Reason   string // "event.reason": a stable code, never text of a client
	Rule     string // "rule.name": what in the policy decided

	User      string   // "user.name"
	Groups    []string // "user.roles": the groups that the session has
	SessionID string   // "sallyport.session.id": one-way, joins lines of a session
	IdP       string   // "sallyport.idp": entity id, on sign-in and sign-out lines

	// IdPCertificate is "sallyport.idp_certificate": SHA-256 of the certificate
	// that the sign-on or the logout message was verified with. A stolen key of the identity provider
	// shows nowhere else.
	IdPCertificate string

	Route    string // "sallyport.route"
	Method   string // "http.request.method"
	Host     string // "url.domain": the host asked for
	Path     string // "url.path"
	Query    string // "url.query": only the keys that the operator allows
	Protocol string // "http.version"

	Status        int           // "http.response.status_code"
	BytesIn       int64         // "http.request.body.bytes"
	BytesOut      int64         // "http.response.body.bytes"
	Upstream      string        // "server.address": where it was forwarded to
	Attempts      int           // "sallyport.upstream.attempts": how often it was sent there or elsewhere, if more than once
	UpstreamTime  time.Duration // "sallyport.upstream.duration": until its first byte
	ClientAddress string        // "client.address"
	ClientPort    string        // "client.port"
	Proxy         string        // "source.address": the trusted proxy that passed the request on
	TLSVersion    string        // "tls.version"
	UserAgent     string        // "user_agent.original"

	// Via is "sallyport.via": how it was asked, if not by the client's own request to
	// us, and Peer is "sallyport.peer": who has asked.
	Via, Peer string

	// Cause is the private side of an error ("error.message"); people see the
	// request id instead.
	Cause string
}
