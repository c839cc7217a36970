package auditpage

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// written makes a log and an old file of it, with 300 records each, every third a denial.
func written(tb testing.TB) (name string, all string) {
	tb.Helper()
	name = filepath.Join(tb.TempDir(), "access.log")
	for i, file := range []string{name + ".1", name} {
		var b strings.Builder
		for n := 300 * i; n < 300*(i+1); n++ {
			if n%3 == 0 {
				b.WriteString(denial(n, "bob@example.com"))
				continue
			}
			b.WriteString(line(n, nil))
		}
		all += b.String()
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return name, all
}

// newHistory is one of a log, with its index made.
func newHistory(tb testing.TB, name string, recent *Recent) *History {
	tb.Helper()
	h := NewHistory(HistoryConfig{Directory: filepath.Join(tb.TempDir(), "index"), File: name, Recent: recent, Log: slog.New(slog.DiscardHandler)})
	if err := h.update(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(h.close)
	return h
}

// TestHistoryAnswersAsMemoryDoes: both are the same Store to a page.
func TestHistoryAnswersAsMemoryDoes(t *testing.T) {
	name, all := written(t)
	m := NewRecent(DefaultMemory)
	m.Add(all)
	h := newHistory(t, name, m)
	for _, query := range []string{"last=all", "last=all&person=bob@example.com", "last=all&decision=allow&path=/pages", "from=2026-11-26T11:45&until=2026-11-26T11:50", "last=all&text=SECRET", "last=all&person=nobody"} {
		s := search(t, query)
		var got [2][]string
		for i, store := range []Store{m, h} {
			behind := ""
			for range 100 {
				found, end, err := store.Find(t.Context(), s, behind, 50)
				if err != nil {
					t.Fatalf("%s: %v", query, err)
				}
				got[i] = append(got[i], requests(found)...)
				if behind = end; end == "" {
					break
				}
			}
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Errorf("%s: records (-memory +index):\n%s", query, diff)
		}
		for _, steps := range []Steps{{noon.Add(-time.Hour), time.Minute, 60}, {noon.Add(-4 * time.Hour), time.Hour, 5}, {noon.Add(-60 * time.Hour).Truncate(24 * time.Hour), 24 * time.Hour, 4}} {
			want, err := m.Timeline(t.Context(), s, steps)
			got, fault := h.Timeline(t.Context(), s, steps)
			if diff := cmp.Diff(want, got); diff != "" || err != nil || fault != nil {
				t.Errorf("%s: steps of %v, %v, %v (-memory +index):\n%s", query, steps.Each, err, fault, diff)
			}
		}
		want, err := m.Denials(t.Context(), s, 10)
		denials, fault := h.Denials(t.Context(), s, 10)
		if diff := cmp.Diff(want, denials); len(want)+len(denials) > 0 && diff != "" || err != nil || fault != nil {
			t.Errorf("%s: denials, %v, %v (-memory +index):\n%s", query, err, fault, diff)
		}
	}
	e, err := h.Extent(t.Context())
	if err != nil || e.Count != 600 || e.Source != "in 2 of its files" {
		t.Errorf("extent %+v, %v", e, err)
	}
}

// TestHistoryHasWhatWasJustWritten, and answers from memory until there is an index.
func TestHistoryHasWhatWasJustWritten(t *testing.T) {
	name, _ := written(t)
	m := NewRecent(DefaultMemory)
	m.Add(line(7000, nil))
	h := NewHistory(HistoryConfig{Directory: filepath.Join(t.TempDir(), "index"), File: name, Recent: m, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(h.close)
	newest := func() string {
		t.Helper()
		found, _, err := h.Find(t.Context(), search(t, "last=all"), "", 1)
		if err != nil || len(found) != 1 {
			t.Fatalf("%d records, %v", len(found), err)
		}
		return requests(found)[0]
	}
	if got := newest(); got != "7000" {
		t.Errorf("without an index: %s", got)
	}
	if err := h.update(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := newest(); got != "599" {
		t.Errorf("with it: %s", got)
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(line(600, nil)); err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	h.updated = time.Time{} // as if a moment had passed
	h.mu.Unlock()
	if got := newest(); got != "600" {
		t.Errorf("a moment later: %s", got)
	}
}

func TestHistoryEndsWithItsTime(t *testing.T) {
	name, _ := written(t)
	h := newHistory(t, name, NewRecent(DefaultMemory))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ErrSlow)
	if _, _, err := h.Find(ctx, search(t, "last=all&text=x"), "", 1); !errors.Is(err, ErrSlow) {
		t.Errorf("Find = %v", err)
	}
	if _, _, err := h.Find(t.Context(), search(t, "last=all"), "12", 1); !errors.Is(err, ErrQuery) {
		t.Errorf("a place that there is not: %v", err)
	}
}
