package file

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// TestTheChainGoesOnAcrossFiles rotates under load, with readers of the disk meanwhile:
// all files together, compressed or not, are the whole chain of each process.
func TestTheChainGoesOnAcrossFiles(t *testing.T) {
	cfg := testConfig(t)
	cfg.Size, cfg.Compress = 64<<10, true
	const processes, writers, each = 3, 4, 500
	for range processes {
		predecessor, err := LastOf(cfg.Path)
		if err != nil && !os.IsNotExist(err) {
			predecessor = nil
		}
		f, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		log := accesslog.Prepare(accesslog.Config{Service: "gateway", Sinks: []accesslog.Sink{f}, Predecessor: predecessor})
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for n := range each {
					if err := log.Write(&accesslog.Record{Action: accesslog.ActionAccess, RequestID: fmt.Sprint(w, "/", n), Path: strings.Repeat("x", n%300)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := log.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	names, err := Old(cfg.Path)
	if err != nil || len(names) < 4 {
		t.Fatalf("%d old files (%v)", len(names), err)
	}
	heads, records := map[logfile.Instance]logfile.Hash{}, map[logfile.Instance]uint64{}
	for line, err := range logfile.Lines(t.Context(), append(names, cfg.Path)...) {
		if err != nil {
			t.Fatal(err)
		}
		r, kind := logfile.Parse(line.Text)
		if kind != logfile.Sealed || r.Sequence != records[r.Instance]+1 || r.Previous != heads[r.Instance] {
			t.Fatalf("%s: %s record %d after %d", line.Place, kind, r.Sequence, records[r.Instance])
		}
		heads[r.Instance], records[r.Instance] = r.Hash(), r.Sequence
	}
	for instance, n := range records {
		if n != writers*each+2 { // and the first and the last
			t.Errorf("%s has %d records, want %d", instance, n, writers*each+2)
		}
	}
	if len(records) != processes {
		t.Errorf("%d processes, want %d", len(records), processes)
	}
}
