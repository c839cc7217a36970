package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFaultsStandOnTheirLine uses the forms of YAML in which lines are easily
// miscounted.
func TestFaultsStandOnTheirLine(t *testing.T) {
	cases := map[string]struct {
		text string
		line int
	}{
		"first line":              {"x: 1\n", 1},
		"behind a marker":         {"---\nx: 1\n", 2},
		"behind comments":         {"# one\n\n# two\nx: 1 # three\n", 4},
		"behind a block":          {"saml:\n  entity_id: |\n    https://a\n\n    b\nx: 1\n", 6},
		"behind a folded block":   {"saml:\n  entity_id: >-\n    https://a\n    b\nx: 1\n", 5},
		"behind a quoted value":   {"saml:\n  entity_id: \"https://a\n    b\"\nx: 1\n", 4},
		"in a flow mapping":       {"door: {\n  host: door,\n  x: 1\n}\n", 3},
		"in a list of mappings":   {"routes:\n-\n  name: a\n  x: 1\n", 4},
		"with carriage returns":   {"door:\r\n  host: door\r\nx: 1\r\n", 3},
		"without a final newline": {"door:\n  host: door\nx: 1", 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := LoadGateway("f", []byte(c.text))
			var faults *Faults
			if !errors.As(err, &faults) {
				t.Fatalf("error %v, want faults", err)
			}
			at := slices.IndexFunc(faults.List, func(f Fault) bool { return f.Key == "x" || strings.HasSuffix(f.Key, ".x") })
			if at < 0 || faults.List[at].Line != c.line {
				t.Errorf("want a fault of x on line %d in:\n%v", c.line, err)
			}
		})
	}
}

// TestFilesAtTheBoundsAreLoaded shows that the limits are not one too low.
func TestFilesAtTheBoundsAreLoaded(t *testing.T) {
	head := "door: {host: door.example.com}\n"
	cases := map[string]string{
		"size":   head + strings.Repeat("#"+strings.Repeat("x", 998)+"\n", (maxBytes-len(head))/1000),
		"line":   head + "#" + strings.Repeat("x", maxLineBytes-2) + "\n",
		"tokens": head + strings.Repeat("#\n", maxTokens-8),
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			text += strings.Repeat("\n", map[string]int{"size": maxBytes - len(text)}[name])
			if _, err := LoadGateway("f", []byte(text)); err != nil {
				t.Errorf("refused: %v", err)
			}
		})
	}
	for name, text := range map[string]string{
		"keys at the bound":       strings.Repeat("a: b\n", maxKeys),
		"keys of many mappings":   "routes:\n" + strings.Repeat("- name: a\n", maxKeys+1),
		"keys in many brackets":   "routes: [\n" + strings.Repeat("{name: a},\n", maxKeys+1) + "]\n",
		"keys in and out, by two": strings.Repeat("a:\n  b: c\n", maxKeys),
	} {
		_, err := LoadGateway("f", []byte(text))
		if err == nil || strings.Contains(err.Error(), "a mapping with") {
			t.Errorf("%s: %v, want faults of the keys themselves", name, err)
		}
	}
	_, err := LoadGateway("f", []byte(strings.Repeat("[", maxFlowDepth)+strings.Repeat("]", maxFlowDepth)))
	if err == nil || !strings.Contains(err.Error(), "found a list") {
		t.Errorf("brackets as deep as allowed: %v, want a fault of the value", err)
	}
}

