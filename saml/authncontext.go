package saml

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// demands reports whether it asks for anything.
func (c AuthnContext) demands() bool { return len(c.Classes) > 0 }

// or returns it, or what there is instead if it asks for nothing.
func (c AuthnContext) or(instead AuthnContext) AuthnContext {
	if c.demands() {
		return c
	}
	return instead
}

func (c AuthnContext) clone() AuthnContext {
	return AuthnContext{Classes: slices.Clone(c.Classes), Minimum: c.Minimum}
}

// check judges what a caller asks for, so that a mistake in writing shows here and
// not as an answer that nobody satisfies.
func (c AuthnContext) check() error {
	switch {
	case c.Minimum && !c.demands():
		return errors.New("a minimum of authentication without a class: expected the weakest that will do, and all that are stronger")
	case len(c.Classes) > maxAuthnClasses:
		return fmt.Errorf("%d classes of authentication, expected at most %d", len(c.Classes), maxAuthnClasses)
	}
	for _, class := range c.Classes {
		if err := checkURI(class); err != nil {
			return fmt.Errorf("class of authentication %.100q: %w", class, err)
		}
	}
	return nil
}

// checkURI wants an absolute URI that survives every collapsing of white space.
func checkURI(s string) error {
	if err := checkValue(s); err != nil {
		return err
	}
	if _, err := url.Parse(s); err != nil || !absoluteURI.MatchString(s) || strings.ContainsAny(s, " \"<>") {
		return errors.New("expected an absolute URI")
	}
	return nil
}

// appendTo writes it into a request (saml-core 3.3.2.2.1). With a minimum, the
// identity provider knows itself what is stronger.
func (c AuthnContext) appendTo(request *etree.Element) {
	if !c.demands() {
		return
	}
	comparison, classes := "exact", c.Classes
	if c.Minimum {
		comparison, classes = "minimum", c.Classes[:1]
	}
	requested := request.CreateElement("samlp:RequestedAuthnContext")
	requested.CreateAttr("Comparison", comparison)
	for _, class := range classes {
		requested.CreateElement("saml:AuthnContextClassRef").SetText(class)
	}
}
