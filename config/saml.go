package config

import "time"

// SAML is how the gateway acts as a service provider. What is said here of an
// IdP is said of every one of IdPs that does not say something else itself.
type SAML struct {
	// EntityID is our name towards the IdP, a URI. Default DOOR/saml/metadata,
	// where DOOR is the door's origin.
	EntityID string `yaml:"entity_id"`
	// ClockSkew is how far the IdP's clock may be from ours, either way.
	// Default 3m, at most 5m.
	ClockSkew Duration `yaml:"clock_skew"`
	// OwnMetadata is what our metadata says about us.
	OwnMetadata OwnMetadata `yaml:"own_metadata"`
	// MaxAge is how long ago the person may have authenticated at the IdP
	// (AuthnInstant) when the assertion arrives. Default 0: any time.
	MaxAge Duration `yaml:"max_age"`
	// RequestBinding is how requests go to the IdP: "redirect", "post", or "auto":
	// by redirect if its metadata offers that. Default "auto".
	RequestBinding string `yaml:"request_binding"`
	// NameIDFormat is what requests ask for, a URI. Default: nothing.
	NameIDFormat string `yaml:"name_id_format"`
	// AuthnContext is what every sign-on has to satisfy. Default: nothing.
	AuthnContext AuthnContext `yaml:"authn_context"`
	// PinnedIdPKeys are SHA-256 hashes of public keys (SubjectPublicKeyInfo, DER), in
	// lower-case hex: certificates with them are good beyond their end. Default none.
	PinnedIdPKeys []string `yaml:"pinned_idp_keys"`
	// MetadataURL is where the IdP publishes its metadata: https, fetched at the
	// start and every MetadataRefresh. The document must be signed by the
	// certificate in the field idp_metadata_signer of the SAML secret, unless
	// UnsafeMetadataUnsigned; and be that of the field idp_entity_id, if the secret
	// has one: a federation signs the metadata of many. Default none: the field
	// idp_metadata_xml says it.
	MetadataURL string `yaml:"metadata_url"`
	// MetadataRefresh is how often MetadataURL is fetched; more often if the document
	// has a shorter cacheDuration. Default 1h, 1m to 24h.
	MetadataRefresh Duration `yaml:"metadata_refresh"`
	// MetadataCAFile is a PEM file with the CAs that are trusted for
	// MetadataURL. Default: the public ones.
	MetadataCAFile string `yaml:"metadata_ca_file"`
	// UnsafeMetadataUnsigned takes what MetadataURL answers without a signature:
	// whoever can answer in its place can then sign in as anybody. Default false.
	UnsafeMetadataUnsigned bool `yaml:"unsafe_metadata_unsigned"`
	// Preset names a product whose attribute names stand in for the defaults of
	// Attributes. Default none.
	Preset string `yaml:"preset"`
	// Attributes says which attributes describe a person.
	Attributes Attributes `yaml:"attributes"`
	// IdPs are the identity providers, in the order of the chooser. Default: one
	// with the name "idp", which is as this section says. See [SAML.Providers].
	IdPs []IdP `yaml:"idps"`
}

// IdP is one identity provider. A key that is left out, and that SAML has too, is
// as it is there.
type IdP struct {
	// Name identifies it in logs, metrics and routes, and is part of the names of
	// its fields in the SAML secret: idp_metadata_xml_NAME, but plain
	// idp_metadata_xml for "idp". Like a route's. Required, unique.
	Name string `yaml:"name"`
	// Title is what people read in the chooser. Default: the name in its metadata.
	Title string `yaml:"title"`
	// EntityID is which entity of the metadata it is, byte for byte; a document with
	// several is refused without. Default: the only one.
	EntityID string `yaml:"idp_entity_id"`
	// UserDomains are the e-mail domains that it may speak for: user names and e-mail
	// addresses of others are refused. Required beside another IdP, and no two have
	// the same.
	UserDomains []Host `yaml:"user_domains"`
	// UnsafeAnyUserDomain lets it speak for everybody beside another IdP.
	UnsafeAnyUserDomain bool `yaml:"unsafe_any_user_domain"`
	// HintDomains are those by which the chooser knows whose it is. Default:
	// UserDomains.
	HintDomains []Host `yaml:"hint_domains"`
	// UnsafeUnsolicitedLanding lets it begin sign-ons itself, which lead to this
	// address of the door or of a tool. Default: it may not.
	UnsafeUnsolicitedLanding string `yaml:"unsafe_unsolicited_landing"`

	// These are as in SAML.
	MaxAge                 Duration     `yaml:"max_age"`
	RequestBinding         string       `yaml:"request_binding"`
	NameIDFormat           string       `yaml:"name_id_format"`
	AuthnContext           AuthnContext `yaml:"authn_context"`
	PinnedIdPKeys          []string     `yaml:"pinned_idp_keys"`
	MetadataURL            string       `yaml:"metadata_url"`
	MetadataRefresh        Duration     `yaml:"metadata_refresh"`
	MetadataCAFile         string       `yaml:"metadata_ca_file"`
	UnsafeMetadataUnsigned bool         `yaml:"unsafe_metadata_unsigned"`
	Preset                 string       `yaml:"preset"`
	Attributes             Attributes   `yaml:"attributes"`
}

