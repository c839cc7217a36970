package saml

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/beevik/etree"
)

// bindingURIs are the bindings that we can send by. The others would need a way
// from us to the identity provider, which there may not be.
var bindingURIs = map[Binding]string{BindingRedirect: bindingRedirect, BindingPost: bindingPost}

// singleSignOn chooses where requests go, and how. Only what is used must be
// usable: an address for the other binding may be anything.
func singleSignOn(role *etree.Element, want Binding) (Binding, string, error) {
	bindings := []Binding{want}
	if want == BindingAny {
		bindings = []Binding{BindingRedirect, BindingPost}
	}
	for _, binding := range bindings {
		service := firstService(role, "SingleSignOnService", binding)
		if service == nil {
			continue
		}
		location := service.SelectAttrValue("Location", "")
		if err := checkEndpoint(location); err != nil {
			return 0, "", fmt.Errorf("SingleSignOnService %.200q: %w", location, err)
		}
		return binding, location, nil
	}
	if want == BindingAny {
		return 0, "", errors.New("no SingleSignOnService with the HTTP-Redirect or the HTTP-POST binding")
	}
	return 0, "", fmt.Errorf("no SingleSignOnService with the binding %s, which is configured", bindingURIs[want])
}

// singleLogout reads where logout messages go: to the first address for each
// binding. There may be none.
func singleLogout(role *etree.Element) (map[Binding]endpoint, error) {
	services := map[Binding]endpoint{}
	for binding := range bindingURIs {
		service := firstService(role, "SingleLogoutService", binding)
		if service == nil {
			continue
		}
		e := endpoint{location: service.SelectAttrValue("Location", "")}
		e.responseLocation = service.SelectAttrValue("ResponseLocation", e.location)
		for _, location := range []string{e.location, e.responseLocation} {
			if err := checkEndpoint(location); err != nil {
				return nil, fmt.Errorf("SingleLogoutService %.200q: %w", location, err)
			}
		}
		services[binding] = e
	}
	return services, nil
}

// checkElsewhere refuses addresses of our own: what our pages post there would come from
// ourselves, which is what other sites are told apart by.
func (idp *identityProvider) checkElsewhere(acsURL string) error {
	ours := originOf(acsURL)
	addresses := []string{idp.ssoURL}
	for _, e := range idp.slo {
		addresses = append(addresses, e.location, e.responseLocation)
	}
	for _, address := range addresses {
		if originOf(address) == ours {
			return fmt.Errorf("address %.200q is one of our own, expected one of the identity provider's", address)
		}
	}
	return nil
}

// originOf is host and port of an https address that [checkEndpoint] has passed, as
// browsers compare them.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname()) + ":" + cmp.Or(u.Port(), "443")
}

// firstService returns the first service of a kind for a binding, or nil.
func firstService(role *etree.Element, tag string, binding Binding) *etree.Element {
	for _, service := range childrenOf(role, nsMetadata, tag) {
		if service.SelectAttrValue("Binding", "") == bindingURIs[binding] {
			return service
		}
	}
	return nil
}

// checkEndpoint wants an address that a browser may be sent to with a request
// of ours in the query.
func checkEndpoint(location string) error {
	u, err := url.Parse(location)
	switch {
	case err != nil:
		return errors.New("not a URL")
	case u.Scheme != "https":
		return fmt.Errorf("scheme %q, expected https", u.Scheme)
	case u.User != nil:
		return errors.New("it has user information")
	case u.Hostname() == "":
		return errors.New("it has no host")
	case strings.Contains(location, "#"):
		return errors.New("it has a fragment")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("its query cannot be read")
	}
	for _, ours := range []string{"SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature", "SAMLEncoding"} {
		if query.Has(ours) {
			return fmt.Errorf("its query has a %s of its own", ours)
		}
	}
	return nil
}
