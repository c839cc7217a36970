package interop

import (
	"context"
	"log/slog"
	"net/url"

	"github.com/sallyport/sallyport/deploy/dev/idp"
)

// crewjam is the demo's own identity provider, on crewjam/saml. The crypto is
// crewjam's for sign-on and goxmldsig's for logout.
type crewjam struct {
	*stage
	front   *front
	running *idp.IdP
	door    []byte // its metadata
}

func newCrewjam(s *stage, _ *door) provider {
	return &crewjam{stage: s, front: s.front("crewjam.localhost")}
}

func (p *crewjam) configure(s settings) {
	p.t.Helper()
	base, err := url.Parse(p.front.origin)
	if err != nil {
		p.t.Fatal(err)
	}
	cfg := idp.Config{
		BaseURL: base, Key: keyPair(p.t, s.key).key, Certificate: keyPair(p.t, s.key).cert,
		Provider: func(context.Context) ([]byte, error) { return p.door, nil },
		Users:    idp.DemoUsers(), Log: slog.New(slog.NewTextHandler(p.all.Output(), nil)), Replaces: p.running,
	}
	if s.next != "" {
		cfg.Published = keyPair(p.t, s.next).cert
	}
	p.door = s.door // it encrypts when this has a key for it
	if p.running, err = idp.New(cfg); err != nil {
		p.t.Fatal(err)
	}
	p.front.serve(p.running)
}

func (p *crewjam) describe() []byte {
	p.t.Helper()
	return fetch(p.t, p.client(), p.front.origin+"/metadata")
}

func (p *crewjam) browser(person string) *browser { return p.stage.browser(person, person+"-pw") }

func (p *crewjam) signOut() string { return p.front.origin + "/signout" }

func (p *crewjam) unsolicited() string { return "" }

func (p *crewjam) can() ability {
	return ability{
		signings: []signing{signsBoth}, refusals: true, publishes: true,
		context: "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
	}
}
