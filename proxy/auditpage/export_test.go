package auditpage

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func newRequest(tb testing.TB, method, path string) *http.Request {
	tb.Helper()
	return httptest.NewRequestWithContext(tb.Context(), method, "/.sallyport/audit"+path, nil)
}

func TestExportCSV(t *testing.T) {
	p := newPage(t, line(1, nil), line(2, func(r *accesslog.Record) {
		r.User, r.Path, r.Reason, r.Rule = `=HYPERLINK("https://evil.example")`, "/a,b\"c", "+1", "@x"
	}))
	w, visit := get(t.Context(), p, pathCSV, "last=all")
	if w.Code != http.StatusOK || visit.Err != nil || w.Header().Get("Content-Type") != "text/csv; charset=utf-8" ||
		w.Header().Get("Content-Disposition") != `attachment; filename="sallyport-access-log-20261126T120000Z.csv"` {
		t.Errorf("status %d, %v, %v", w.Code, visit.Err, w.Header())
	}
	got, err := csv.NewReader(w.Body).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"time", "action", "decision", "reason", "rule", "user", "route", "method", "host", "path", "status", "address", "request_id", "session", "instance", "sequence"},
		{"2026-11-26T11:43:22Z", "access", "allow", "'+1", "'@x", `'=HYPERLINK("https://evil.example")`, "notes", "GET", "notes.example.com", "/a,b\"c", "200", "192.0.2.7", "aaaaaaaaaaaa0002", "0123456789abcdef", "", "0"},
		{"2026-11-26T11:43:21Z", "access", "allow", "group_allowed", "group:engineers", "alice@example.com", "notes", "GET", "notes.example.com", "/pages/7", "200", "192.0.2.7", "aaaaaaaaaaaa0001", "0123456789abcdef", "", "0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("CSV (-want +got):\n%s", diff)
	}
}

// TestExportJSONIsTheLogItself: every record stands there byte for byte.
func TestExportJSONIsTheLogItself(t *testing.T) {
	lines := []string{denial(1, "bob@example.com"), line(2, nil), line(3, nil)}
	p := newPage(t, lines...)
	for query, want := range map[string][]string{"last=all": {lines[2], lines[1], lines[0]}, "last=all&decision=deny": {lines[0]}, "last=all&person=x": nil} {
		w, _ := get(t.Context(), p, pathJSON, query)
		var got []json.RawMessage
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var all []string
		for _, record := range got {
			all = append(all, string(record)+"\n")
		}
		if diff := cmp.Diff(want, all); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
}

func TestExportIsBounded(t *testing.T) {
	p := newPage(t, strings.Repeat(line(1, nil), MaxExport+10))
	w, _ := get(t.Context(), p, pathCSV, "last=all")
	if n := strings.Count(w.Body.String(), "\r\n"); n != MaxExport+1 {
		t.Errorf("%d lines, want %d", n, MaxExport+1)
	}
	if w, visit := get(t.Context(), p, pathCSV, "last=never"); w.Code != http.StatusBadRequest || visit.Err == nil {
		t.Errorf("a search that is none: status %d, %v", w.Code, visit.Err)
	}
}
