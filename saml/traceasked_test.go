package saml

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTraceSaysWhatWasAskedFor: what a sign-on asked for, and what came, whether that
// was enough or not.
// TestTraceSaysWhyThereIsNoEmail: nobody is refused for two addresses, so the trace is
// where to find out.
func TestTraceSaysWhyThereIsNoEmail(t *testing.T) {
	for _, a := range corpus() {
		if a.id != "C34g" {
			continue
		}
		_, _, trace := a.traced(t)
		want := Check{Name: "identity", Want: "user name in one of name_id", Got: `found, without an e-mail address: "mail" has 2 values`}
		if !slices.Contains(trace.Checks, want) {
			t.Errorf("checks %+v, want %+v among them", trace.Checks, want)
		}
		return
	}
	t.Error("no case C34g")
}

func TestTraceSaysWhatWasAskedFor(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	ask := SignOn{ForceAuthn: true, AuthnContext: AuthnContext{Classes: []string{classPassword, classMFA}, Minimum: true}}
	for name, tt := range map[string]struct {
		domains []string
		expect  Expectation
		want    []Check // of the three
	}{
		"nothing": {want: []Check{
			{Name: "freshness", Want: "no new authentication was asked for", Got: "2026-11-22T11:58:00Z"},
			{Name: "context", Want: "no way of authentication was asked for", Got: classPassword},
			{Name: "domain", Want: "any domain", Got: "no matter"},
		}},
		"all of it": {domains: []string{"example.com"}, expect: Expectation{SignOn: ask, RequestedAt: testNow}, want: []Check{
			{Name: "freshness", Want: "an authentication since the request at 2026-11-22T12:00:00Z", Got: "2026-11-22T11:58:00Z"},
			{Name: "context", Want: "one of " + classPassword + ", " + classMFA, Got: classPassword},
			{Name: "domain", Want: "user name and e-mail address in one of example.com", Got: "so they are"},
		}},
		"a domain that is not the person's": {domains: []string{"example.org"}, want: []Check{
			{Name: "freshness", Want: "no new authentication was asked for", Got: "2026-11-22T11:58:00Z"},
			{Name: "context", Want: "no way of authentication was asked for", Got: classPassword},
			{Name: "domain", Want: "user name and e-mail address in one of example.org", Got: "a value that only the log quotes", Code: CodeDomain},
		}},
	} {
		cfg := testConfig(t, idp)
		cfg.UserDomains = tt.domains
		var trace Trace
		tt.expect.RequestID, tt.expect.Trace = testRequestID, &trace
		_, _ = newTestSP(t, cfg).Verify(t.Context(), Post{Response: attack{}.build(t, idp)}, tt.expect)
		var got []Check
		for _, c := range trace.Checks {
			if c.Name == "freshness" || c.Name == "context" || c.Name == "domain" {
				got = append(got, c)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if text := fmt.Sprint(trace.Checks); strings.Contains(text, "alice") {
			t.Errorf("%s: the trace names the person: %s", name, text)
		}
	}
}
