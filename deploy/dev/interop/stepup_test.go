package interop

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
)

// secondFactor is the class that an identity provider names for it (REFEDS MFA).
const secondFactor = "https://refeds.org/profile/mfa"

// demands has the tool behind vaultsHost want more than a session.
func (sc *scene) demands(want policy.StepUp) {
	sc.t.Helper()
	for i, route := range sc.door.routes {
		if route.Host == vaultsHost {
			sc.door.routes[i].StepUp = want
		}
	}
	sc.door.serve(func(*proxy.Config) {})
}

func TestStepUp(t *testing.T) {
	with(t, func(sc *scene) {
		vaults := sc.door.origin(vaultsHost) + "/"
		sc.step("proved again when it was long ago", func() {
			const limit = 5 * time.Second
			sc.demands(policy.StepUp{MaxAge: limit})
			b := sc.signsOn()
			<-time.After(limit + time.Second) // instants are whole seconds; and LemonLDAP::NG asks nobody anew within five
			sc.door.lets(b, b.open(vaults), "alice@example.com")
			if b.passwords != 2 {
				sc.t.Errorf("%d passwords typed, want 2; the way was\n%s", b.passwords, strings.Join(b.trail, "\n"))
			}
			sc.door.lets(b, b.open(vaults), "alice@example.com")
			sc.door.lets(b, b.open(sc.door.tool()), "alice@example.com")
			if b.passwords != 2 {
				sc.t.Errorf("%d passwords typed in all, want 2", b.passwords)
			}
		})
		sc.step("in the way that is asked for", func() {
			sc.demands(policy.StepUp{Contexts: []string{sc.idp.can().context}})
			b := sc.signsOn()
			sc.door.lets(b, b.open(vaults), "alice@example.com")
		})
		sc.step("not in the way that is asked for", func() {
			sc.demands(policy.StepUp{Contexts: []string{secondFactor}})
			b := sc.signsOn()
			if p := b.open(vaults); p.status == http.StatusOK && strings.HasPrefix(p.text, "tool of") {
				sc.t.Errorf("a password is taken for a second factor:\n%s", b.response)
			}
			if got := sc.door.reason("signin", "deny", "authn_context"); got != "authn_context" {
				sc.t.Errorf("refused for %q; the log is\n%s", got, sc.door.log.text())
			}
			sc.door.lets(b, b.open(sc.door.tool()), "alice@example.com")
		})
	})
}
