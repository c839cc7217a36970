package saml

import (
	"context"
	"errors"
	"net/http"
)

// ErrNoLogout is returned by [ServiceProvider.BeginLogout] for an identity provider
// that takes no logout messages: only we can be left.
var ErrNoLogout = errors.New("the identity provider has no SingleLogoutService")

// LogoutMessage is a logout message as a browser brought it. Nothing in it has been
// verified. The zero value is not usable; see [ReadLogout].
type LogoutMessage struct {
	// IsRequest says whether it came as a LogoutRequest; else as a LogoutResponse.
	IsRequest bool
	// RelayState is printable ASCII, at most 80 bytes; may be empty.
	RelayState string
	// Issuer is the entity ID that the message gives as its sender's, to choose the
	// [ServiceProvider] that shall judge it. Empty if it gives none.
	Issuer string
}

// LogoutRequest is a verified demand of the identity provider to end sessions.
type LogoutRequest struct {
	ID         string
	RelayState string // to be given back with the answer
	Subject    Subject
	// SessionIndexes are the sessions to end; empty for all of Subject's.
	SessionIndexes []string
}

// LogoutResponse is a verified answer to a LogoutRequest of ours.
type LogoutResponse struct {
	// Partial means that not all of the session's other participants were reached.
	Partial bool
	// Failed means that the identity provider itself has not ended the session;
	// Status is its word for why, for the log.
	Failed bool
	Status string
}

// ReadLogout reads what came to the single logout service: a query (HTTP-Redirect)
// or a form (HTTP-POST). A body that is too large closes the connection. The error
// is a *[Refusal].
func ReadLogout(w http.ResponseWriter, r *http.Request) (LogoutMessage, error) {
	return LogoutMessage{}, refusef(CodeInternal, "logout is not built yet")
}

// VerifyLogoutRequest judges a demand of the identity provider. Each is taken once.
// trace may be nil. The error is a *[Refusal].
func (sp *ServiceProvider) VerifyLogoutRequest(ctx context.Context, m LogoutMessage, trace *Trace) (*LogoutRequest, error) {
	return nil, refusef(CodeInternal, "logout is not built yet")
}

// VerifyLogoutResponse judges the answer to the request with that ID, which this
// browser was given. trace may be nil. The error is a *[Refusal].
func (sp *ServiceProvider) VerifyLogoutResponse(ctx context.Context, m LogoutMessage, requestID string, trace *Trace) (*LogoutResponse, error) {
	return nil, refusef(CodeInternal, "logout is not built yet")
}

// BeginLogout makes the request that ends a session at the identity provider. The
// subject and the index are those of the [Principal] who signed on. The error is
// [ErrNoLogout] if it takes none.
func (sp *ServiceProvider) BeginLogout(s Subject, sessionIndex, relayState string) (Message, error) {
	return Message{}, ErrNoLogout
}

// AnswerLogout makes the answer to a request of the identity provider. With partial
// it says that some session may go on (saml-core 3.7.3.2, PartialLogout). The error
// is [ErrNoLogout] if there is nowhere to send it.
func (sp *ServiceProvider) AnswerLogout(r *LogoutRequest, partial bool) (Message, error) {
	return Message{}, ErrNoLogout
}