// TestFaultsAreTheSameEachTime loads every bad file again and again: no fault
// may depend on the order of a map.
func TestFaultsAreTheSameEachTime(t *testing.T) {
	for _, k := range kinds() {
		files, err := filepath.Glob(filepath.Join("testdata", k.name, "*.bad.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text := read(t, file)
			_, first := k.load("f", text)
			for range 5 {
				if _, again := k.load("f", text); again == nil || again.Error() != first.Error() {
					t.Fatalf("%s: first\n%v\nthen\n%v", file, first, again)
				}
			}
		}
	}
}

// TestEveryUnsafeKeyIsWarnedOf switches on each key that begins with "unsafe_",
// those included that are added later.
func TestEveryUnsafeKeyIsWarnedOf(t *testing.T) {
	for _, k := range kinds() {
		bare := map[string]string{"gateway": "door: {host: door}", "sidecar": "name: a\napp: http://[::1]:1", "secret-driver": "admin: 127.0.0.1:1"}[k.name]
		found := 0
		k.generate(t).walk("", func(path string, s *schema) {
			section, key, nested := strings.Cut(path, ".")
			if !nested {
				section, key = "", path
			}
			inList := strings.NewReplacer("idps[].", "", "sinks[].syslog.", "").Replace(key)
			if !strings.HasPrefix(inList, "unsafe_") || strings.HasSuffix(key, "[]") {
				return
			}
			found++
			text := bare + "\n" + key + ": true\n"
			switch idpKey, isIdP := strings.CutPrefix(key, "idps[]."); {
			case isIdP:
				value := map[bool]string{true: "https://door/", false: "true"}[idpKey == "unsafe_unsolicited_landing"]
				text = fmt.Sprintf("%s\nsaml: {idps: [{name: a, %s: %s}]}\n", bare, idpKey, value)
				path = "saml.idps[0]." + idpKey
			case strings.HasPrefix(key, "sinks[]."):
				text = fmt.Sprintf("%s\naccess_log: {sinks: [{name: a, syslog: {address: 'a:1', %s: true}, spool: {directory: /a}}]}\n", bare, inList)
				path = "access_log.sinks[0].syslog." + inList
			case s.Type == "array":
				text = fmt.Sprintf("%s\n%s: {%s: [\"192.0.2.1\"]}\n", bare, section, key)
			case section == "routes[]":
				text = fmt.Sprintf("%s\nroutes: [{name: a, host: a, backend: {url: 'https://a'}, %s: true}]\n", bare, key)
				path = "routes[0]." + key
			case nested:
				text = fmt.Sprintf("%s\n%s: {%s: true}\n", bare, section, key)
			}
			loaded, err := k.load("f", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			warnings := loaded.(interface{ Warnings() []string }).Warnings()
			if want := path + ": is on and loosens the guard"; !slices.Contains(warnings, want) {
				t.Errorf("warnings %q, want %q", warnings, want)
			}
		})
		if found == 0 && k.name != "provision" { // which has none yet
			t.Errorf("no unsafe key of the %s was tried", k.name)
		}
	}
}

// TestAFaultLeavesTheDefaultInPlace shows that one fault does not cause others:
// what is validated instead of the refused value is its default.
func TestAFaultLeavesTheDefaultInPlace(t *testing.T) {
	for _, line := range []string{
		"session: {idle: x}", "session: [x]", "listen: {https: [x]}", "vault: {edge_pki: {ttl: x}}", "saml: {attributes: {user: x}}", "stop: x",
	} {
		_, err := LoadGateway("f", []byte("door: {host: door}\n"+line))
		var faults *Faults
		if !errors.As(err, &faults) || len(faults.List) != 1 {
			t.Errorf("%s: %v, want one fault", line, err)
		}
	}
}

// TestLoadingDoesNotKeepTheText lets a caller reuse its buffer.
func TestLoadingDoesNotKeepTheText(t *testing.T) {
	text := []byte("door: {host: door.example.com}\nroutes: [{name: a, host: a.example.com, backend: {url: https://a}, allow: {groups: [g]}}]\n")
	want, err := LoadGateway("f", slices.Clone(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := LoadGateway("f", text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		text[i] = 'X'
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changing the text changed the configuration (-want +got):\n%s", diff)
	}
}

func BenchmarkLoadGateway(b *testing.B) {
	text := []byte(GatewayReference())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := LoadGateway("reference.yaml", text); err != nil {
			b.Fatal(err)
		}
	}
}
