package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStepUpSatisfied(t *testing.T) {
	const mfa, hardware, password = "urn:example:mfa", "urn:example:hardware", "urn:example:password"
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	sudo := StepUp{MaxAge: 5 * time.Minute}
	strong := StepUp{Contexts: []string{mfa, hardware}}
	both := StepUp{MaxAge: 5 * time.Minute, Contexts: []string{mfa, hardware}, Minimum: true}
	good, old, weak := Decision{Verdict: Allow}, Decision{Verdict: Again, Reason: ReasonTooOld}, Decision{Verdict: Again, Reason: ReasonContext}
	tests := []struct {
		name  string
		rule  StepUp
		age   time.Duration
		class string
		want  Decision
	}{
		{"the zero value demands nothing", StepUp{}, 1000 * time.Hour, "", good},
		{"at the limit is young enough", sudo, 5 * time.Minute, "", good},
		{"beyond the limit is too old", sudo, 5*time.Minute + 1, "", old},
		{"another replica's clock may be a little ahead", sudo, -ClockSlack, "", good},
		{"an instant far in the future is good for nothing", sudo, -ClockSlack - 1, "", old},
		{"the first class satisfies", strong, 1000 * time.Hour, mfa, good},
		{"so does a later one", strong, 0, hardware, good},
		{"another class does not", strong, 0, password, weak},
		{"no class does not", strong, 0, "", weak},
		{"classes are compared byte for byte", strong, 0, "urn:example:MFA", weak},
		{"no class satisfies an empty one", StepUp{Contexts: []string{""}}, 0, "", weak},
		{"minimum takes no class on trust", both, 0, "urn:example:stronger-still", weak},
		{"both are satisfied", both, time.Minute, mfa, good},
		{"age is told before the class", both, time.Hour, password, old},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.rule.Satisfied(now.Add(-test.age), test.class, now)); diff != "" {
				t.Errorf("decision (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWordsOfVerdicts(t *testing.T) {
	for verdict, want := range map[Verdict]string{Deny: "deny", Allow: "allow", Again: "step_up", Again + 1: "deny"} {
		if got := verdict.String(); got != want {
			t.Errorf("verdict %d is %q, expected %q", verdict, got, want)
		}
	}
}
