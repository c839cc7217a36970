package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const pagesOfIdPs = "../docs/idp"

// TestPresetsAreWhatTheirPagesSay holds the names of each preset against the page
// with the steps that make the product send them.
func TestPresetsAreWhatTheirPagesSay(t *testing.T) {
	index := string(read(t, filepath.Join(pagesOfIdPs, "README.md")))
	for _, p := range presets {
		text := string(read(t, filepath.Join(pagesOfIdPs, p.name+".md")))
		for _, name := range slices.Concat(p.User, p.Email, p.Name, p.Groups) {
			if !strings.Contains(text, "`"+name+"`") {
				t.Errorf("the page of %s has no `%s`", p.name, name)
			}
		}
		if !strings.Contains(text, "preset: "+p.name+"\n") {
			t.Errorf("the page of %s does not show its preset", p.name)
		}
		if lines := strings.Count(text, "\n"); lines > 90 {
			t.Errorf("the page of %s has %d lines, want at most 90", p.name, lines)
		}
		if !strings.Contains(index, "]("+p.name+".md)") {
			t.Errorf("the index does not name the page of %s", p.name)
		}
	}
}

// TestExamplesOnThePagesOfIdPsAreTrue loads every configuration that they show.
func TestExamplesOnThePagesOfIdPsAreTrue(t *testing.T) {
	files, err := os.ReadDir(pagesOfIdPs)
	if err != nil || len(files) != len(presets)+1 {
		t.Fatalf("%d pages, want one of each preset and an index (%v)", len(files), err)
	}
	for _, file := range files {
		blocks := fence.FindAllStringSubmatch(string(read(t, filepath.Join(pagesOfIdPs, file.Name()))), -1)
		if len(blocks) == 0 {
			t.Errorf("%s shows no configuration", file.Name())
		}
		for _, block := range blocks {
			text := "door: {host: door.example.com}\n" + block[2]
			if !strings.Contains(text, "\nroutes:") {
				text += "routes: [{name: a, host: a.example.com, backend: {url: 'https://a'}, allow: {any_signed_in: true}}]\n"
			}
			if gateway, err := LoadGateway(file.Name(), []byte(text)); err != nil {
				t.Error(err)
			} else if warnings := gateway.Warnings(); len(warnings) > 0 {
				t.Errorf("%s: %q", file.Name(), warnings)
			}
		}
	}
}

func TestAPresetGivesWayKeyByKey(t *testing.T) {
	entra, _ := presetOf("entra")
	keycloak, _ := presetOf("keycloak")
	for name, tt := range map[string]struct {
		saml string
		want Attributes
	}{
		"none":               {"{}", defaultAttributes()},
		"of all":             {"{preset: entra}", entra},
		"beside a list":      {"{preset: entra, attributes: {email: [x]}}", Attributes{entra.User, []string{"x"}, entra.Name, entra.Groups}},
		"beside no names":    {"{preset: entra, attributes: {groups: []}}", Attributes{entra.User, entra.Email, entra.Name, []string{}}},
		"of one":             {"{preset: entra, idps: [{name: a, preset: keycloak}]}", keycloak},
		"inherited":          {"{preset: entra, idps: [{name: a}]}", entra},
		"of one with a list": {"{attributes: {user: [y], name: [z]}, idps: [{name: a, preset: keycloak, attributes: {name: [w]}}]}", Attributes{keycloak.User, keycloak.Email, []string{"w"}, keycloak.Groups}},
		"list by list":       {"{attributes: {user: [y], groups: [g]}, idps: [{name: a, attributes: {groups: []}}]}", Attributes{[]string{"y"}, defaultAttributes().Email, defaultAttributes().Name, []string{}}},
	} {
		t.Run(name, func(t *testing.T) {
			gateway, err := LoadGateway("f", []byte("door: {host: door}\nsaml: "+tt.saml+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, gateway.SAML.Providers()[0].Attributes); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPresetsAreNotShared(t *testing.T) {
	first, _ := presetOf("okta")
	first.User[0] = "changed"
	if second, _ := presetOf("okta"); second.User[0] == "changed" {
		t.Error("changing what was returned changed the preset")
	}
}