// OwnMetadata is what our metadata says besides what the protocol needs.
type OwnMetadata struct {
	// DisplayName and Description are what people read at the IdP. Default none.
	DisplayName string `yaml:"display_name"`
	Description string `yaml:"description"`
	// InformationURL is a page about the tools, and PrivacyStatementURL one about what
	// is done with what the IdP says of people; https. Default none.
	InformationURL      string `yaml:"information_url"`
	PrivacyStatementURL string `yaml:"privacy_statement_url"`
	// LogoURL is https; LogoWidth and LogoHeight are in pixels, and go with it.
	// Default none.
	LogoURL    string `yaml:"logo_url"`
	LogoWidth  int    `yaml:"logo_width"`
	LogoHeight int    `yaml:"logo_height"`
	// Organization is who runs the gateway, and OrganizationURL its page; neither
	// goes without the other. Default none.
	Organization    string `yaml:"organization"`
	OrganizationURL string `yaml:"organization_url"`
	// TechnicalContact, SupportContact and SecurityContact are e-mail addresses.
	// Default none.
	TechnicalContact string `yaml:"technical_contact"`
	SupportContact   string `yaml:"support_contact"`
	SecurityContact  string `yaml:"security_contact"`
	// Sign has it signed with our own key. Default false.
	Sign bool `yaml:"sign"`
	// ValidFor is how long it says that it is valid: half of that is left at least.
	// Default 0: for ever; 1h to 8760h.
	ValidFor Duration `yaml:"valid_for"`
}

// ValidFrom is from when the metadata that is made now is valid: the start of a
// period of half of ValidFor, so that it is the same document for as long as
// that, from every replica. Zero if it is valid for ever.
func (m OwnMetadata) ValidFrom(now time.Time) time.Time {
	if m.ValidFor.Duration == 0 {
		return time.Time{}
	}
	return now.UTC().Truncate(m.ValidFor.Duration / 2)
}

// AuthnContext is how people have to prove who they are.
type AuthnContext struct {
	// Classes are authentication context class references, the weakest first; the
	// answer must name one of them. Default: any will do.
	Classes []string `yaml:"classes"`
	// Comparison is "exact", or "minimum": the first of Classes or what the IdP
	// holds to be stronger. Default "exact".
	Comparison string `yaml:"comparison"`
}

// StepUp is what a route demands of how a person has signed on.
type StepUp struct {
	// MaxAge is how long ago they may have proved who they are. Default 0: any time.
	MaxAge Duration `yaml:"max_age"`
	// AuthnContext is how. Default: in any way.
	AuthnContext AuthnContext `yaml:"authn_context"`
}

// Attributes lists, for each property of a person, the names of the SAML
// attributes that may carry it. The first that is present in the assertion
// wins. A list in the file replaces the default list as a whole.
type Attributes struct {
	// User becomes X-Forwarded-User. "name_id" stands for the subject's
	// NameID. Default: the names of Email, then "name_id". Never empty.
	User []string `yaml:"user"`
	// Email becomes X-Forwarded-Email. Default: the usual names of the mail
	// address, then eduPersonPrincipalName.
	Email []string `yaml:"email"`
	// Name is shown to the person and becomes X-Forwarded-Preferred-Username, by
	// which no tool may know people: two may have the same. Default: the usual names
	// of the display name.
	Name []string `yaml:"name"`
	// Groups becomes X-Forwarded-Groups and is what routes allow. Default:
	// the usual names of group membership.
	Groups []string `yaml:"groups"`
}

// Words of the file.
const (
	bindingAuto     = "auto"
	bindingRedirect = "redirect"
	bindingPost     = "post"

	comparisonExact   = "exact"
	comparisonMinimum = "minimum"
)

var (
	bindings    = [...]string{bindingAuto, bindingRedirect, bindingPost}
	comparisons = [...]string{comparisonExact, comparisonMinimum}
)

// DefaultIdP is the name of the identity provider whose fields in the SAML secret
// have plain names.
const DefaultIdP = "idp"

// Redirect says whether requests go by redirect, whatever the metadata offers.
func (p IdP) Redirect() bool { return p.RequestBinding == bindingRedirect }

