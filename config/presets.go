package config

import "slices"

// claims is how Microsoft's products name attributes.
const claims = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"

// Attributes of eduPerson, LDAP and SAML by the names that they have in SAML
// (X.500/LDAP Attribute Profile).
const (
	oidMail        = "urn:oid:0.9.2342.19200300.100.1.3"
	oidUID         = "urn:oid:0.9.2342.19200300.100.1.1"
	oidCommonName  = "urn:oid:2.5.4.3"
	oidDisplayName = "urn:oid:2.16.840.1.113730.3.1.241"
	oidPrincipal   = "urn:oid:1.3.6.1.4.1.5923.1.1.1.6" // eduPersonPrincipalName
	oidAffiliation = "urn:oid:1.3.6.1.4.1.5923.1.1.1.1" // eduPersonAffiliation
	oidMember      = "urn:oid:1.3.6.1.4.1.5923.1.5.1.1" // isMemberOf
	oidX500Email   = "urn:oid:1.2.840.113549.1.9.1"     // emailAddress
)

// preset is what a product calls the properties of a person. docs/idp has a page
// for each, with what has to be set up there so that these are sent.
type preset struct {
	name string
	Attributes
}

// presets are the products, in the order of the alphabet.
//
// Names of a product's own that a person cannot change themselves come first for
// User: an e-mail address can be somebody else's by tomorrow.
var presets = [...]preset{
	{"adfs", Attributes{
		User:   []string{claims + "upn"},
		Email:  []string{claims + "emailaddress"},
		Name:   []string{claims + "name"},
		Groups: []string{"http://schemas.xmlsoap.org/claims/Group"},
	}},
	{"entra", Attributes{
		User:   []string{claims + "name"}, // the user principal name, in spite of what it is called
		Email:  []string{claims + "emailaddress"},
		Name:   []string{"http://schemas.microsoft.com/identity/claims/displayname"},
		Groups: []string{"http://schemas.microsoft.com/ws/2008/06/identity/claims/groups"},
	}},
	{"google", Attributes{
		User:   []string{nameID},
		Email:  []string{"email"},
		Name:   []string{"name"},
		Groups: []string{"groups"},
	}},
	{"keycloak", Attributes{
		User:   []string{"username"},
		Email:  []string{"email", oidX500Email},
		Name:   []string{"name"},
		Groups: []string{"groups"},
	}},
	{"lemonldap", Attributes{
		User:   []string{"uid"},
		Email:  []string{"mail"},
		Name:   []string{"cn"},
		Groups: []string{"groups"},
	}},
	{"okta", Attributes{
		User:   []string{nameID},
		Email:  []string{"email"},
		Name:   []string{"displayName"},
		Groups: []string{"groups"},
	}},
	{"shibboleth", Attributes{
		User:   []string{oidPrincipal},
		Email:  []string{oidMail},
		Name:   []string{oidDisplayName, oidCommonName},
		Groups: []string{oidMember},
	}},
	{"simplesamlphp", Attributes{
		User:   []string{"uid", oidUID},
		Email:  []string{"mail", oidMail},
		Name:   []string{"displayName", "cn", oidDisplayName, oidCommonName},
		Groups: []string{"groups", "memberOf", "eduPersonAffiliation", oidAffiliation},
	}},
}

// presetNames returns the names of the products.
func presetNames() []string {
	names := make([]string, len(presets))
	for i, p := range presets {
		names[i] = p.name
	}
	return names
}

// presetOf returns the attributes of a product, which the caller owns.
func presetOf(name string) (Attributes, bool) {
	for _, p := range presets {
		if p.name == name {
			return Attributes{
				User: slices.Clone(p.User), Email: slices.Clone(p.Email), Name: slices.Clone(p.Name), Groups: slices.Clone(p.Groups),
			}, true
		}
	}
	return Attributes{}, false
}
