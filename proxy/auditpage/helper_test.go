package auditpage

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// line is a record of the log as it is written; n numbers it, and says when it was.
func line(n int, change func(*accesslog.Record)) string {
	r := accesslog.Record{
		Time: noon.Add(time.Duration(n-1000) * time.Second), Duration: 5 * time.Millisecond, RequestID: fmt.Sprintf("aaaaaaaaaaaa%04d", n),
		Action: accesslog.ActionAccess, Decision: accesslog.DecisionAllow, Reason: "group_allowed", Rule: "group:engineers", User: "alice@example.com",
		Groups: []string{"engineers", "admins"}, SessionID: "0123456789abcdef", Route: "notes", Method: "GET", Host: "notes.example.com", Path: "/pages/7",
		Status: 200, ClientAddress: "192.0.2.7", ClientPort: "51234", UserAgent: "curl/8",
	}
	if change != nil {
		change(&r)
	}
	return string(r.AppendJSON(nil, "sallyport-gateway"))
}

// denial is such a record of somebody who was turned away.
func denial(n int, person string) string {
	return line(n, func(r *accesslog.Record) {
		r.User, r.Decision, r.Reason, r.Rule, r.Status, r.Path = person, accesslog.DecisionDeny, "not_in_allow", "", 403, "/secret"
	})
}

// newPage is a page over what some lines say.
func newPage(tb testing.TB, lines ...string) *Page {
	tb.Helper()
	recent := NewRecent(DefaultMemory)
	for _, l := range lines {
		recent.Add(l)
	}
	return newPageOver(tb, recent, recent)
}

func newPageOver(tb testing.TB, store Store, recent *Recent) *Page {
	tb.Helper()
	p, err := New(Config{Base: "/.sallyport/audit", Home: "/", Store: store, Recent: recent, Now: func() time.Time { return noon }})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// visitor is who looks in these tests.
var visitor = Viewer{User: "carol@example.com", Name: "Carol"}

// get asks for a path of the page.
func get(ctx context.Context, p *Page, path, query string) (*httptest.ResponseRecorder, Visit) {
	return getAs(ctx, p, path, query, visitor.User)
}

func getAs(ctx context.Context, p *Page, path, query, person string) (*httptest.ResponseRecorder, Visit) {
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/.sallyport/audit"+path, nil)
	r.URL.RawQuery = query
	v := p.Serve(ctx, w, r, path, Viewer{User: person, Name: visitor.Name})
	return w, v
}

// search is what a query looks for.
func search(tb testing.TB, query string) *Search {
	tb.Helper()
	values, err := url.ParseQuery(query)
	if err != nil {
		tb.Fatal(err)
	}
	a := parse(values, noon)
	if len(a.faults) > 0 {
		tb.Fatalf("search %q: %v", query, a.faults)
	}
	return &a.Search
}
