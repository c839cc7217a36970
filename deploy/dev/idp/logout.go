package idp

import (
	"crypto/rand"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
)

// Single logout (saml-profiles 4.4). There is one service provider, so a logout has
// two ends: one of the two asks, the other answers. A message has to be signed.

// logout is one that we have asked the service provider for.
type logout struct{ id string }

// maxLogoutAge is how old a LogoutRequest may be.
const maxLogoutAge = 5 * time.Minute

// serveSLO is the single logout service.
func (p *IdP) serveSLO(w http.ResponseWriter, r *http.Request) {
	m, err := readMessage(r)
	var provider *saml.EntityDescriptor
	if err == nil {
		provider, err = p.provider.get(r.Context())
	}
	var signed []byte
	if err == nil {
		signed, err = m.verify(signers(provider))
	}
	if err != nil {
		p.fail(w, http.StatusBadRequest, "This logout message is not valid; the log of this identity provider says why.", err)
		return
	}
	if m.field == fieldRequest {
		p.takeLogoutRequest(w, r, provider, m, signed)
		return
	}
	p.takeLogoutResponse(w, r, m, signed)
}

// takeLogoutRequest ends the sessions that the service provider wants ended. They are
// found by what it says and not by the cookie, which does not come with a form that
// another site posts.
func (p *IdP) takeLogoutRequest(w http.ResponseWriter, r *http.Request, provider *saml.EntityDescriptor, m incoming, signed []byte) {
	var request saml.LogoutRequest
	err := xml.Unmarshal(signed, &request) //nolint:gosec // G709: the service provider has signed it
	if err == nil {
		err = p.judge(&request, provider)
	}
	to, known := logoutEndpoint(provider)
	if err == nil && !known {
		err = errors.New("the service provider has no SingleLogoutService")
	}
	if err != nil {
		p.fail(w, http.StatusBadRequest, "This logout message is not valid; the log of this identity provider says why.", err)
		return
	}
	ended := p.sessions.removeWhere(func(s session) bool {
		return s.user.Email == request.NameID.Value && (request.SessionIndex == nil || request.SessionIndex.Value == s.index)
	})
	p.log.Info("signed out by the service", "sessions", ended)
	setCookie(w, "", -1)
	if to.ResponseLocation != "" {
		to.Location = to.ResponseLocation
	}
	id, at := "id-"+rand.Text(), p.since() // the same in what is signed and in what is sent
	p.send(w, r, outgoing{field: fieldResponse, relay: m.relay, to: to, element: func(signature *etree.Element) *etree.Element {
		return (&saml.LogoutResponse{
			ID: id, InResponseTo: request.ID, Version: "2.0", IssueInstant: at, Destination: to.Location,
			Issuer: p.issuer(), Signature: signature, Status: saml.Status{StatusCode: saml.StatusCode{Value: saml.StatusSuccess}},
		}).Element()
	}})
}

// judge holds a verified request against who sent it and when.
func (p *IdP) judge(request *saml.LogoutRequest, provider *saml.EntityDescriptor) error {
	age := p.now().Sub(request.IssueInstant)
	switch {
	case request.Issuer == nil || request.Issuer.Value != provider.EntityID:
		return errors.New("the LogoutRequest is not the service provider's")
	case request.Destination != p.saml.LogoutURL.String():
		return fmt.Errorf("the LogoutRequest is for %q", request.Destination)
	case age > maxLogoutAge || age < -maxLogoutAge:
		return fmt.Errorf("the LogoutRequest is of %s", request.IssueInstant)
	case request.NameID == nil:
		return errors.New("the LogoutRequest names nobody")
	}
	return nil
}

// takeLogoutResponse ends a logout that began here.
func (p *IdP) takeLogoutResponse(w http.ResponseWriter, r *http.Request, m incoming, signed []byte) {
	var response saml.LogoutResponse
	err := xml.Unmarshal(signed, &response) //nolint:gosec // G709: the service provider has signed it
	asked, ok := p.logouts.get(m.relay)
	p.logouts.remove(m.relay)
	if err == nil && (!ok || response.InResponseTo != asked.id) {
		err = errors.New("the LogoutResponse answers no request of ours")
	}
	if err != nil {
		p.fail(w, http.StatusBadRequest, "This logout message is not valid; the log of this identity provider says why.", err)
		return
	}
	if status := response.Status.StatusCode.Value; status != saml.StatusSuccess {
		p.log.Warn("the service did not sign out", "status", status)
		p.page(w, http.StatusOK, "signout.html", homePage{Incomplete: true})
		return
	}
	http.Redirect(w, r, "/signout", http.StatusSeeOther)
}

// tellService asks the service provider to end the session that has just ended here,
// and reports whether there is anybody to ask.
func (p *IdP) tellService(w http.ResponseWriter, r *http.Request, ended session) bool {
	provider, err := p.provider.get(r.Context())
	if err != nil {
		p.log.Warn("the service could not be told of a logout", "error", err)
		return false
	}
	to, known := logoutEndpoint(provider)
	if !known {
		return false
	}
	id, at := "id-"+rand.Text(), p.since()
	until := at.Add(maxLogoutAge)
	p.send(w, r, outgoing{field: fieldRequest, relay: p.logouts.put(logout{id}), to: to, element: func(signature *etree.Element) *etree.Element {
		return (&saml.LogoutRequest{
			ID: id, Version: "2.0", IssueInstant: at, NotOnOrAfter: &until, Destination: to.Location,
			Issuer: p.issuer(), Signature: signature,
			NameID:       &saml.NameID{Format: string(saml.EmailAddressNameIDFormat), Value: ended.user.Email, NameQualifier: p.saml.MetadataURL.String(), SPNameQualifier: provider.EntityID},
			SessionIndex: &saml.SessionIndex{Value: ended.index},
		}).Element()
	}})
	return true
}

// logoutEndpoint is where the service provider takes logout messages, the first that
// it names.
func logoutEndpoint(provider *saml.EntityDescriptor) (saml.Endpoint, bool) {
	for _, role := range provider.SPSSODescriptors {
		for _, endpoint := range role.SingleLogoutServices {
			if slices.Contains([]string{saml.HTTPRedirectBinding, saml.HTTPPostBinding}, endpoint.Binding) {
				return endpoint, true
			}
		}
	}
	return saml.Endpoint{}, false
}

func (p *IdP) issuer() *saml.Issuer {
	return &saml.Issuer{Format: "urn:oasis:names:tc:SAML:2.0:nameid-format:entity", Value: p.saml.MetadataURL.String()}
}
