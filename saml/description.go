package saml

import "time"

// Description is what our metadata says about us besides what the protocol needs.
// The zero value says nothing.
type Description struct {
	// DisplayName and Text are what people read at the identity provider, in
	// English (mdui:DisplayName and mdui:Description).
	DisplayName, Text string
	// InformationURL and LogoURL are https; LogoWidth and LogoHeight are in pixels and
	// go with the latter.
	InformationURL, LogoURL string
	LogoWidth, LogoHeight   int
	// Organization is the name of the company, and OrganizationURL its address;
	// neither goes without the other.
	Organization, OrganizationURL string
	// TechnicalContact, SupportContact and SecurityContact are e-mail addresses.
	TechnicalContact, SupportContact, SecurityContact string
	// ValidFor, if not zero, is how long the metadata says that it is valid, from
	// ValidFrom: a document that changes only when that does.
	ValidFor  time.Duration
	ValidFrom time.Time
	// Signed has the metadata signed with our own key.
	Signed bool
}
