package saml

import (
	"errors"
	"time"

	"github.com/beevik/etree"
)

// requester makes the requests that start a sign-on (saml-core 3.4.1). The message
// is ours: gosaml2 always writes a NameIDPolicy, has one AuthnContext for all
// requests, and makes IDs of 122 random bits.
type requester struct {
	sender           *sender
	entityID, acsURL string
	binding          Binding
	location         string
	nameIDFormat     string       // empty: no policy
	authnContext     AuthnContext // unless a sign-on has its own
	now              func() time.Time
}

func newRequester(cfg *Config, idp *identityProvider, s *sender) *requester {
	return &requester{
		sender: s, entityID: cfg.EntityID, acsURL: cfg.ACSURL, binding: idp.ssoBinding, location: idp.ssoURL,
		nameIDFormat: cfg.NameIDFormat, authnContext: cfg.AuthnContext.clone(), now: cfg.Now,
	}
}

// check judges what a caller asks for.
func (s *SignOn) check() error {
	if err := checkRelayState(s.RelayState); err != nil {
		return err
	}
	if s.ForceAuthn && s.Passive {
		return errors.New("it is to force the person to sign in and to ask nothing: expected one of them at most")
	}
	return s.AuthnContext.check()
}

// begin makes one request.
func (r *requester) begin(s SignOn) (Message, error) {
	return r.sender.send(r.build(s), fieldRequest, r.binding, r.location, s.RelayState)
}

// build writes the request. Attributes and elements that say what the identity
// provider's default is are left out.
func (r *requester) build(s SignOn) *etree.Element {
	root := newMessageElement("AuthnRequest", r.entityID, r.location, r.now())
	if s.ForceAuthn {
		root.CreateAttr("ForceAuthn", "true")
	}
	if s.Passive {
		root.CreateAttr("IsPassive", "true")
	}
	root.CreateAttr("AssertionConsumerServiceURL", r.acsURL)
	root.CreateAttr("ProtocolBinding", bindingPost)
	if r.nameIDFormat != "" {
		policy := root.CreateElement("samlp:NameIDPolicy")
		policy.CreateAttr("Format", r.nameIDFormat)
		policy.CreateAttr("AllowCreate", "true")
	}
	s.AuthnContext.or(r.authnContext).appendTo(root)
	return root
}
