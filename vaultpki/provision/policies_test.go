package provision_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPoliciesOfASidecarAreGrantedBesideItsOwn: one more loosens, one less does not, and
// the policies themselves are left alone.
func TestPoliciesOfASidecarAreGrantedBesideItsOwn(t *testing.T) {
	spec := specFor("granted")
	mustApply(t, spec)
	spec.Sidecars[0].Policies = []string{"notes-database"}
	want := []string{"! approle granted-sidecar-notes: token_policies [granted-sidecar-notes] -> [granted-sidecar-notes notes-database] (loosens)"}
	if diff := cmp.Diff(want, mustPlan(t, spec)); diff != "" {
		t.Errorf("plan with a policy more (-want +got):\n%s", diff)
	}

	spec = specFor("granted-at-once")
	spec.Sidecars[0].Policies = []string{"notes-database", "notes-mail"}
	mustApply(t, spec)
	if left := mustPlan(t, spec); len(left) > 0 {
		t.Errorf("a second apply has %q to do", left)
	}
	var made struct {
		Data struct {
			Policies []string `json:"token_policies"`
		}
	}
	if err := vault.Call(t.Context(), "GET", "auth/granted-at-once-approle/role/granted-at-once-sidecar-notes", nil, &made); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"granted-at-once-sidecar-notes", "notes-database", "notes-mail"}, made.Data.Policies); diff != "" {
		t.Errorf("the role grants (-want +got):\n%s", diff)
	}
	if err := vault.Call(t.Context(), "GET", "sys/policies/acl/notes-database", nil, nil); err == nil {
		t.Error("a policy of the operator's was made")
	}
	spec.Sidecars[0].Policies = []string{"notes-mail"}
	want = []string{"~ approle granted-at-once-sidecar-notes: token_policies [granted-at-once-sidecar-notes notes-database notes-mail] -> [granted-at-once-sidecar-notes notes-mail]"}
	if diff := cmp.Diff(want, mustApply(t, spec)); diff != "" {
		t.Errorf("apply with a policy less (-want +got):\n%s", diff)
	}
}
