package config

import (
	"fmt"
	"net/mail"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	// SAML core section 8.3.6 limits an entity identifier to so many characters.
	maxEntityID  = 1024
	maxClockSkew = 5 * time.Minute
	minMaxAge    = time.Minute
	maxLogo      = 4096 // pixels
	maxClasses   = 16
)

// keyHash is a SHA-256 hash in lower-case hex.
var keyHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// What is expected of several keys.
const (
	expectedURI  = "an absolute URI of at most 1024 characters, such as "
	expectedName = "an absolute URI of at most 256 characters, such as "
	expectedHTTP = "an https URL, such as "
)

func (c *collector) saml(g *Gateway) {
	s := g.SAML
	// It is empty if there is no door to make it from, which is a fault itself.
	if s.EntityID != "" && !isEntityID(s.EntityID) {
		c.refuse("saml.entity_id", expectedURI+"https://door.example.com/saml/metadata")
	}
	c.within("saml.clock_skew", s.ClockSkew, 0, maxClockSkew)
	c.ownMetadata("saml.own_metadata", s.OwnMetadata)
	c.within("saml.metadata_refresh", s.MetadataRefresh, time.Minute, 24*time.Hour)
	if len(s.Attributes.User) == 0 {
		c.noUser("saml.attributes.user")
	}
	c.product("saml.preset", s.Preset)
	c.signOn("saml", s.over(IdP{}))
	if s.MetadataURL == "" && s.MetadataCAFile != "" && !slices.ContainsFunc(s.IdPs, func(p IdP) bool { return p.MetadataURL != "" }) {
		c.refuse("saml.metadata_ca_file", "saml.metadata_url beside it")
	}
	for i, idp := range s.IdPs {
		c.idp(entry("saml.idps", i), idp, g)
	}
	c.idps(s.IdPs)
}

func (c *collector) noUser(path string) {
	c.add(path, "an empty list", "at least one name: a person without a user name cannot be let in")
}

// signOn judges what the section saml and each of its idps can say.
func (c *collector) signOn(at string, p IdP) {
	c.atLeastAMinute(join(at, "max_age"), p.MaxAge)
	if p.RequestBinding != "" {
		c.oneOf(join(at, "request_binding"), p.RequestBinding, bindings[:])
	}
	if p.NameIDFormat != "" && !isName(p.NameIDFormat) {
		c.refuse(join(at, "name_id_format"), expectedName+"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent")
	}
	c.authnContext(join(at, "authn_context"), p.AuthnContext)
	c.texts(join(at, "pinned_idp_keys"), p.PinnedIdPKeys, func(hash string) string {
		if !keyHash.MatchString(hash) {
			return "64 digits of 0-9 and a-f: the SHA-256 of a public key in DER, as sallyport saml inspect prints it"
		}
		return ""
	})
	if p.MetadataURL != "" && !isHTTPS(p.MetadataURL) {
		c.refuse(join(at, "metadata_url"), expectedHTTP+"https://idp.example.com/metadata")
	}
	if p.MetadataCAFile != "" && (!path.IsAbs(p.MetadataCAFile) || !isPrintable(p.MetadataCAFile)) {
		c.refuse(join(at, "metadata_ca_file"), "an absolute path")
	}
	attributes := join(at, "attributes")
	c.texts(join(attributes, "user"), p.Attributes.User, judgeText)
	c.texts(join(attributes, "email"), p.Attributes.Email, judgeText)
	c.texts(join(attributes, "name"), p.Attributes.Name, judgeText)
	c.texts(join(attributes, "groups"), p.Attributes.Groups, judgeText)
}

// product judges the name of a preset, if there is one.
func (c *collector) product(path, name string) {
	if _, known := presetOf(name); name != "" && !known {
		c.refuse(path, suggest(name, presetNames()))
	}
}

func (c *collector) atLeastAMinute(path string, age Duration) {
	if age.Duration > 0 && age.Duration < minMaxAge {
		c.refuse(path, "at least 1m, or 0s for any age")
	}
}

func (c *collector) authnContext(at string, a AuthnContext) {
	if a.Comparison != "" {
		c.oneOf(join(at, "comparison"), a.Comparison, comparisons[:])
	}
	if a.Minimum() && len(a.Classes) == 0 {
		c.add(join(at, "comparison"), "minimum without classes", "classes beside it, the weakest first")
	}
	if len(a.Classes) > maxClasses {
		c.add(join(at, "classes"), fmt.Sprintf("%d classes", len(a.Classes)), fmt.Sprintf("at most %d", maxClasses))
	}
	c.texts(join(at, "classes"), a.Classes, func(class string) string {
		if !isName(class) {
			return expectedName + "https://refeds.org/profile/mfa"
		}
		return ""
	})
}

