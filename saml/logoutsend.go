package saml

import (
	"fmt"

	"github.com/beevik/etree"
)

const (
	reasonUser          = "urn:oasis:names:tc:SAML:2.0:logout:user" // a person wants it (saml-core 3.7.3)
	statusResponder     = statusPrefix + "Responder"
	statusPartialLogout = statusPrefix + "PartialLogout"
)

// BeginLogout makes the request that ends a session at the identity provider. The
// subject and the index are those of the [Principal] who signed on; without an
// index, it ends all sessions of the subject. The error wraps [ErrNoLogout] if the
// identity provider takes none, or has given the person no NameID to be asked by.
func (sp *ServiceProvider) BeginLogout(s Subject, sessionIndex, relayState string) (Message, error) {
	binding, to, err := sp.logoutService()
	if err != nil {
		return Message{}, err
	}
	if s.NameID == "" {
		return Message{}, fmt.Errorf("the person has no NameID: %w", ErrNoLogout)
	}
	for _, check := range []error{s.check(), checkValue(sessionIndex), checkRelayState(relayState)} {
		if check != nil {
			return Message{}, fmt.Errorf("beginning a logout: %w", check)
		}
	}
	now := sp.now()
	root := newMessageElement("LogoutRequest", sp.entityID, to.location, now)
	root.CreateAttr("NotOnOrAfter", stamp(now.Add(logoutLifetime)))
	root.CreateAttr("Reason", reasonUser)
	s.appendTo(root)
	if sessionIndex != "" {
		root.CreateElement("samlp:SessionIndex").SetText(sessionIndex)
	}
	return sp.sender.send(root, fieldRequest, binding, to.location, relayState)
}

// appendTo writes the name as the identity provider did, without a word more: some
// take a qualifier that they have not written for another name (saml2int SDP-SP30).
func (s Subject) appendTo(root *etree.Element) {
	name := root.CreateElement("saml:NameID")
	for _, a := range [][2]string{{"Format", s.Format}, {"NameQualifier", s.NameQualifier}, {"SPNameQualifier", s.SPNameQualifier}} {
		if a[1] != "" {
			name.CreateAttr(a[0], a[1])
		}
	}
	name.SetText(s.NameID)
}

// AnswerLogout makes the answer to a request of the identity provider, which goes
// to where its metadata says, whatever the request came by. With partial it says
// that some session may go on. The error wraps [ErrNoLogout] if there is nowhere to
// send it.
//
// That is said with the status Responder: PartialLogout is for whom others were
// to be reached by (saml-core 3.2.2.2), and below Success, where it stands, an
// identity provider that looks at the top alone would take it for a success.
func (sp *ServiceProvider) AnswerLogout(r *LogoutRequest, partial bool) (Message, error) {
	binding, to, err := sp.logoutService()
	if err != nil {
		return Message{}, err
	}
	root := newMessageElement("LogoutResponse", sp.entityID, to.responseLocation, sp.now())
	root.CreateAttr("InResponseTo", r.ID)
	status := root.CreateElement("samlp:Status")
	code := status.CreateElement("samlp:StatusCode")
	code.CreateAttr("Value", statusSuccess)
	if partial {
		code.CreateAttr("Value", statusResponder)
		status.CreateElement("samlp:StatusMessage").SetText("Some sessions could not be ended.")
	}
	return sp.sender.send(root, fieldResponse, binding, to.responseLocation, r.RelayState)
}

// logoutService is where logout messages go, and how: by HTTP-Redirect if that is
// offered, which needs no page in between.
func (sp *ServiceProvider) logoutService() (Binding, endpoint, error) {
	if err := sp.checkFresh(sp.now()); err != nil {
		return 0, endpoint{}, fmt.Errorf("making a logout message: %w", err)
	}
	for _, binding := range []Binding{BindingRedirect, BindingPost} {
		if to, ok := sp.idp.slo[binding]; ok {
			return binding, to, nil
		}
	}
	return 0, endpoint{}, fmt.Errorf("the identity provider has no SingleLogoutService: %w", ErrNoLogout)
}
