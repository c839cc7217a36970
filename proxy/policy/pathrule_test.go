package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnderGoesByWholeSegments(t *testing.T) {
	tests := []struct {
		path, prefix string
		want         bool
	}{
		{"/", "/", true},
		{"/anything", "/", true},
		{"/grafana", "/grafana", true},
		{"/grafana/", "/grafana", true},
		{"/grafana/x", "/grafana", true},
		{"/grafanax", "/grafana", false},
		{"/grafan", "/grafana", false},
		{"/Grafana", "/grafana", false},
		{"/x/grafana", "/grafana", false},
		{"/", "/grafana", false},
		{"", "/grafana", false},
		{"/a/b/c", "/a/b", true},
		{"/a/bc", "/a/b", false},
	}
	for _, test := range tests {
		if got := Under(test.path, test.prefix); got != test.want {
			t.Errorf("Under(%q, %q) = %v, expected %v", test.path, test.prefix, got, test.want)
		}
	}
}

func TestPathRuleCovers(t *testing.T) {
	writes := PathRule{Methods: []string{"POST", "PUT"}}
	reads := PathRule{Methods: []string{"GET"}, Paths: []string{"/api", "/v1/x"}, Exact: []string{"/health", "/z/"}}
	tests := []struct {
		name         string
		rule         PathRule
		method, path string
		want         bool
	}{
		{"the zero value covers everything", PathRule{}, "BREW", "/pot", true},
		{"methods alone cover every path", writes, "PUT", "/any", true},
		{"and no other method", writes, "DELETE", "/any", false},
		{"HEAD is no POST", writes, "HEAD", "/any", false},
		{"methods are compared to the letter", writes, "post", "/any", false},
		{"a prefix", reads, "GET", "/api/users", true},
		{"HEAD goes with GET", reads, "HEAD", "/api/users", true},
		{"a prefix of no whole segment", reads, "GET", "/apis", false},
		{"another prefix", reads, "GET", "/v1/x", true},
		{"exact", reads, "GET", "/health", true},
		{"exact has nothing under it", reads, "GET", "/health/x", false},
		{"exact with its slash", reads, "GET", "/z/", true},
		{"and without it", reads, "GET", "/z", false},
		{"the path of another method", reads, "POST", "/api/users", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.rule.Covers(test.method, test.path); got != test.want {
				t.Errorf("covers %s %s: %v, expected %v", test.method, test.path, got, test.want)
			}
		})
	}
}

func TestTheFirstRuleThatCoversDecides(t *testing.T) {
	rules := []PathRule{
		{Name: "a", Paths: []string{"/admin/public"}},
		{Name: "b", Paths: []string{"/admin"}},
		{Name: "c", Methods: []string{"POST"}},
	}
	for request, want := range map[string]int{
		"GET /admin/public/x": 0, "GET /admin": 1, "POST /admin": 1, "POST /": 2, "GET /": 3,
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := FirstOf(rules, method, path); got != want {
			t.Errorf("%s is decided by rule %d, expected %d", request, got, want)
		}
	}
}

func TestPathRuleDecides(t *testing.T) {
	rule := PathRule{Name: "writes", Allow: NewRule([]string{"alice"}, []string{"staff"}, false), Deny: NewRule([]string{"carol"}, []string{"interns"}, false)}
	tests := []struct {
		name   string
		rule   PathRule
		user   string
		groups []string
		want   Decision
	}{
		{"a user", rule, "alice", nil, Decision{Allow, ReasonUser, "writes/user:alice"}},
		{"a group", rule, "bob", []string{"staff"}, Decision{Allow, ReasonGroup, "writes/group:staff"}},
		{"somebody else", rule, "dave", nil, Decision{Deny, ReasonNotListed, "writes"}},
		{"deny wins over a group", rule, "carol", []string{"staff"}, Decision{Deny, ReasonDenied, "writes/user:carol"}},
		{"deny of a group wins over a user", rule, "alice", []string{"interns"}, Decision{Deny, ReasonDenied, "writes/group:interns"}},
		{"nobody", PathRule{Name: "none"}, "alice", nil, Decision{Deny, ReasonNobody, "none"}},
		{"no name at all", PathRule{Name: "all", Allow: NewRule(nil, nil, true)}, "", nil, Decision{Deny, ReasonNotListed, "all"}},
		{"anyone but", PathRule{Name: "all", Allow: NewRule(nil, nil, true), Deny: rule.Deny}, "dave", nil, Decision{Allow, ReasonAnySignedIn, "all/any_signed_in"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.rule.Decide(test.user, test.groups)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}