// idp judges an entry of idps as it stands in the file.
func (c *collector) idp(at string, p IdP, g *Gateway) {
	if !routeName.MatchString(p.Name) {
		c.refuse(join(at, "name"), "1 to 40 of a-z, 0-9 and hyphens, with no hyphen at either end")
	}
	c.shown(join(at, "title"), p.Title)
	if p.EntityID != "" && !isEntityID(p.EntityID) {
		c.refuse(join(at, "idp_entity_id"), expectedURI+"https://idp.example.com/metadata")
	}
	c.product(join(at, "preset"), p.Preset)
	c.signOn(at, p)
	if p.MetadataRefresh.Duration != 0 {
		c.within(join(at, "metadata_refresh"), p.MetadataRefresh, time.Minute, 24*time.Hour)
	}
	if p.MetadataCAFile != "" && g.SAML.over(p).MetadataURL == "" {
		c.refuse(join(at, "metadata_ca_file"), "metadata_url beside it")
	}
	if p.Attributes.User != nil && len(p.Attributes.User) == 0 {
		c.noUser(join(at, "attributes.user"))
	}
	if p.AuthnContext.Comparison != "" && p.AuthnContext.Classes == nil {
		c.add(join(at, "authn_context.comparison"), "it alone", "classes beside it: the two go together")
	}
	c.signed(join(at, "unsafe_metadata_unsigned"), p, g.SAML)
	c.domains(join(at, "user_domains"), p.UserDomains)
	c.domains(join(at, "hint_domains"), p.HintDomains)
	if p.UnsafeAnyUserDomain && len(p.UserDomains) > 0 {
		c.add(join(at, "unsafe_any_user_domain"), "true beside user_domains", "one or the other")
	}
	if p.UnsafeUnsolicitedLanding != "" && !g.isOurs(p.UnsafeUnsolicitedLanding) {
		c.refuse(join(at, "unsafe_unsolicited_landing"), "an address of the door or of a tool, such as "+g.DoorURL())
	}
}

// signed reports a false that does nothing beside a true for all: whoever wrote it counts
// on a signature that nobody wants.
func (c *collector) signed(at string, p IdP, s SAML) {
	if s.UnsafeMetadataUnsigned && !p.UnsafeMetadataUnsigned && c.isGiven(at) {
		c.add(at, "false beside saml.unsafe_metadata_unsigned: true", "true in saml.idps alone, at each that needs it: what is true for all is true here")
	}
}

// domains reports a list that names a domain twice, or none at all.
func (c *collector) domains(at string, domains []Host) {
	if domains != nil && len(domains) == 0 {
		c.add(at, "an empty list", "at least one domain, such as example.com")
	}
	for i, domain := range domains {
		if first := slices.Index(domains, domain); domain != "" && first < i {
			c.refuse(entry(at, i), fmt.Sprintf("each entry once; %s is the same", entry(at, first)))
		}
	}
}

// idps judges what holds between several: nobody must be two people, depending on
// where they sign in.
func (c *collector) idps(idps []IdP) {
	names, users, hints := map[string]string{}, map[string]string{}, map[string]string{}
	for i, p := range idps {
		at := entry("saml.idps", i)
		c.unique(join(at, "name"), names, p.Name)
		if len(idps) > 1 && len(p.UserDomains) == 0 && !p.UnsafeAnyUserDomain {
			c.refuse(join(at, "user_domains"), "the e-mail domains of its people, since another identity provider could name them too; or unsafe_any_user_domain: true")
		}
		for j, domain := range p.UserDomains {
			if slices.Index(p.UserDomains, domain) == j {
				c.unique(entry(join(at, "user_domains"), j), users, string(domain))
			}
		}
		for j, domain := range p.HintDomains {
			if slices.Index(p.HintDomains, domain) == j {
				c.unique(entry(join(at, "hint_domains"), j), hints, string(domain))
			}
		}
	}
}

