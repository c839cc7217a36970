package saml

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNobodyIsNamedBeforeTheSignature holds the codes whose page says what is wrong to
// what comes behind the signature and the profile: whoever cannot make a genuine answer
// for us never sees one of them, and learns nothing by it.
func TestNobodyIsNamedBeforeTheSignature(t *testing.T) {
	codes := []string{CodeUser, CodeTransient, CodeAmbiguous, CodeValue, CodeEmail, CodeDomain}
	reached := map[string]bool{}
	for _, a := range corpus() {
		if !slices.Contains(codes, a.want) {
			continue
		}
		_, _, trace := a.traced(t)
		var passed []string
		for _, c := range trace.Checks[:len(trace.Checks)-1] {
			passed = append(passed, c.Name)
		}
		last := trace.Checks[len(trace.Checks)-1]
		for _, check := range []string{"signature", "destination", "request", "audience", "confirmation times", "context"} {
			if last.Code != a.want || !slices.Contains(passed, check) {
				t.Errorf("%s %s: %s by the check %q, behind %q, want it behind %q", a.id, a.name, last.Code, last.Name, passed, check)
			}
		}
		if trace.Certificate == "" {
			t.Errorf("%s %s: no certificate verified it", a.id, a.name)
		}
		reached[a.want] = true
	}
	if len(reached) != len(codes) {
		t.Errorf("only %v were reached, want %v", reached, codes)
	}
}

// TestNobodyIsNamedElsewhere: in the sources too, nothing before those checks, nor the
// profile, makes such a code.
func TestNobodyIsNamedElsewhere(t *testing.T) {
	makes := regexp.MustCompile(`refusef\(Code(User|Transient|Ambiguous|Value|Email|Domain),`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(file, "_test.go") && makes.Match(source) {
			found = append(found, file)
		}
	}
	// A logout signs nobody on.
	if want := []string{"domains.go", "identity.go", "logoutchecks.go"}; !slices.Equal(found, want) {
		t.Errorf("%q make such codes, want %q alone", found, want)
	}
}
