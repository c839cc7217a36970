package auditpage

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// TestFeedNeverWaits: what finds no room is counted.
func TestFeedNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewRecent(DefaultMemory)
		f := NewFeed(m)
		for n := range feedQueue + 3 {
			f.Offer([]byte(line(n, nil) + line(n, nil)))
		}
		ctx, cancel := context.WithCancel(t.Context())
		go f.Run(ctx)
		synctest.Wait()
		e, _ := m.Extent(t.Context())
		if e.Count != 2*feedQueue || e.Missed != 6 {
			t.Errorf("%d records, %d missed, want %d and 6", e.Count, e.Missed, 2*feedQueue)
		}
		cancel()
	})
}

// TestFeedIsBoundedInBytes: batches of a megabyte are fewer, and room is given back.
func TestFeedIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewRecent(DefaultMemory)
		f := NewFeed(m)
		batch := []byte(strings.Repeat("x", 1<<20-1) + "\n")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for round := range int64(2) {
			for range feedBytes>>20 + 5 {
				f.Offer(batch)
			}
			if e, _ := m.Extent(t.Context()); e.Missed < 5*(round+1) || f.waiting.Load() > feedBytes {
				t.Errorf("round %d: %d missed, %d bytes wait", round, e.Missed, f.waiting.Load())
			}
			if round == 0 {
				go f.Run(ctx)
			}
			synctest.Wait()
			if left := f.waiting.Load(); left != 0 {
				t.Errorf("round %d: %d bytes wait in the end", round, left)
			}
		}
	})
}

// TestFeedBeginsWithTheFile: as far as there is room, and with nothing that it is given
// besides.
func TestFeedBeginsWithTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "access.log")
	before := strings.Repeat(line(1, nil), 40) + line(2, nil)
	if err := os.WriteFile(name, []byte(before+line(3, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		limit int
		size  int
		want  []string // the newest of them
		least int      // how many there are
		most  int
	}{
		"all that was there":       {DefaultMemory, len(before), []string{"9", "2", "1"}, 42, 42},
		"only the last have room":  {20_000, len(before), []string{"9", "2", "1"}, 10, 20},
		"a file without a record":  {DefaultMemory, 0, []string{"9"}, 1, 1},
		"there is no room for any": {10, len(before), []string{"9"}, 1, 1},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewRecent(test.limit)
				f := NewFeed(m)
				f.Offer([]byte(line(9, nil)))
				ctx, cancel := context.WithCancel(t.Context())
				if err := f.Fill(ctx, name, int64(test.size)); err != nil {
					t.Fatal(err)
				}
				go f.Run(ctx)
				synctest.Wait()
				found, _, err := m.Find(t.Context(), &Search{}, "", 100)
				if diff := cmp.Diff(test.want, requests(found[:min(len(found), 3)])); diff != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
				if len(found) < test.least || len(found) > test.most {
					t.Errorf("%d records, want %d to %d", len(found), test.least, test.most)
				}
				cancel()
			})
		})
	}
}

func TestFeedWithoutItsFile(t *testing.T) {
	err := NewFeed(NewRecent(DefaultMemory)).Fill(t.Context(), filepath.Join(t.TempDir(), "no.log"), 10)
	if err == nil || !strings.Contains(err.Error(), "no.log") {
		t.Errorf("Fill = %v", err)
	}
}
