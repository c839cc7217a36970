package saml

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// rows is how many attacks the catalogue has under each letter: A wrapping and
// coverage, B keys and algorithms, C what assertions say, D encryption, E parsers and
// resources, F logout, relay states and metadata.
var rows = map[string]int{"A": 31, "B": 11, "C": 37, "D": 7, "E": 14, "F": 12}

// elsewhere are the rows that are no response or logout message for a service provider
// as it stands: the tests that they have.
var elsewhere = map[string]string{
	"B6": "TestParseIdPMetadataRefuses", "B9": "TestParseIdPMetadataRefuses",
	"B10": "TestAnAnswerIsVerifiedByTheIdPThatWasAsked",
	"B11": "TestARemovedIdPTakesItsSessionsAlong", // a stolen key cannot be seen; what it signed can be ended
	"C11": "TestReplay",
	"C15": "TestCorpus", // P7: it is optional, so it must pass
	"E13": "TestReadPost",
	"F4":  "TestQueryMutations",
	"F5":  "TestLogoutRequestFindsSessionsWithoutCookies",
	"F6":  "TestNothingIsSignedOutByALink",
	"F7":  "TestAnIdPMayBeginASignOn",
	"F8":  "TestReadPost",
	"F9":  "TestSingleLogoutEndpoints",
	"F10": "TestChoiceFromAnAggregate",
	"F11": "TestParseIdPMetadataRefuses", // a document without a key that may sign; the one before stays
	"F12": "TestBeginLogoutNamesThePersonAsTheyWereNamed",
}

// TestEveryAttackHasACase: a row of the catalogue has a case of its own, or one in a
// test that exists.
func TestEveryAttackHasACase(t *testing.T) {
	cases := map[string]bool{}
	number := regexp.MustCompile(`^[A-F][0-9]+`)
	for _, a := range corpus() {
		cases[number.FindString(a.id)] = true
	}
	for _, c := range slices.Concat(logoutCorpus(), postCorpus()) {
		cases[number.FindString(c.id)] = true
	}
	tests := testsOf(t, ".", "../proxy", "../cmd/sallyport")
	for letter, n := range rows {
		for i := 1; i <= n; i++ {
			id := fmt.Sprintf("%s%d", letter, i)
			if test := elsewhere[id]; !cases[id] && !tests[test] {
				t.Errorf("%s has no case, and no test %q exists", id, test)
			}
		}
	}
}

// testsOf are the names of the tests in these folders.
func testsOf(t *testing.T, folders ...string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
				names[m[1]] = true
			}
		}
	}
	return names
}
