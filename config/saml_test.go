package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOneIdPIsAsTheSectionSays(t *testing.T) {
	gateway, err := LoadGateway("f", []byte(`
door: {host: door}
saml: {max_age: 8h, request_binding: post, metadata_url: "https://idp/m", authn_context: {classes: ["urn:a:b"], comparison: minimum}}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []IdP{{
		Name: DefaultIdP, MaxAge: Duration{8 * time.Hour}, RequestBinding: "post", MetadataURL: "https://idp/m", MetadataRefresh: Duration{time.Hour},
		AuthnContext: AuthnContext{Classes: []string{"urn:a:b"}, Comparison: "minimum"}, Attributes: defaultAttributes(),
	}}
	if diff := cmp.Diff(want, gateway.SAML.Providers()); diff != "" {
		t.Errorf("providers (-want +got):\n%s", diff)
	}
}

func TestAnIdPSaysForItselfWhatItSays(t *testing.T) {
	gateway, err := LoadGateway("f", []byte(`
door: {host: door}
saml:
  max_age: 8h
  metadata_url: https://federation/m
  unsafe_metadata_unsigned: true
  authn_context: {classes: ["urn:a:b"], comparison: minimum}
  idps:
    - {name: a, user_domains: [a.test]}
    - {name: b, user_domains: [b.test], hint_domains: [c.test], max_age: 1h, metadata_url: "https://b/m", authn_context: {classes: []}, pinned_idp_keys: []}
`))
	if err != nil {
		t.Fatal(err)
	}
	rest := IdP{RequestBinding: "auto", MetadataRefresh: Duration{time.Hour}, UnsafeMetadataUnsigned: true, Attributes: defaultAttributes()}
	first, second := rest, rest
	first.Name, first.UserDomains, first.HintDomains = "a", []Host{"a.test"}, []Host{"a.test"}
	first.MaxAge, first.MetadataURL = Duration{8 * time.Hour}, "https://federation/m"
	first.AuthnContext = AuthnContext{Classes: []string{"urn:a:b"}, Comparison: "minimum"}
	second.Name, second.UserDomains, second.HintDomains = "b", []Host{"b.test"}, []Host{"c.test"}
	second.MaxAge, second.MetadataURL, second.PinnedIdPKeys = Duration{time.Hour}, "https://b/m", []string{}
	second.AuthnContext = AuthnContext{Classes: []string{}, Comparison: "exact"}
	if diff := cmp.Diff([]IdP{first, second}, gateway.SAML.Providers()); diff != "" {
		t.Errorf("providers (-want +got):\n%s", diff)
	}
}

// TestAnIdPHasTheKeysOfTheSection holds the keys that stand in both to one another: each
// is of one type, is the section's where the IdP says nothing, and its own where it does.
func TestAnIdPHasTheKeysOfTheSection(t *testing.T) {
	shared := 0
	for _, own := range reflect.VisibleFields(reflect.TypeFor[IdP]()) {
		field, both := reflect.TypeFor[SAML]().FieldByName(own.Name)
		if !both || own.Name == "EntityID" { // ours there, and the identity provider's here
			continue
		}
		shared++
		if own.Type != field.Type || own.Tag != field.Tag {
			t.Errorf("%s is %s %s here and %s %s there", own.Name, own.Type, own.Tag, field.Type, field.Tag)
			continue
		}
		if own.Name == "Preset" { // means the names of attributes, which are as these are; see TestAPresetGivesWayKeyByKey
			continue
		}
		for name, tt := range map[string]struct{ section, idp, want string }{
			"left out": {"urn:section", "", "urn:section"}, "said": {"", "urn:own", "urn:own"}, "said in both": {"urn:section", "urn:own", "urn:own"},
		} {
			section, idp, want := SAML{}, IdP{}, IdP{}
			fill(t, reflect.ValueOf(&section).Elem().FieldByIndex(field.Index), tt.section)
			fill(t, reflect.ValueOf(&idp).Elem().FieldByIndex(own.Index), tt.idp)
			fill(t, reflect.ValueOf(&want).Elem().FieldByIndex(own.Index), tt.want)
			section.IdPs = []IdP{idp}
			got := reflect.ValueOf(section.Providers()[0]).FieldByIndex(own.Index).Interface()
			if diff := cmp.Diff(reflect.ValueOf(want).FieldByIndex(own.Index).Interface(), got); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", own.Name, name, diff)
			}
		}
	}
	if shared != 11 {
		t.Errorf("%d keys stand in both", shared)
	}
}

// fill puts something of s wherever there is room in v; the empty one leaves it as it is.
func fill(t *testing.T, v reflect.Value, s string) {
	t.Helper()
	if s == "" {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(int64(len(s)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0), s)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), s)
		}
	default:
		t.Fatalf("a key of the kind %s", v.Kind())
	}
}

func TestOurMetadataIsTheSameForHalfOfItsValidity(t *testing.T) {
	m := OwnMetadata{ValidFor: Duration{14 * 24 * time.Hour}}
	start := m.ValidFrom(time.Date(2026, 11, 26, 1, 2, 3, 4, time.FixedZone("", 3600)))
	for _, later := range []time.Duration{0, time.Second, 7*24*time.Hour - 1} {
		if got := m.ValidFrom(start.Add(later)); !got.Equal(start) || got.Location() != time.UTC {
			t.Errorf("%s later: valid from %s, want %s", later, got, start)
		}
	}
	if got := m.ValidFrom(start.Add(7 * 24 * time.Hour)); got.Sub(start) != 7*24*time.Hour {
		t.Errorf("half of its validity later: valid from %s, want half of its validity after %s", got, start)
	}
	if got := (OwnMetadata{}).ValidFrom(time.Now()); !got.IsZero() {
		t.Errorf("metadata that is valid for ever: valid from %s", got)
	}
}

func TestNamesWithoutDomainsAreWarnedOf(t *testing.T) {
	for name, tt := range map[string]struct {
		idp  string
		warn bool
	}{
		"a name":                 {"preset: keycloak, user_domains: [b.test]", true},
		"one of several names":   {"preset: simplesamlphp, user_domains: [b.test]", true},
		"a name, any domain":     {"preset: keycloak, unsafe_any_user_domain: true", false},
		"an address by the list": {"preset: keycloak, user_domains: [b.test], attributes: {user: [email]}", false},
		"an address":             {"preset: entra, user_domains: [b.test]", false},
		"the defaults":           {"user_domains: [b.test]", false},
	} {
		gateway, err := LoadGateway("f", []byte("door: {host: door}\nsaml: {idps: [{name: a, user_domains: [a.test]}, {name: b, "+tt.idp+"}]}"))
		if err != nil {
			t.Fatal(err)
		}
		got := slices.ContainsFunc(gateway.Warnings(), func(w string) bool { return strings.HasPrefix(w, "saml.idps[1].user_domains: ") })
		if got != tt.warn {
			t.Errorf("%s: warnings %q", name, gateway.Warnings())
		}
	}
}

func TestGroupsOfAnyIdPAreWarnedOf(t *testing.T) {
	const two = "saml: {idps: [{name: a, user_domains: [a.test]}, {name: b, user_domains: [b.test]}]}\n"
	const want = "routes[0].allow.groups: every identity provider in saml.idps says who is in them; list in routes[0].idps those that this route trusts"
	for name, tt := range map[string]struct {
		text string
		warn bool
	}{
		"groups":                         {two + "routes: [{name: r, host: r, backend: {url: 'https://b'}, allow: {groups: [admins]}}]", true},
		"groups of one":                  {two + "routes: [{name: r, host: r, backend: {url: 'https://b'}, allow: {groups: [admins]}, idps: [a]}]", false},
		"users":                          {two + "routes: [{name: r, host: r, backend: {url: 'https://b'}, allow: {users: [x@a.test]}}]", false},
		"groups, but one to name people": {"routes: [{name: r, host: r, backend: {url: 'https://b'}, allow: {groups: [admins]}}]", false},
	} {
		gateway, err := LoadGateway("f", []byte("door: {host: door}\n"+tt.text))
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(gateway.Warnings(), want); got != tt.warn {
			t.Errorf("%s: warnings %q", name, gateway.Warnings())
		}
	}
}
