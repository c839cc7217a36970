package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecide(t *testing.T) {
	listed := NewRule([]string{"carol@example.com"}, []string{"engineers", "support"}, false)
	tests := []struct {
		name   string
		rule   Rule
		user   string
		groups []string
		want   Decision
	}{
		{"a listed user enters", listed, "carol@example.com", nil, Decision{Allow, ReasonUser, "user:carol@example.com"}},
		{"a member of a listed group enters", listed, "alice@example.com", []string{"admins", "engineers"}, Decision{Allow, ReasonGroup, "group:engineers"}},
		{"anybody else does not", listed, "bob@example.com", []string{"sales"}, Decision{Deny, ReasonNotListed, ""}},
		{"names are compared exactly", listed, "CAROL@example.com", []string{"Engineers", "engineers "}, Decision{Deny, ReasonNotListed, ""}},
		{"a user's name is not a group", listed, "engineers", nil, Decision{Deny, ReasonNotListed, ""}},
		{"the zero rule lets nobody in", Rule{}, "alice@example.com", []string{"engineers"}, Decision{Deny, ReasonNobody, ""}},
		{"an empty list lets nobody in", NewRule(nil, nil, false), "alice@example.com", []string{""}, Decision{Deny, ReasonNobody, ""}},
		{"any_signed_in lets everybody with a name in", NewRule(nil, nil, true), "bob@example.com", nil, Decision{Allow, ReasonAnySignedIn, "any_signed_in"}},
		{"but nobody without one", NewRule([]string{""}, []string{"engineers"}, true), "", []string{"engineers"}, Decision{Deny, ReasonNotListed, ""}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.rule.Decide(test.user, test.groups)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestZeroValuesDeny(t *testing.T) {
	if (Decision{}).Verdict != Deny || Verdict(0).String() != "deny" || Allow.String() != "allow" {
		t.Error("the zero decision does not deny")
	}
}

func TestGroupsAreSorted(t *testing.T) {
	got := NewRule(nil, []string{"b", "a", "b"}, false).Groups()
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}
