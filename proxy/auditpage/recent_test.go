package auditpage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// requests are the numbers of what was found.
func requests(found []Record) []string {
	var all []string
	for i := range found {
		all = append(all, strings.TrimLeft(strings.TrimPrefix(found[i].Value(audit.RequestID), "aaaaaaaaaaaa"), "0"))
	}
	return all
}

func TestRecentFinds(t *testing.T) {
	m := NewRecent(DefaultMemory)
	m.Add(line(1, nil) + line(2, func(r *accesslog.Record) { r.User, r.Route = "bob@example.com", "wiki" }) + denial(3, "bob@example.com") +
		line(4, func(r *accesslog.Record) { r.ClientAddress, r.SessionID = "198.51.100.9", "ffff" }) +
		line(5, func(r *accesslog.Record) { r.Rule, r.Path = "admin/group:admins", "/admin/x" }))
	tests := []struct {
		query string
		want  []string
	}{
		{"last=all", []string{"5", "4", "3", "2", "1"}},
		{"last=all&person=bob@example.com", []string{"3", "2"}},
		{"last=all&person=bob", nil},
		{"last=all&tool=wiki", []string{"2"}},
		{"last=all&decision=deny", []string{"3"}},
		{"last=all&reason=not_in_allow&tool=notes", []string{"3"}},
		{"last=all&rule=group:admins", []string{"5"}},
		{"last=all&path=/admin", []string{"5"}},
		{"last=all&session=ffff", []string{"4"}},
		{"last=all&address=198.51.100.0/24", []string{"4"}},
		{"last=all&request=aaaaaaaaaaaa0002", []string{"2"}},
		{"last=all&text=BOB@", []string{"3", "2"}},
		{"from=2026-11-26T11:43:23&until=2026-11-26T11:43:25", []string{"4", "3"}},
		{"last=15m", nil},
	}
	for _, test := range tests {
		found, _, err := m.Find(t.Context(), search(t, test.query), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, requests(found)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.query, diff)
		}
	}
}

// TestRecentPagesHaveEveryRecordOnce: also when others come meanwhile.
func TestRecentPagesHaveEveryRecordOnce(t *testing.T) {
	m := NewRecent(DefaultMemory)
	for n := range 3 * sheetRecords {
		m.Add(line(n, nil))
	}
	seen, behind := map[string]bool{}, ""
	for pages := 0; ; pages++ {
		found, end, err := m.Find(t.Context(), search(t, "last=all&tool=notes"), behind, 500)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range requests(found) {
			if seen[id] {
				t.Errorf("%s came twice", id)
			}
			seen[id] = true
		}
		if end == "" {
			break
		}
		behind = end
		m.Add(line(9000+pages, nil))
	}
	if len(seen) != 3*sheetRecords {
		t.Errorf("%d records, want %d", len(seen), 3*sheetRecords)
	}
	if _, _, err := m.Find(t.Context(), search(t, ""), "x", 1); !errors.Is(err, ErrQuery) {
		t.Errorf("a place that there is not: %v", err)
	}
}

// TestRecentStaysWithinItsMemory, and knows what it has let go.
func TestRecentStaysWithinItsMemory(t *testing.T) {
	const limit = 1 << 20
	m := NewRecent(limit)
	for n := range 5000 {
		m.Add(line(n, func(r *accesslog.Record) { r.Path = "/" + strings.Repeat("x", n%2000) }))
	}
	m.mu.Lock()
	size, sum := m.size, 0
	for _, p := range m.pages {
		for i := range p.records {
			sum += p.records[i].size()
		}
	}
	m.mu.Unlock()
	if size != sum || size > limit || size < limit/2 {
		t.Errorf("%d bytes, counted as %d, want between %d and %d", sum, size, limit/2, limit)
	}
	e, err := m.Extent(t.Context())
	if err != nil || e.Count == 0 || !e.First.After(noon.AddDate(0, 0, -1)) || e.Last.Before(e.First) {
		t.Errorf("extent %+v, %v", e, err)
	}
}

