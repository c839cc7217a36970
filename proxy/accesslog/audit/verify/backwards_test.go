package verify_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
)

// killed is a log of an instance that was killed a day after its start, behind its last
// checkpoint; w.now is the time of that.
func killed() (*world, *writer) {
	w := newWorld(3)
	i := w.start(0)
	i.checkpointNow()
	w.now = w.now.Add(24 * time.Hour)
	i.access()
	i.checkpointNow()
	return w, i
}

// TestATailThatIsForgedIsBounded: whoever writes on where an instance was killed has the
// chain, and no signature. What he adds must fit between the last checkpoint and the one
// that was promised.
func TestATailThatIsForgedIsBounded(t *testing.T) {
	request := func(took time.Duration) string {
		return fmt.Sprintf(`,"event.action":"access","user.name":"mallory","event.duration":%d`, took)
	}
	tests := map[string]struct {
		forge func(w *world, i *writer)
		want  verify.Kind // of the only finding; empty for none
	}{
		"honest, and in time": {func(w *world, i *writer) {
			for range 20 {
				w.now = w.now.Add(5 * time.Second)
				i.write(request(0))
			}
		}, ""},
		"honest, of requests that took long": {func(w *world, i *writer) {
			end := w.now.Add(time.Second)
			for n := range 20 {
				w.now = end.Add(-time.Duration(n) * time.Hour)
				i.write(request(time.Duration(n) * time.Hour))
			}
		}, ""},
		"with times from before the checkpoint": {func(w *world, i *writer) {
			w.now = w.now.Add(-time.Hour)
			for range 20 {
				i.write(request(0))
			}
		}, verify.Backwards},
		"with times that go on": {func(w *world, i *writer) {
			for range 20 {
				w.now = w.now.Add(time.Minute)
				i.write(request(0))
			}
		}, verify.MissingCheckpoint},
		"with requests that are said to have ended later": {func(w *world, i *writer) {
			i.write(request(1000 * time.Hour))
			for range 20 {
				w.now = w.now.Add(time.Minute)
				i.write(request(0))
			}
		}, verify.Backwards},
		"with more than can be written in the time": {func(w *world, i *writer) {
			for range 121_000 {
				i.write(request(0))
			}
		}, verify.MissingCheckpoint},
		"with a checkpoint from before": {func(w *world, i *writer) {
			old := &checkpoint.Checkpoint{}
			for _, l := range w.hosts[0] {
				if _, object, ok := strings.Cut(l.text, `"sallyport.log.checkpoint":`); ok {
					object, _, _ = strings.Cut(object, `,"sallyport.log.instance"`)
					old, _ = checkpoint.Parse([]byte(object))
				}
			}
			for range 20 {
				w.now = w.now.Add(time.Minute)
				i.write(request(0))
				i.write(fmt.Sprintf(`,"event.action":"checkpoint","%s":%s`, checkpoint.Member, old.AppendJSON(nil)))
			}
		}, verify.MissingCheckpoint},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, i := killed()
			test.forge(w, i)
			report := judge(t, w, text(w.hosts[0]), noVault)
			if test.want == "" && !report.Whole() || test.want != "" && (report.FindingCount != 1 || report.Findings[0].Kind != test.want) {
				t.Errorf("findings: %v", report.Findings)
			}
		})
	}
}

// TestATailIsBoundedInWhateverFileItStands: one that is read first is judged once it is
// known what stands before it.
func TestATailIsBoundedInWhateverFileItStands(t *testing.T) {
	w, i := killed()
	signed := len(w.hosts[0])
	w.now = w.now.Add(-48 * time.Hour) // so that the file is taken for an older one
	for range 20 {
		i.write(`,"event.action":"access","user.name":"mallory"`)
	}
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log-2")}
	for n, lines := range [][]line{w.hosts[0][signed:], w.hosts[0][:signed]} {
		if err := os.WriteFile(files[n], []byte(text(lines)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report, err := verify.Verify(t.Context(), verify.Config{Files: files, Keys: w.keys})
	if err != nil || report.FindingCount != 1 || report.Findings[0].Kind != verify.Backwards {
		t.Errorf("findings: %v, %v", report, err)
	}
	var b bytes.Buffer
	if _, err := report.WriteTo(&b); err != nil || !strings.Contains(b.String(), "21 records behind that on the chain alone") {
		t.Errorf("report:\n%s", &b)
	}
}
