package proxy_test

import (
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
)

// TestVerdictsAreDecisionsOfTheLog: the policy knows no log, and is written there.
func TestVerdictsAreDecisionsOfTheLog(t *testing.T) {
	for verdict, want := range map[policy.Verdict]string{
		policy.Allow: accesslog.DecisionAllow, policy.Deny: accesslog.DecisionDeny, policy.Again: accesslog.DecisionStepUp,
	} {
		if verdict.String() != want {
			t.Errorf("verdict %q, in the log %q", verdict, want)
		}
	}
}
