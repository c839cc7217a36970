package index

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/file"
)

// TestALogThatIsWrittenRotatedAndCompressedIsAnsweredWhole asks the index again and
// again while the gateway's own writer rotates and compresses: no answer misses a
// record that was there before it was asked, or has one twice.
func TestALogThatIsWrittenRotatedAndCompressedIsAnsweredWhole(t *testing.T) {
	const rounds, perRound = 20, 200
	name := filepath.Join(t.TempDir(), "access.log")
	sink, err := file.Open(file.Config{Name: "file", Path: name, Size: 60_000, Compress: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var tidying sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		tidying.Wait()
	})
	tidying.Go(func() { sink.Run(ctx) })
	log := accesslog.Prepare(accesslog.Config{Service: "sallyport-gateway", Sinks: []accesslog.Sink{sink}})
	log.Begin()
	company := logtest.NewCompany(7, monday)
	dir := filepath.Join(t.TempDir(), "index")
	var x *Index
	for round := range rounds {
		for i := range perRound {
			record := company.Next()
			record.RequestID = fmt.Sprintf("%d-%d", round, i)
			if err := log.Write(&record); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if x == nil {
			x, err = OpenLog(t.Context(), dir, name)
		} else {
			err = x.UpdateLog(t.Context(), name)
		}
		if err != nil {
			t.Fatal(err)
		}
		groups, err := x.Count(t.Context(), audit.Filter{Action: "access"})
		if err != nil {
			t.Fatal(err)
		}
		if want := int64((round + 1) * perRound); groups[0].Count != want {
			t.Fatalf("round %d: %d records, expected %d, in %d files", round, groups[0].Count, want, x.Extent().Files)
		}
	}
	cancel()
	tidying.Wait()
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := x.UpdateLog(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for entry, err := range x.Query(t.Context(), audit.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		seen[entry.Value(audit.Action)+entry.Value(audit.RequestID)]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is answered %d times", id, n)
		}
	}
	if want := rounds*perRound + 2; len(seen) != want { // the log's beginning and end
		t.Errorf("%d records, expected %d", len(seen), want)
	}
	if files := x.Extent().Files; files < rounds {
		t.Errorf("%d files: it was not rotated", files)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
}
