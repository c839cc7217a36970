package interop

import (
	"os/exec"
	"strings"
	"testing"
)

// TestTheDoorIsBuiltFromItsOwnVersions: what is built here is built with this module's
// requirements, and has to be what the product's own give.
func TestTheDoorIsBuiltFromItsOwnVersions(t *testing.T) {
	here, theirs := versions(t, "."), versions(t, "../../..")
	if len(theirs) < 10 {
		t.Fatalf("%d modules in the product", len(theirs))
	}
	for module, version := range theirs {
		if here[module] != version {
			t.Errorf("%s is %q here and %q in the product", module, here[module], version)
		}
	}
}

// versions are those of the modules that the door's packages are built from.
func versions(t *testing.T, dir string) map[string]string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}",
		"github.com/sallyport/sallyport/proxy", "github.com/sallyport/sallyport/saml")
	command.Dir = dir
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if module, version, _ := strings.Cut(strings.TrimSpace(line), " "); module != "" && module != "github.com/sallyport/sallyport" {
			found[module] = version
		}
	}
	return found
}
