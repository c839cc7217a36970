package proxy

import (
	"context"

	"github.com/sallyport/sallyport/saml"
)

// IdP is an identity provider that signs people in.
type IdP struct {
	// Name identifies it in configuration, addresses and logs; Title is what people
	// read in the chooser.
	Name, Title string
	// SAML speaks to it.
	SAML ServiceProvider
	// Domains are the e-mail domains, in lower-case, by which the chooser knows whose
	// it is. Nil for none.
	Domains []string
	// Landing is where a sign-on leads that it began itself, without a request of
	// ours: an address of the door's or of a tool's. Empty refuses such sign-ons.
	Landing string
}

// ServiceProvider is the SAML side of the door towards one identity provider;
// *saml.ServiceProvider is one. It is called concurrently.
type ServiceProvider interface {
	// Metadata is our metadata document.
	Metadata() []byte
	// IdP describes the identity provider.
	IdP() saml.IdPInfo
	// Begin makes a request to the identity provider.
	Begin(s saml.SignOn) (saml.Message, error)
	// Verify turns the answer into a principal; its errors are *saml.Refusal.
	Verify(ctx context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error)
	// BeginLogout asks the identity provider to end a session; saml.ErrNoLogout if it
	// cannot be asked.
	BeginLogout(s saml.Subject, sessionIndex, relayState string) (saml.Message, error)
	// VerifyLogoutRequest and VerifyLogoutResponse judge what it sends; their errors
	// are *saml.Refusal.
	VerifyLogoutRequest(ctx context.Context, m saml.LogoutMessage, trace *saml.Trace) (*saml.LogoutRequest, error)
	VerifyLogoutResponse(ctx context.Context, m saml.LogoutMessage, requestID string, trace *saml.Trace) (*saml.LogoutResponse, error)
	// AnswerLogout answers a request of it.
	AnswerLogout(r *saml.LogoutRequest, partial bool) (saml.Message, error)
}
