package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Identity says what a tool is told of a person, under which names, and what it is
// shown besides.
type Identity struct {
	// Headers are the sets of header names that are used at once: "x-forwarded", "remote",
	// "webauth", "authentik". Default "x-forwarded". Empty for none.
	Headers []string `yaml:"headers"`
	// Custom are names beside those of Headers.
	Custom CustomHeaders `yaml:"custom"`
	// GroupSeparator is what joins the groups: "comma", "pipe", "semicolon", or "lines"
	// for a header line each. Default "auto": as the tools of each of Headers expect it,
	// and a comma for Custom.
	GroupSeparator string `yaml:"group_separator"`
	// NonASCII says what becomes of characters that are not visible ASCII:
	// "percent_encode", or "refuse" the request. Default "percent_encode".
	NonASCII string `yaml:"non_ascii"`
	// UnsafeUTF8 writes letters of other alphabets as they are, in place of NonASCII.
	// Default false.
	UnsafeUTF8 bool `yaml:"unsafe_utf8"`
	// ReleaseGroups are the groups that the tool is told of: "policy" for those that the
	// route's rules name, or "all". Default "policy".
	ReleaseGroups string `yaml:"release_groups"`
	// MoreGroups are released besides, if the person is in them. Default none.
	MoreGroups []string `yaml:"more_groups"`
	// Credentials is what the tool is shown in Authorization.
	Credentials Credentials `yaml:"credentials"`
}

// CustomHeaders are names of headers that a tool knows. Each is "none" by default.
type CustomHeaders struct {
	// User is the name that policy and the access log use.
	User string `yaml:"user"`
	// Email is the e-mail address.
	Email string `yaml:"email"`
	// Name is the display name.
	Name string `yaml:"name"`
	// Groups are the groups.
	Groups string `yaml:"groups"`
}

// Credentials are what every request shows to the tool in Authorization, from a secret
// in Vault. At most one of them is used.
type Credentials struct {
	// Basic is a user name and a password.
	Basic BasicCredential `yaml:"basic"`
	// Bearer is a token.
	Bearer BearerCredential `yaml:"bearer"`
}

// BasicCredential is a user name and a password in a secret.
type BasicCredential struct {
	// Path is the secret's path in vault.kv_mount. Default "none".
	Path string `yaml:"path"`
	// UsernameField and PasswordField are its fields. Default "username" and "password".
	UsernameField string `yaml:"username_field"`
	PasswordField string `yaml:"password_field"`
}

// BearerCredential is a token in a secret.
type BearerCredential struct {
	// Path is the secret's path in vault.kv_mount. Default "none".
	Path string `yaml:"path"`
	// Field is its field. Default "token".
	Field string `yaml:"field"`
}

// On says whether b is used.
func (b BasicCredential) On() bool { return b.Path != "" && b.Path != none }

// On says whether b is used.
func (b BearerCredential) On() bool { return b.Path != "" && b.Path != none }

// Path returns the path of the secret that is used, empty if none is.
func (c Credentials) Path() string {
	switch {
	case c.Basic.On():
		return c.Basic.Path
	case c.Bearer.On():
		return c.Bearer.Path
	}
	return ""
}

