package config

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const page = "../docs/configuration.md"

// TestTablesOfKeysAreGenerated holds the tables of the page against the
// structs, the defaults and the references.
func TestTablesOfKeysAreGenerated(t *testing.T) {
	text := string(read(t, page))
	for _, k := range kinds() {
		begin := "<!-- keys of " + k.name + " -->\n"
		before, rest, found := strings.Cut(text, begin)
		_, after, ended := strings.Cut(rest, "<!-- end -->")
		if !found || !ended {
			t.Fatalf("%s has no place for the keys of a %s", page, k.name)
		}
		text = before + begin + k.table(t) + "<!-- end -->" + after
	}
	compareFile(t, page, text)
}

// table renders the keys of a kind in the order of its structs.
func (k kind) table(t *testing.T) string {
	t.Helper()
	root := k.generate(t)
	var rows strings.Builder
	rows.WriteString("| key | default | meaning |\n|---|---|---|\n")
	var visit func(of reflect.Type, s *schema, path string)
	visit = func(of reflect.Type, s *schema, path string) {
		for _, key := range keysOf(of) {
			field, _ := fieldByKey(reflect.New(of).Elem(), key)
			inner, at, kind := s.Properties[key], join(path, key), field.Type()
			if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct {
				inner, at, kind = inner.Items, at+"[]", kind.Elem()
			}
			if inner.Type == "object" {
				visit(kind, inner, at)
				continue
			}
			fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", at, defaultCell(t, inner, slices.Contains(s.Required, key)), inner.Description)
		}
	}
	visit(reflect.TypeOf(k.complete).Elem(), root, "")
	return rows.String()
}

// defaultCell renders a default as it would be written in the file.
func defaultCell(t *testing.T, s *schema, required bool) string {
	t.Helper()
	list, isList := s.Default.([]string)
	switch {
	case required:
		return "required"
	case isList && len(list) > 2:
		return fmt.Sprintf("%d names, see the reference", len(list))
	case s.Default == nil && s.Type == "array":
		return "`[]`"
	case s.Default == nil:
		return ""
	}
	text, err := json.Marshal(s.Default)
	if err != nil {
		t.Fatal(err)
	}
	return "`" + strings.ReplaceAll(string(text), `"`, "") + "`"
}

// fence matches a fenced block of YAML with the word behind "yaml", and the
// text block that follows it, if one does.
var fence = regexp.MustCompile("(?s)```yaml ?([a-z]*)\n(.*?)```\n(?:\n[a-z]+\n\n```text\n(.*?)```\n)?")

// TestExamplesOnThePageAreTrue loads what the page shows, and compares the
// faults that it prints.
func TestExamplesOnThePageAreTrue(t *testing.T) {
	text := string(read(t, page))
	blocks := fence.FindAllStringSubmatch(text, -1)
	if len(blocks) != 4 {
		t.Fatalf("%d blocks of YAML, want 4", len(blocks))
	}
	for _, block := range blocks {
		switch kind, example, shown := block[1], block[2], block[3]; kind {
		case "":
			if gateway, err := LoadGateway("gateway.yaml", []byte(example)); err != nil || len(gateway.Warnings()) > 0 {
				t.Errorf("gateway: %v", err)
			}
		case "sidecar":
			if _, err := LoadSidecar("sidecar.yaml", []byte(example)); err != nil {
				t.Errorf("sidecar: %v", err)
			}
		case "faults":
			_, err := LoadGateway("gateway.yaml", []byte(example))
			if err == nil || shown == "" {
				t.Fatalf("error %v, shown %q", err, shown)
			}
			if *update {
				text = strings.Replace(text, shown, err.Error()+"\n", 1)
				if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if shown != err.Error()+"\n" {
				t.Errorf("the page shows\n%s\nthe error is\n%v", shown, err)
			}
		}
	}
}

// TestExamplesOfRoutingAreTrue loads what the page on routing shows.
func TestExamplesOfRoutingAreTrue(t *testing.T) {
	blocks := fence.FindAllStringSubmatch(string(read(t, "../docs/routing.md")), -1)
	if len(blocks) != 4 {
		t.Fatalf("%d blocks of YAML, want 4", len(blocks))
	}
	for _, block := range blocks {
		if gateway, err := LoadGateway("gateway.yaml", []byte(block[2])); err != nil || len(gateway.Warnings()) > 0 {
			t.Errorf("gateway: %v\n%s", err, block[2])
		}
	}
}

// TestExampleOfWhatVaultMustHoldIsTrue loads what the page on provisioning shows.
func TestExampleOfWhatVaultMustHoldIsTrue(t *testing.T) {
	blocks := fence.FindAllStringSubmatch(string(read(t, "../docs/provisioning.md")), -1)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks of YAML, want 1", len(blocks))
	}
	provision, err := LoadProvision("vault.yaml", []byte(blocks[0][2]))
	if err != nil || len(provision.Warnings()) > 0 {
		t.Errorf("vault.yaml: %v", err)
	}
}
