package verify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
)

// Whoever can write to a file can make up an instance that Vault has never signed for; a
// killed one has none either, if that was at its start.
func TestAnInstanceThatNobodySignedForIsMadeUp(t *testing.T) {
	for lasts, want := range map[time.Duration]int{10 * time.Second: 0, 5 * time.Minute: 1, 24 * time.Hour: 1} {
		w := newWorld(1)
		i := w.start(0)
		i.access()
		w.now = w.now.Add(lasts)
		i.access()
		report := judge(t, w, text(w.hosts[0]), noVault)
		if missing := strings.Count(strings.Join(short(report.Findings), "\n"), string(verify.MissingCheckpoint)); (missing > 0) != (want > 0) || want == 0 && !report.Whole() {
			t.Errorf("%v without a checkpoint: %v", lasts, report.Findings)
		}
	}
}

// An excerpt without the record that has an instance's own key shows nothing by that key.
func TestAnOwnKeyThatIsNotThereSignsNothing(t *testing.T) {
	w := newWorld(1)
	i := w.start(0)
	i.checkpoint(true)
	for range 5 {
		i.access()
	}
	i.checkpoint(false)
	i.access()
	lines := w.hosts[0]
	report := judge(t, w, text(lines[3:]), noVault, anExcerpt)
	if len(report.Findings) > 0 || len(report.Instances) != 1 || report.Instances[0].OwnCheckpoints > 0 || report.Instances[0].OwnCovered > 0 {
		t.Errorf("findings %v, instances %+v", report.Findings, report.Instances)
	}
	if !strings.Contains(strings.Join(short(report.Notes), "\n"), string(verify.NotGiven)) {
		t.Errorf("notes %v", report.Notes)
	}
}