// CredentialPaths returns the paths of the secrets that routes show to their tools, each
// once, in the order of the routes.
func (g *Gateway) CredentialPaths() []string {
	var paths []string
	for _, route := range g.Routes {
		if path := route.Identity.Credentials.Path(); path != "" && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths
}

// Words of the file.
const (
	headersStandard = "x-forwarded"
	separatorAuto   = "auto"
	encodePercent   = "percent_encode"
	encodeRefuse    = "refuse"
	releasePolicy   = "policy"
	releaseAll      = "all"
)

var (
	headerSets = [...]string{headersStandard, "remote", "webauth", "authentik"}
	separators = [...]string{separatorAuto, "comma", "pipe", "semicolon", "lines"}
	nonASCII   = [...]string{encodePercent, encodeRefuse}
	releases   = [...]string{releasePolicy, releaseAll}
)

// Separator returns the sign that joins the groups, "lines" for a line each, and "" where
// each set of headers has its own.
func (i Identity) Separator() string {
	switch i.GroupSeparator {
	case "comma":
		return ","
	case "pipe":
		return "|"
	case "semicolon":
		return ";"
	case "lines":
		return "lines"
	}
	return ""
}

// RefuseNonASCII says whether somebody is refused whose name cannot stand as it is.
func (i Identity) RefuseNonASCII() bool { return i.NonASCII == encodeRefuse }

// AllGroups says whether every group is released.
func (i Identity) AllGroups() bool { return i.ReleaseGroups == releaseAll }

// Header returns the name that c has for it, empty for none.
func (c CustomHeaders) Header(name string) string {
	if name == none {
		return ""
	}
	return name
}

// all returns the names that are given, with their keys.
func (c CustomHeaders) all() []struct{ key, name string } {
	return slices.DeleteFunc([]struct{ key, name string }{
		{"user", c.User}, {"email", c.Email}, {"name", c.Name}, {"groups", c.Groups},
	}, func(given struct{ key, name string }) bool { return given.name == none })
}

func (i *Identity) setDefaults() {
	*i = Identity{
		Headers: []string{headersStandard}, Custom: CustomHeaders{User: none, Email: none, Name: none, Groups: none},
		GroupSeparator: separatorAuto, NonASCII: encodePercent, ReleaseGroups: releasePolicy,
		Credentials: Credentials{
			Basic:  BasicCredential{Path: none, UsernameField: "username", PasswordField: "password"},
			Bearer: BearerCredential{Path: none, Field: "token"},
		},
	}
}

// identity reports what is wrong with the identity section of a route.
func (c *collector) identity(at string, route Route) {
	i := route.Identity
	for n, name := range i.Headers {
		c.oneOf(entry(join(at, "headers"), n), name, headerSets[:])
	}
	c.texts(join(at, "headers"), i.Headers, func(string) string { return "" })
	c.customHeaders(join(at, "custom"), i)
	c.oneOf(join(at, "group_separator"), i.GroupSeparator, separators[:])
	c.oneOf(join(at, "non_ascii"), i.NonASCII, nonASCII[:])
	if i.UnsafeUTF8 && i.RefuseNonASCII() {
		c.add(join(at, "unsafe_utf8"), "true beside non_ascii: refuse", "one or the other")
	}
	c.oneOf(join(at, "release_groups"), i.ReleaseGroups, releases[:])
	if i.AllGroups() && len(i.MoreGroups) > 0 {
		c.add(join(at, "more_groups"), "groups beside release_groups: all", "one or the other")
	}
	c.texts(join(at, "more_groups"), i.MoreGroups, judgeMember)
	c.credentials(join(at, "credentials"), route)
}

// customHeaders reports names that a route cannot set, or sets already.
func (c *collector) customHeaders(at string, i Identity) {
	taken := map[string]string{}
	for _, set := range i.Headers {
		for _, name := range namesOfSets[set] {
			taken[name] = "headers has it in " + set
		}
	}
	for _, custom := range i.Custom.all() {
		folded := strings.ToLower(custom.name)
		if expected := judgeIdentityHeader(custom.name); expected != "" {
			c.refuse(join(at, custom.key), expected)
		} else if owner := taken[folded]; owner != "" {
			c.refuse(join(at, custom.key), "a name of its own; "+owner)
		}
		taken[folded] = "custom." + custom.key + " is the same"
	}
}

// credentials reports what cannot be shown in Authorization.
func (c *collector) credentials(at string, route Route) {
	basic, bearer := route.Identity.Credentials.Basic, route.Identity.Credentials.Bearer
	c.mount(join(at, "basic.path"), basic.Path)
	c.mount(join(at, "bearer.path"), bearer.Path)
	for _, field := range []struct{ key, name string }{
		{"basic.username_field", basic.UsernameField}, {"basic.password_field", basic.PasswordField}, {"bearer.field", bearer.Field},
	} {
		if len(field.name) > maxVaultField || !vaultField.MatchString(field.name) {
			c.refuse(join(at, field.key), "the name of a field of the secret, made of letters, digits and _ . -")
		}
	}
	for _, of := range []string{"basic", "bearer"} {
		if at := join(at, of); c.isGiven(at) && !c.isGiven(join(at, "path")) && !c.faultyBelow(at) {
			c.refuse(join(at, "path"), "the path of a secret in vault.kv_mount: without it nothing is shown to the tool")
		}
	}
	if basic.On() && bearer.On() {
		c.add(join(at, "bearer.path"), "a path beside basic.path", "one of them: there is one Authorization")
	}
	if path := route.Identity.Credentials.Path(); path != "" && route.PassAuthorization {
		c.add(c.given(join(at, "basic.path"), join(at, "bearer.path")), fmt.Sprintf("%q beside pass_authorization", path), "one or the other: the client's own Authorization must not mix with it")
	}
}

// vaultField is the name of a field of a secret, of maxVaultField bytes at most. A pattern
// that counts so far is a hundred times as large.
var vaultField = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

const maxVaultField = 128

// credentialPlaces reports credentials that are where the gateway has secrets of its own:
// whoever may see the one must not be shown the other. owners maps paths to their keys.
func (c *collector) credentialPlaces(g *Gateway, owners map[string]string) {
	for n, route := range g.Routes {
		path := route.Identity.Credentials.Path()
		at := join(entry("routes", n), "identity.credentials")
		at = c.given(join(at, "basic.path"), join(at, "bearer.path"))
		if owner, taken := owners[path]; path != "" && taken {
			c.refuse(at, fmt.Sprintf("a secret of its own; the one at %s is the gateway's", owner))
		}
		if acme := g.Vault.EdgeACME; path != "" && acme.On() && strings.HasPrefix(path+"/", acme.KVPath+"/") {
			c.refuse(at, "a secret outside of vault.edge_acme.kv_path, which the gateway may write")
		}
	}
}
