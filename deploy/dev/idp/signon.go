package idp

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/crewjam/saml"
)

// serveSSO receives an AuthnRequest. A browser that is known is answered at once;
// any other is sent to the login page, and the request is kept meanwhile: it is
// judged on arrival, since it is too old soon after.
func (p *IdP) serveSSO(w http.ResponseWriter, r *http.Request) {
	request, err := saml.NewIdpAuthnRequest(&p.saml, withoutPort(r))
	if err == nil {
		request.Now = p.now()
		err = p.checkSigned(request)
	}
	if err == nil {
		err = request.Validate()
	}
	if err != nil {
		p.fail(w, http.StatusBadRequest, "This sign-on request is too old, not valid, or from a service provider that is not registered here; the log of this identity provider says which. Go back to the tool and open it again.", err)
		return
	}
	current, known := p.session(r)
	if known && !mustAskAgain(request, current) {
		p.respond(w, request, current)
		return
	}
	id := p.pending.put(pending{
		request: request.RequestBuffer,
		relay:   request.RelayState,
		came:    request.Now,
		service: serviceName(request.ServiceProviderMetadata.EntityID),
	})
	http.Redirect(w, r, "/login?"+url.Values{"request": {id}}.Encode(), http.StatusSeeOther)
}

// checkSigned verifies a request of a provider that signs them, and leaves nothing of
// it but what was signed.
func (p *IdP) checkSigned(request *saml.IdpAuthnRequest) error {
	provider, err := p.provider.get(request.HTTPRequest.Context())
	if err != nil || !signsRequests(provider) {
		return err
	}
	m, err := readMessage(request.HTTPRequest) // whose body has been read already
	if err != nil {
		return err
	}
	request.RequestBuffer, err = m.verify(signers(provider))
	return err
}

// mustAskAgain says whether the provider wants a password younger than its
// request (ForceAuthn, SAML core 3.4.1).
func mustAskAgain(request *saml.IdpAuthnRequest, current session) bool {
	force := request.Request.ForceAuthn
	return force != nil && *force && current.since.Before(request.Request.IssueInstant)
}

// serveContinue answers the request that waited for the password.
func (p *IdP) serveContinue(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("request")
	waiting, ok := p.pending.get(id)
	current, known := p.session(r)
	if !ok || !known {
		p.fail(w, http.StatusBadRequest, "This sign-on has already been used, or it is too old. Go back to the tool and open it again.", nil)
		return
	}
	p.pending.remove(id)
	request := &saml.IdpAuthnRequest{
		IDP: &p.saml, HTTPRequest: withoutPort(r),
		RelayState: waiting.relay, RequestBuffer: waiting.request,
		Now: waiting.came, // it was in time when it came
	}
	if err := request.Validate(); err != nil {
		p.fail(w, http.StatusBadRequest, "The service that you came from has changed. Go back to the tool and open it again.", err)
		return
	}
	request.Now = p.now()
	p.respond(w, request, current)
}

// respond writes the page that posts the signed response to the provider.
func (p *IdP) respond(w http.ResponseWriter, request *saml.IdpAuthnRequest, current session) {
	err := saml.DefaultAssertionMaker{}.MakeAssertion(request, assertionSession(current))
	if err == nil {
		request.Assertion.IssueInstant = request.Now // crewjam takes the machine's clock
		err = p.write(w, request)
	}
	if err != nil {
		p.fail(w, http.StatusInternalServerError, "The answer to this sign-on could not be made.", err)
		return
	}
	current.used.Store(true)
	p.log.Info("signed on", "user", current.user.Name, "service", request.ServiceProviderMetadata.EntityID)
}

func (p *IdP) write(w http.ResponseWriter, request *saml.IdpAuthnRequest) error {
	if err := request.MakeResponse(); err != nil {
		return fmt.Errorf("making the response: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	return request.WriteResponse(w)
}

// assertionSession is what crewjam writes the assertion from. It sends the
// attributes under their OIDs: uid, mail, eduPersonPrincipalName, cn, and the
// groups as eduPersonAffiliation; displayName is added.
func assertionSession(s session) *saml.Session {
	return &saml.Session{
		CreateTime: s.since, ExpireTime: s.since.Add(sessionLife), Index: s.index,
		NameID: s.user.Email, NameIDFormat: string(saml.EmailAddressNameIDFormat),
		UserName: s.user.Name, UserEmail: s.user.Email, UserCommonName: s.user.FullName,
		Groups: s.user.Groups,
		CustomAttributes: []saml.Attribute{{
			FriendlyName: "displayName", Name: "displayName",
			NameFormat: "urn:oasis:names:tc:SAML:2.0:attrname-format:basic",
			Values:     []saml.AttributeValue{{Type: "xs:string", Value: s.user.FullName}},
		}},
	}
}

// since rounds to seconds: SAML instants are compared by people in logs.
func (p *IdP) since() time.Time {
	return p.now().UTC().Truncate(time.Second)
}
