package saml

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Description is what our metadata says about us besides what the protocol needs.
// The zero value says nothing.
type Description struct {
	// DisplayName and Text are what people read at the identity provider, in
	// English (mdui:DisplayName and mdui:Description).
	DisplayName, Text string
	// InformationURL and PrivacyStatementURL are pages for people; https.
	InformationURL, PrivacyStatementURL string
	// LogoURL is https; LogoWidth and LogoHeight are in pixels and go with it.
	LogoURL               string
	LogoWidth, LogoHeight int
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

const (
	nsREFEDS         = "http://refeds.org/metadata"
	minValidFor      = time.Hour // less, and it is over before anybody has fetched it
	maxLogoDimension = 4096
)

// check judges each part and which go together.
func (d *Description) check() error {
	for _, part := range []struct {
		field, value string
		check        func(string) error
	}{
		{"DisplayName", d.DisplayName, checkValue},
		{"Text", d.Text, checkValue},
		{"InformationURL", d.InformationURL, checkWebAddress},
		{"PrivacyStatementURL", d.PrivacyStatementURL, checkWebAddress},
		{"LogoURL", d.LogoURL, checkWebAddress},
		{"Organization", d.Organization, checkValue},
		{"OrganizationURL", d.OrganizationURL, checkWebAddress},
		{"TechnicalContact", d.TechnicalContact, checkContact},
		{"SupportContact", d.SupportContact, checkContact},
		{"SecurityContact", d.SecurityContact, checkContact},
	} {
		if part.value == "" {
			continue
		}
		if err := part.check(part.value); err != nil {
			return fmt.Errorf("description of ourselves: %s %.200q: %w", part.field, part.value, err)
		}
	}
	return d.checkPairs()
}

func (d *Description) checkPairs() error {
	logo := d.LogoURL != ""
	switch {
	case (d.Organization == "") != (d.OrganizationURL == ""):
		return fmt.Errorf("description of ourselves: Organization %.100q with OrganizationURL %.200q: expected both or neither", d.Organization, d.OrganizationURL)
	case logo && (!isDimension(d.LogoWidth) || !isDimension(d.LogoHeight)), !logo && (d.LogoWidth != 0 || d.LogoHeight != 0):
		return fmt.Errorf("description of ourselves: LogoURL %.200q with LogoWidth %d and LogoHeight %d: expected a width and a height of 1 to %d with an address, or none",
			d.LogoURL, d.LogoWidth, d.LogoHeight, maxLogoDimension)
	case d.ValidFor != 0 && d.ValidFor < minValidFor:
		return fmt.Errorf("description of ourselves: ValidFor %s: expected %s or more, or 0 for ever", d.ValidFor, minValidFor)
	case (d.ValidFor == 0) != d.ValidFrom.IsZero():
		return fmt.Errorf("description of ourselves: ValidFor %s with ValidFrom %s: expected both or neither", d.ValidFor, stamp(d.ValidFrom))
	}
	return nil
}

func isDimension(pixels int) bool { return pixels >= 1 && pixels <= maxLogoDimension }

// checkWebAddress wants an address that a browser may be shown.
func checkWebAddress(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || checkURI(s) != nil {
		return errors.New("expected an https address, without user information")
	}
	return nil
}

// checkContact wants an address that a mailto URI can hold as it is.
func checkContact(s string) error {
	if checkValue(s) != nil || checkEmail("", s) != nil || strings.ContainsAny(s, ":?&%#/\\()[]") {
		return errors.New("expected one plain e-mail address, like saml@example.com")
	}
	return nil
}

// addUIInfo writes what people read (sstc-saml-metadata-ui 2.1).
func (d *Description) addUIInfo(role *etree.Element) {
	if cmp.Or(d.DisplayName, d.Text, d.InformationURL, d.PrivacyStatementURL, d.LogoURL) == "" {
		return
	}
	info := role.CreateElement("md:Extensions").CreateElement("mdui:UIInfo")
	info.CreateAttr("xmlns:mdui", nsMDUI)
	addEnglish(info, "mdui:DisplayName", d.DisplayName)
	addEnglish(info, "mdui:Description", d.Text)
	addEnglish(info, "mdui:InformationURL", d.InformationURL)
	addEnglish(info, "mdui:PrivacyStatementURL", d.PrivacyStatementURL)
	if d.LogoURL == "" {
		return
	}
	logo := info.CreateElement("mdui:Logo")
	logo.CreateAttr("height", strconv.Itoa(d.LogoHeight))
	logo.CreateAttr("width", strconv.Itoa(d.LogoWidth))
	logo.SetText(d.LogoURL)
}

// addEnglish adds a text, if there is one.
func addEnglish(parent *etree.Element, tag, text string) {
	if text == "" {
		return
	}
	el := parent.CreateElement(tag)
	el.CreateAttr("xml:lang", "en")
	el.SetText(text)
}

func (d *Description) addOrganization(root *etree.Element) {
	if d.Organization == "" {
		return
	}
	organization := root.CreateElement("md:Organization")
	addEnglish(organization, "md:OrganizationName", d.Organization)
	addEnglish(organization, "md:OrganizationDisplayName", d.Organization)
	addEnglish(organization, "md:OrganizationURL", d.OrganizationURL)
}

// addContacts writes whom to ask. Whom to tell of an incident has no type of its own
// in SAML; federations write it as REFEDS has it, with a name.
func (d *Description) addContacts(root *etree.Element) {
	addContact(root, "technical", d.TechnicalContact)
	addContact(root, "support", d.SupportContact)
	if person := addContact(root, "other", d.SecurityContact); person != nil {
		person.CreateAttr("xmlns:remd", nsREFEDS)
		person.CreateAttr("remd:contactType", nsREFEDS+"/contactType/security")
		name := etree.NewElement("md:GivenName")
		name.SetText("Security")
		person.InsertChildAt(0, name)
	}
}

func addContact(root *etree.Element, kind, address string) *etree.Element {
	if address == "" {
		return nil
	}
	person := root.CreateElement("md:ContactPerson")
	person.CreateAttr("contactType", kind)
	person.CreateElement("md:EmailAddress").SetText("mailto:" + address)
	return person
}
