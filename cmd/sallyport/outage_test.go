package main

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/vaulttest"
)

// ordeal is an outage of Vault's that a gateway and its sidecar go through while
// somebody uses the tool. It begins, goes on until it has been met, ends, and is
// over when token and certificates of both have been renewed with nobody's help.
type ordeal struct {
	name string
	// start starts the pair.
	start func(*testing.T) *pair
	pair  *pair
	// begin, met and end are called once, until true, and once. begin comes right
	// after the start: what each process holds then ends at about the same time, so
	// that nothing ends while something else is not yet due.
	begin func(*testing.T)
	met   func() bool
	end   func(*testing.T)
	// more looks at what is special, when all is over; may be nil.
	more    func(*testing.T)
	secrets func() []string

	stage string // what is waited for, for the message of a test that gives up
	ended tallies
}

// The stages of an ordeal.
const (
	stageFault    = "the fault to be met"
	stageRecovery = "the renewals after it"
	stageOver     = ""
)

// TestServesThroughOutagesOfVault takes one gateway and one sidecar through each
// ordeal. People notice nothing of any. They go on side by side: each is mostly
// the wait for a renewal.
func TestServesThroughOutagesOfVault(t *testing.T) {
	t.Parallel()
	shared := newStand(t)
	shared.shortenLives(t, shortLife)
	there := newElsewhere(t)
	ordeals := slices.Concat(faultOrdeals(t, shared, there), vaultOrdeals(t), failoverOrdeals(t))
	for i, o := range ordeals {
		o.pair = o.start(t)
		o.begin(t)
		o.stage = stageFault
		for _, earlier := range ordeals[:i] { // they do not wait for the others' start
			earlier.advance(t)
		}
	}
	waitForAll(t, ordeals)
	for _, o := range ordeals {
		t.Run(o.name, func(t *testing.T) {
			if o.more != nil {
				o.more(t)
			}
			o.pair.check(t, o.secrets()...)
		})
	}
	there.check(t)
}

// waitForAll takes all ordeals from stage to stage until all are over.
func waitForAll(t *testing.T, ordeals []*ordeal) {
	t.Helper()
	deadline := time.After(4 * time.Minute)
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		var waiting []string
		for _, o := range ordeals {
			if o.advance(t); o.stage != stageOver {
				waiting = append(waiting, o.name+" waits for "+o.stage)
			}
		}
		if waiting == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("giving up:\n%s", strings.Join(waiting, "\n"))
			return
		}
	}
}

// advance takes an ordeal to its next stage if it is time.
func (o *ordeal) advance(t *testing.T) {
	t.Helper()
	switch {
	case o.stage == stageFault && o.met():
		o.end(t)
		o.stage, o.ended = stageRecovery, o.pair.tally()
	case o.stage == stageRecovery && o.pair.since(o.ended, tokenRenewed, certificateRenewed):
		o.stage = stageOver
	}
}

// Vault's own words for what some faults say.
const (
	saysSealed = `{"errors":["Vault is sealed"]}`
	saysError  = `{"errors":["internal error"]}`
	saysQuota  = `{"errors":["request path \"auth/token/renew-self\": rate limit quota exceeded"]}`
)

// retryAfter is how long the rate limited are told to wait.
const retryAfter = 3 * time.Second

// faultOrdeals are those that need a front to show.
func faultOrdeals(t *testing.T, s *stand, there *elsewhere) []*ordeal {
	t.Helper()
	json, html := http.Header{"Content-Type": {"application/json"}}, http.Header{"Content-Type": {"text/html"}}
	faults := map[string]fault{
		"rate limited":                         answer(http.StatusTooManyRequests, http.Header{"Retry-After": {"3"}}, saysQuota),
		"sealed, as a load balancer passes on": answer(http.StatusServiceUnavailable, json, saysSealed),
		"failing":                              answer(http.StatusInternalServerError, json, saysError),
		"behind a proxy that cannot reach it":  answer(http.StatusBadGateway, html, "<html>Bad Gateway</html>"),
		"a page in its place":                  answer(http.StatusOK, html, "<html>Welcome!</html>"),
		"an empty object in its place":         answer(http.StatusOK, json, "{}"),
		"nonsense in its place":                answer(http.StatusOK, json, `{"auth":{"client_token":"","lease_duration":-1},"data":{"certificate":"-----BEGIN`),
		"too much in its place":                answer(http.StatusOK, json, `{"data":{"certificate":"`+strings.Repeat("A", 2<<20)+`"}}`),
		"redirecting to another host":          there.redirect,
		"cut off in the middle of an answer":   reset,
		"silent":                               silent,
		"answering a byte at a time":           dripping,
	}
	var ordeals []*ordeal
	for name, fault := range faults {
		f := newFront(t, s)
		o := failing(name, func(t *testing.T) *pair { t.Helper(); return startPair(t, s, f.args()...) }, func(*testing.T) { f.begin(fault) })
		o.end = func(*testing.T) { f.lift() }
		o.secrets = f.secrets
		if name == "rate limited" {
			failed := o.met
			o.met = func() bool { return failed() && askedTwice(f) }
			o.more = func(t *testing.T) { checkPatience(t, f) }
		}
		ordeals = append(ordeals, o)
	}
	return ordeals
}

