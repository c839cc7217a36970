// Package accesslog writes one line for each decision of the gateway: who, what,
// decided how and why, by which rule, to where, with what result; and one for each
// event that changes what is decided by: sessions that are revoked, configuration,
// keys, certificates, how the process was introduced to Vault. A line is one JSON
// object with field names of the Elastic Common Schema (ECS 8); [Kinds] and [Fields]
// say which.
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

// The decisions. What a policy's verdict is called is one of these.
const (
	DecisionAllow  = "allow"
	DecisionDeny   = "deny"
	DecisionSignIn = "signin"  // nobody is signed in: somebody may, and come back
	DecisionStepUp = "step_up" // somebody is, and has to prove anew who they are
)

// What becomes of a demand for a stronger or a newer sign-on.
const (
	StepUpAsked   = "asked"   // somebody was sent to sign in anew, or told to
	StepUpDone    = "done"    // and has
	StepUpRefused = "refused" // and has not, says the identity provider
)

// Stream is what an exchange is that lasts. It has a line when it begins and one when it
// ends.
type Stream string

// The streams.
const (
	StreamUpgrade Stream = "upgrade" // 101: a WebSocket, or another protocol
	StreamEvents  Stream = "events"  // text/event-stream and its like
	StreamGRPC    Stream = "grpc"    // application/grpc
	StreamLasting Stream = "lasting" // any other answer that goes on for longer than [LastsAfter]
)

// LastsAfter is how long an answer may go on without being a stream. One that sends
// nothing any more by then has its one line, whenever it ends.
const LastsAfter = 30 * time.Second

// Record is one line. Fields that are empty are left out, except those that
// every line has. It is filled by one goroutine while a request is served.
type Record struct {
	Time      time.Time     // "@timestamp": when the request arrived
	Duration  time.Duration // "event.duration", nanoseconds until the last byte
	RequestID string        // "http.request.id": also on every page a person sees

	// TraceID is "trace.id", the id of the trace that the request belongs to, and SpanID
	// "span.id", that of its span, if that is sent to a collector: 32 and 16 digits.
	TraceID, SpanID string

	Action   Action // "event.action"
	Decision string // "sallyport.decision": one of the decisions
	Reason   string // "event.reason": a stable code, never text of a client
	Rule     string // "rule.name": what in the policy decided

	User      string   // "user.name"
	Groups    []string // "user.roles": the groups that the session has
	SessionID string   // "sallyport.session.id": keyed hash, joins lines of a session
	SubjectID string   // "sallyport.subject.id": keyed hash of who that is at the identity provider
	IdP       string   // "sallyport.idp": entity id, on sign-in and sign-out lines

	// IdPCertificate is "sallyport.idp_certificate": SHA-256 of the certificate
	// that the sign-on or the logout message was verified with. A stolen key of the identity provider
	// shows nowhere else.
	IdPCertificate string
	// Assertion is "sallyport.assertion.id": keyed hash of the id of the assertion that the
	// backend was sent, or that a sign-on was verified with.
	Assertion string
	// StepUp is "sallyport.step_up": what has become of a demand for another sign-on; one
	// of the step-ups.
	StepUp string

	Route    string // "sallyport.route"
	Method   string // "http.request.method"
	Host     string // "url.domain": the host asked for
	Path     string // "url.path"
	Query    string // "url.query": only the keys that the operator allows
	Protocol string // "http.version"

	Status        int           // "http.response.status_code"
	BytesIn       int64         // "http.request.body.bytes"
	BytesOut      int64         // "http.response.body.bytes"
	Stream        Stream        // "sallyport.stream": what goes on for long; empty for what does not
	Upstream      string        // "server.address": where it was forwarded to
	Attempts      int           // "sallyport.upstream.attempts": how often it was sent there or elsewhere, if more than once
	UpstreamTime  time.Duration // "sallyport.upstream.duration": until its first byte
	ClientAddress string        // "client.address"
	ClientPort    string        // "client.port"
	Proxy         string        // "source.address": the trusted proxy that passed the request on
	TLSVersion    string        // "tls.version"
	UserAgent     string        // "user_agent.original"

	// The serial numbers of certificates, as Vault writes them: the client's, if it has
	// shown any; and of the connection that the request was forwarded on, the one that we
	// have shown and the one that we were shown.
	ClientSerial   string // "tls.client.x509.serial_number"
	OwnSerial      string // "sallyport.upstream.client_serial"
	UpstreamSerial string // "sallyport.upstream.server_serial"

	// Via is "sallyport.via": how it was asked, if not by the client's own request to
	// us, and Peer is "sallyport.peer": who has asked.
	Via, Peer string

	// Cause is the private side of an error ("error.message"); people see the
	// request id instead.
	Cause string

	// Event is what the line is about if that is no request: of the above it then has
	// Time and Action alone. Nil for a request.
	Event *Event

	// known are further names of the person, which no line has in clear if names are
	// pseudonyms.
	known [2]string
	// fold is whose refusals are counted together; see Fold.
	fold string
}

// Knows notes how the person is called besides: an address, a name for display. Neither
// is written; where a cause has them, a pseudonym takes their place.
func (r *Record) Knows(email, name string) { r.known = [2]string{email, name} }