// isOurs says whether address is one of the door's or of a route's.
func (g *Gateway) isOurs(address string) bool {
	parsed, err := url.Parse(address)
	if err != nil || !isHTTPS(address) || parsed.Fragment != "" {
		return false
	}
	host := parsed.Hostname()
	return host != "" && "https://"+parsed.Host == g.Origin(Host(host)) && g.covers(host)
}

func isHTTPS(address string) bool {
	parsed, err := url.Parse(address)
	return err == nil && parsed.Scheme == "https" && parsed.Hostname() != "" && parsed.User == nil &&
		parsed.Fragment == "" && len(address) <= maxEntityID && isPrintable(address) && !strings.Contains(address, " ")
}

func isEntityID(id string) bool {
	parsed, err := url.Parse(id)
	return err == nil && parsed.IsAbs() && parsed.Host+parsed.Opaque != "" && parsed.User == nil &&
		len(id) <= maxEntityID && isPrintable(id) && !strings.Contains(id, " ")
}

// isName says whether uri can name a format or a class.
func isName(uri string) bool {
	return isEntityID(uri) && judgeText(uri) == "" && !strings.ContainsAny(uri, `"<>`)
}

// isContact says whether address can stand in a mailto URI as it is.
func isContact(address string) bool {
	parsed, err := mail.ParseAddress(address)
	return err == nil && parsed.Address == address && judgeText(address) == "" && !strings.ContainsAny(address, `:?&%#/\()[]`)
}

func (c *collector) ownMetadata(at string, m OwnMetadata) {
	c.shown(join(at, "display_name"), m.DisplayName)
	c.shown(join(at, "description"), m.Description)
	c.shown(join(at, "organization"), m.Organization)
	for _, page := range [...][2]string{
		{"information_url", m.InformationURL}, {"privacy_statement_url", m.PrivacyStatementURL}, {"logo_url", m.LogoURL}, {"organization_url", m.OrganizationURL},
	} {
		if page[1] != "" && (!isHTTPS(page[1]) || !isName(page[1])) {
			c.refuse(join(at, page[0]), "an https URL of at most 256 characters, such as https://www.example.com/tools")
		}
	}
	for _, contact := range [...][2]string{
		{"technical_contact", m.TechnicalContact}, {"support_contact", m.SupportContact}, {"security_contact", m.SecurityContact},
	} {
		if contact[1] != "" && !isContact(contact[1]) {
			c.refuse(join(at, contact[0]), "a plain e-mail address such as ops@example.com")
		}
	}
	c.together(at, "organization", m.Organization != "", "organization_url", m.OrganizationURL != "")
	c.logo(at, m)
	if m.ValidFor.Duration != 0 {
		c.within(join(at, "valid_for"), m.ValidFor, time.Hour, 365*24*time.Hour)
	}
}

// logo judges the size of the logo, which the schema of mdui demands.
func (c *collector) logo(at string, m OwnMetadata) {
	for _, side := range []struct {
		key    string
		pixels int
	}{{"logo_width", m.LogoWidth}, {"logo_height", m.LogoHeight}} {
		if side.pixels < 0 || side.pixels > maxLogo {
			c.refuse(join(at, side.key), fmt.Sprintf("1 to %d pixels", maxLogo))
		}
		c.together(at, "logo_url", m.LogoURL != "", side.key, side.pixels != 0)
	}
}

// together reports the one of two keys that is missing beside the other.
func (c *collector) together(at, first string, hasFirst bool, second string, hasSecond bool) {
	switch {
	case hasFirst && !hasSecond:
		c.refuse(join(at, second), "a value, beside "+join(at, first))
	case hasSecond && !hasFirst:
		c.refuse(join(at, first), "a value, beside "+join(at, second))
	}
}

// signOnOf judges what a route demands of a sign-on.
func (c *collector) signOnOf(at string, route Route, g *Gateway) {
	c.atLeastAMinute(join(at, "step_up.max_age"), route.StepUp.MaxAge)
	c.authnContext(join(at, "step_up.authn_context"), route.StepUp.AuthnContext)
	if route.IdPs != nil && len(route.IdPs) == 0 {
		c.add(join(at, "idps"), "an empty list", "at least one name; leave the key out for all")
	}
	var names []string
	for _, p := range g.SAML.Providers() {
		names = append(names, p.Name)
	}
	c.texts(join(at, "idps"), route.IdPs, func(name string) string {
		if slices.Contains(names, name) {
			return ""
		}
		return suggest(name, names)
	})
}
