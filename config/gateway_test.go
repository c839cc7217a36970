package config

import (
	"slices"
	"testing"
)

func TestURLsNameThePublicPortUnlessItIs443(t *testing.T) {
	cases := map[string]struct {
		port              int
		origin, door, acs string
	}{
		"443":  {443, "https://tool.example.com", "https://door.example.com/", "https://door.example.com/saml/acs"},
		"8443": {8443, "https://tool.example.com:8443", "https://door.example.com:8443/", "https://door.example.com:8443/saml/acs"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			gateway := Gateway{Door: Door{Host: "door.example.com", PublicPort: c.port}}
			if got := gateway.Origin("tool.example.com"); got != c.origin {
				t.Errorf("Origin = %s, want %s", got, c.origin)
			}
			if got := gateway.DoorURL(); got != c.door {
				t.Errorf("DoorURL = %s, want %s", got, c.door)
			}
			if got := gateway.ACSURL(); got != c.acs {
				t.Errorf("ACSURL = %s, want %s", got, c.acs)
			}
		})
	}
}

func TestHostsBeginWithTheDoor(t *testing.T) {
	gateway := Gateway{Door: Door{Host: "door"}, Routes: []Route{{Host: "b"}, {Host: "a"}}}
	if got, want := gateway.Hosts(), []string{"door", "b", "a"}; !slices.Equal(got, want) {
		t.Errorf("Hosts = %v, want %v", got, want)
	}
}

func TestDefaultListsAreNotShared(t *testing.T) {
	first, second := defaultGateway(), defaultGateway()
	for _, list := range [][]string{first.SAML.Attributes.User, first.SAML.Attributes.Email, first.SAML.Attributes.Name, first.SAML.Attributes.Groups} {
		list[0] = "changed"
	}
	a := second.SAML.Attributes
	if slices.Contains(slices.Concat(a.User, a.Email, a.Name, a.Groups), "changed") {
		t.Errorf("changing one configuration changed another: %v", a)
	}
	if first.SAML.Attributes.User[1] = "changed"; first.SAML.Attributes.Email[1] == "changed" {
		t.Error("changing the user attributes changed the e-mail attributes")
	}
}

func TestOnlyAnEmptyAllowLetsNobodyIn(t *testing.T) {
	cases := map[string]struct {
		allow Allow
		want  bool
	}{
		"zero":        {Allow{}, true},
		"empty lists": {Allow{Groups: []string{}, Users: []string{}}, true},
		"a group":     {Allow{Groups: []string{"a"}}, false},
		"a user":      {Allow{Users: []string{"a"}}, false},
		"anyone":      {Allow{Anyone: true}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := c.allow.Nobody(); got != c.want {
				t.Errorf("Nobody = %v, want %v", got, c.want)
			}
		})
	}
}