// Post says whether requests go in a form, whatever the metadata offers.
func (p IdP) Post() bool { return p.RequestBinding == bindingPost }

// Minimum says whether something stronger than the first class will do.
func (a AuthnContext) Minimum() bool { return a.Comparison == comparisonMinimum }

// Providers returns the identity providers, at least one, with every key filled in.
// The caller must not modify the lists in them.
func (s SAML) Providers() []IdP {
	if len(s.IdPs) == 0 {
		return []IdP{s.over(IdP{Name: DefaultIdP})}
	}
	providers := make([]IdP, len(s.IdPs))
	for i, idp := range s.IdPs {
		providers[i] = s.over(idp)
	}
	return providers
}

// over fills in what idp leaves to s.
func (s SAML) over(idp IdP) IdP {
	inherit(&idp.MaxAge, s.MaxAge)
	inherit(&idp.RequestBinding, s.RequestBinding)
	inherit(&idp.NameIDFormat, s.NameIDFormat)
	inherit(&idp.MetadataURL, s.MetadataURL)
	inherit(&idp.MetadataRefresh, s.MetadataRefresh)
	inherit(&idp.MetadataCAFile, s.MetadataCAFile)
	inherit(&idp.UnsafeMetadataUnsigned, s.UnsafeMetadataUnsigned)
	if idp.AuthnContext.Classes == nil {
		idp.AuthnContext = s.AuthnContext
	}
	inherit(&idp.AuthnContext.Comparison, comparisonExact)
	if idp.PinnedIdPKeys == nil {
		idp.PinnedIdPKeys = s.PinnedIdPKeys
	}
	if idp.HintDomains == nil {
		idp.HintDomains = idp.UserDomains
	}
	if preset, ok := presetOf(idp.Preset); ok {
		idp.Attributes = preset.under(idp.Attributes)
	}
	idp.Attributes = s.Attributes.under(idp.Attributes)
	return idp
}

// inherit sets what is not set.
func inherit[T comparable](value *T, from T) {
	var zero T
	if *value == zero {
		*value = from
	}
}

// under returns given, with the lists of a where it has none.
func (a Attributes) under(given Attributes) Attributes {
	for _, list := range []struct {
		given *[]string
		other []string
	}{{&given.User, a.User}, {&given.Email, a.Email}, {&given.Name, a.Name}, {&given.Groups, a.Groups}} {
		if *list.given == nil {
			*list.given = list.other
		}
	}
	return given
}

// usePreset puts the names of the preset in the place of the defaults, key by key.
func (s *SAML) usePreset(isGiven func(path string) bool) {
	preset, ok := presetOf(s.Preset)
	if !ok {
		return
	}
	for _, list := range []struct {
		key  string
		have *[]string
		use  []string
	}{
		{"user", &s.Attributes.User, preset.User},
		{"email", &s.Attributes.Email, preset.Email},
		{"name", &s.Attributes.Name, preset.Name},
		{"groups", &s.Attributes.Groups, preset.Groups},
	} {
		if !isGiven("saml.attributes." + list.key) {
			*list.have = list.use
		}
	}
}

func defaultSAML() SAML {
	return SAML{
		ClockSkew: Duration{3 * time.Minute}, MetadataRefresh: Duration{time.Hour},
		RequestBinding: bindingAuto, AuthnContext: AuthnContext{Comparison: comparisonExact}, Attributes: defaultAttributes(),
	}
}

// defaultAttributes are the names that the IdPs in common use send. An OID
// stands for the attribute of the comment beside it.
func defaultAttributes() Attributes {
	email := func() []string {
		return []string{
			"mail",
			"email",
			"urn:oid:0.9.2342.19200300.100.1.3", // mail
			"urn:oid:1.3.6.1.4.1.5923.1.1.1.6",  // eduPersonPrincipalName
			"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress",
		}
	}
	return Attributes{
		User:  append(email(), nameID),
		Email: email(),
		Name: []string{
			"displayName",
			"urn:oid:2.16.840.1.113730.3.1.241", // displayName
			"cn",
			"urn:oid:2.5.4.3", // cn
			"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
		},
		Groups: []string{
			"groups",
			"memberOf",
			"urn:oid:1.3.6.1.4.1.5923.1.1.1.1", // eduPersonAffiliation
			"urn:oid:1.3.6.1.4.1.5923.1.5.1.1", // isMemberOf
			"http://schemas.microsoft.com/ws/2008/06/identity/claims/groups",
			"http://schemas.xmlsoap.org/claims/Group",
		},
	}
}

// nameID is the name in [Attributes] that is no attribute.
const nameID = "name_id"