// failing is an ordeal that is met once both processes have failed to renew token
// and certificates.
func failing(name string, start func(*testing.T) *pair, begin func(*testing.T)) *ordeal {
	o := &ordeal{name: name, start: start, begin: begin, secrets: func() []string { return nil }}
	o.met = func() bool { return o.pair.since(tallies{}, tokenNotRenewed, certificateNot) }
	return o
}

// askedTwice says whether both callers have tried their token again.
func askedTwice(f *front) bool {
	times := f.faultedCalls(renewToken)
	return len(times) == 2 && len(times[0]) > 1 && len(times[1]) > 1
}

// checkPatience fails if somebody asked again sooner than told.
func checkPatience(t *testing.T, f *front) {
	t.Helper()
	for _, times := range f.faultedCalls(renewToken) {
		for i := 1; i < len(times); i++ {
			// How much longer they wait is not looked at.
			if gap := times[i].Sub(times[i-1]); gap < retryAfter {
				t.Errorf("asked again after %s, though told to wait %s", gap, retryAfter)
			}
		}
	}
}

// vaultOrdeals do to a real Vault what happens to one; each has its own.
func vaultOrdeals(t *testing.T) []*ordeal {
	t.Helper()
	var ordeals []*ordeal
	for name, outage := range map[string]struct {
		begin, end func(*testing.T, *vaulttest.Server) error
	}{
		"really sealed": {
			func(t *testing.T, v *vaulttest.Server) error { return v.Seal(t.Context()) },
			func(t *testing.T, v *vaulttest.Server) error { return v.Unseal(t.Context()) },
		},
		"really stopped": {
			func(_ *testing.T, v *vaulttest.Server) error { v.Stop(); return nil },
			func(t *testing.T, v *vaulttest.Server) error { return v.Restart(t.Context()) },
		},
		"really frozen": {
			func(_ *testing.T, v *vaulttest.Server) error { return v.Pause() },
			func(_ *testing.T, v *vaulttest.Server) error { return v.Resume() },
		},
	} {
		s := newStand(t)
		s.shortenLives(t, shortLife)
		must := func(do func(*testing.T, *vaulttest.Server) error) func(*testing.T) {
			return func(t *testing.T) {
				t.Helper()
				if err := do(t, s.vault); err != nil {
					t.Fatal(err)
				}
			}
		}
		o := failing(name, func(t *testing.T) *pair { t.Helper(); return startPair(t, s) }, must(outage.begin))
		o.end = must(outage.end)
		ordeals = append(ordeals, o)
	}
	return ordeals
}

// failoverOrdeals kill the leader of three Vaults. One pair asks a standby, which
// passes on to whoever leads, or leads itself; the other knows all addresses, that
// of the leader first. They have met the loss when they have renewed everything
// without the dead.
func failoverOrdeals(t *testing.T) []*ordeal {
	t.Helper()
	cluster, err := vaulttest.StartCluster(t.Context(), filepath.Join(t.TempDir(), "vault"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	leader := leaderOf(t, cluster)
	s := newStandOn(t, cluster.Node((leader+1)%3))
	s.shortenLives(t, shortLife)
	addresses := cluster.Addresses()
	addresses = append(addresses[leader:], addresses[:leader]...)
	ordeals := []*ordeal{
		{name: "failing over, asked by way of a standby", begin: func(*testing.T) {}, // with the other
			start: func(t *testing.T) *pair { t.Helper(); return startPair(t, s) }},
		{name: "failing over, its addresses known", begin: func(*testing.T) { cluster.Kill(leader) },
			start: func(t *testing.T) *pair {
				t.Helper()
				return startPair(t, s, "--vault-addr", strings.Join(addresses, ","))
			}},
	}
	for _, o := range ordeals {
		o.met = func() bool { return o.pair.since(tallies{}, tokenRenewed, certificateRenewed) }
		o.end = func(t *testing.T) {
			t.Helper()
			if leaderOf(t, cluster) == leader {
				t.Error("the dead lead")
			}
		}
		o.secrets = func() []string { return []string{cluster.RootToken} }
	}
	return ordeals
}

func leaderOf(t *testing.T, cluster *vaulttest.Cluster) int {
	t.Helper()
	leader, err := cluster.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return leader
}