func TestRecentCountsWhatItCannotRead(t *testing.T) {
	m := NewRecent(DefaultMemory)
	m.Add("\n{\"torn\":\nnonsense\n" + line(1, nil) + `{"@timestamp":"2026"}` + "\n")
	m.Missing(2)
	if e, _ := m.Extent(t.Context()); e.Count != 1 || e.Missed != 5 {
		t.Errorf("%d records, %d missed", e.Count, e.Missed)
	}
}

func TestTimelineCountsWhatIsFound(t *testing.T) {
	m := NewRecent(DefaultMemory)
	for n := range 600 {
		if n%3 == 0 {
			m.Add(denial(n, "bob@example.com"))
			continue
		}
		m.Add(line(n, nil))
	}
	e, _ := m.Extent(t.Context())
	steps, name, _ := stepsOf(e.First, noon)
	if name != "minute" || steps.Count > maxSteps {
		t.Fatalf("%d steps of a %s", steps.Count, name)
	}
	counted, err := m.Timeline(t.Context(), search(t, "last=all"), steps)
	if err != nil {
		t.Fatal(err)
	}
	all, turned := 0, 0
	for _, s := range counted {
		all, turned = all+s.All, turned+s.Denied
	}
	if all != 600 || turned != 200 {
		t.Errorf("%d records and %d denials, want 600 and 200", all, turned)
	}
}

func TestDenialsByKind(t *testing.T) {
	m := NewRecent(DefaultMemory)
	m.Add(denial(1, "bob@example.com") + denial(2, "bob@example.com") + denial(3, "dave@example.com") + line(4, nil))
	m.Add(line(5, func(r *accesslog.Record) {
		r.Decision, r.Reason, r.Rule, r.User, r.Route = "deny", "no_session", "", "", "wiki"
	}))
	got, err := m.Denials(t.Context(), search(t, "last=all"), 10)
	want := []Denial{
		{Reason: "not_in_allow", Tool: "notes", Count: 3, People: 2, Last: noon.Add(-997e9)},
		{Reason: "no_session", Tool: "wiki", Count: 1, Last: noon.Add(-995e9)},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestRecentWhileItGrows: searches hold nobody up who adds, and see whole records.
func TestRecentWhileItGrows(t *testing.T) {
	m := NewRecent(1 << 20)
	var adding, searching sync.WaitGroup
	done := make(chan struct{})
	for worker := range 2 {
		adding.Go(func() {
			for n := range 2000 {
				m.Add(line(n, func(r *accesslog.Record) { r.User = fmt.Sprintf("p%d", worker) }))
			}
		})
	}
	for range 2 {
		searching.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				found, _, err := m.Find(context.Background(), &Search{}, "", 100)
				if err != nil {
					t.Error(err)
				}
				for i := 1; i < len(found); i++ {
					if found[i].Position >= found[i-1].Position || found[i].Value(audit.Route) != "notes" {
						t.Errorf("record %d follows %d: %s", found[i].Position, found[i-1].Position, found[i].Line)
						return
					}
				}
			}
		})
	}
	adding.Wait()
	close(done)
	searching.Wait()
	if newest, _ := m.Newest(); newest != 4000 {
		t.Errorf("newest is %d", newest)
	}
}

func BenchmarkRecentAdd(b *testing.B) {
	m, l := NewRecent(DefaultMemory), strings.TrimSuffix(line(1, nil), "}\n")+`,"sallyport.log.instance":"abcdefghijklmnopqrstuvwxyz","sallyport.log.sequence":1,"sallyport.log.previous":"`+strings.Repeat("A", 43)+"\"}\n"
	b.ReportAllocs()
	for b.Loop() {
		m.Add(l)
	}
}

// BenchmarkRecentFind looks through a full memory for what is not there.
func BenchmarkRecentFind(b *testing.B) {
	m, l := NewRecent(DefaultMemory), strings.Repeat(line(1, nil), 500)
	for range 120 {
		m.Add(l)
	}
	s := search(b, "last=all&person=bob&address=10.0.0.0/8")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := m.Find(b.Context(), s, "", 50); err != nil {
			b.Fatal(err)
		}
	}
}
