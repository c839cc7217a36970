package auditpage

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// told is what a live page was sent. Safe for concurrent use.
type told struct {
	*httptest.ResponseRecorder
	mu sync.Mutex
}

func (w *told) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ResponseRecorder.Write(p)
}

// text is what was sent since the last call.
func (w *told) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.Body.String()
	w.Body.Reset()
	return text
}

// watch opens a stream of p, which ends with ctx.
func watch(ctx context.Context, p *Page, query, lastID string) *told {
	w := &told{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/.sallyport/audit"+pathEvents+"?"+query, nil)
	r.Header.Set("Last-Event-ID", lastID)
	if lastID == "" {
		r.Header.Del("Last-Event-ID")
	}
	go p.Serve(ctx, w, r, pathEvents, visitor)
	return w
}

func TestStreamTellsOfWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t, line(1, nil))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := watch(ctx, p, "decision=deny", "")
		synctest.Wait()
		if got := w.text(); got != ": records come as they are written\n\n" {
			t.Errorf("at first: %q", got)
		}
		p.cfg.Recent.Add(line(2, nil) + denial(3, "bob@example.com"))
		<-time.After(liveEvery)
		synctest.Wait()
		if got := w.text(); !strings.HasPrefix(got, "id: 3\ndata: {") || strings.Count(got, "\n") != 3 || !strings.Contains(got, `"person":"bob@example.com"`) {
			t.Errorf("then: %q", got)
		}
		<-time.After(liveBeat)
		synctest.Wait()
		if got := w.text(); got != ": nothing new\n\n" {
			t.Errorf("later: %q", got)
		}
		cancel()
		synctest.Wait()
		if got := w.text(); got != "event: end\ndata: {}\n\n" {
			t.Errorf("in the end: %q", got)
		}
	})
}

// TestStreamGoesOnWhereItBrokeOff, and begins anew after a restart of the gateway.
func TestStreamGoesOnWhereItBrokeOff(t *testing.T) {
	tests := map[string]struct{ query, lastID, want string }{
		"a page that was just drawn":    {"after=1", "", "id: 2,id: 3"},
		"a stream that broke off":       {"after=1", "2", "id: 3"},
		"nothing is known":              {"", "", ""},
		"of a process before this one":  {"after=900", "", ""},
		"a number that no page has had": {"after=1", "x", "id: 2,id: 3"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPage(t, line(1, nil), line(2, nil), line(3, nil))
				ctx, cancel := context.WithCancel(t.Context())
				w := watch(ctx, p, test.query, test.lastID)
				synctest.Wait()
				var ids []string
				for l := range strings.Lines(w.text()) {
					if strings.HasPrefix(l, "id: ") {
						ids = append(ids, strings.TrimSpace(l))
					}
				}
				if got := strings.Join(ids, ","); got != test.want {
					t.Errorf("told of %q, want %q", got, test.want)
				}
				cancel()
			})
		})
	}
}

// TestStreamOfMany: whoever cannot follow is told of the latest, and how many others
// there were; visits of auditors are not among them.
func TestStreamOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := watch(ctx, p, "", "")
		synctest.Wait()
		w.text()
		view := line(1, func(r *accesslog.Record) { r.Action = accesslog.ActionAuditView })
		p.cfg.Recent.Add(strings.Repeat(view, 10) + strings.Repeat(line(1, nil), 1000))
		<-time.After(liveEvery)
		synctest.Wait()
		got := w.text()
		if !strings.HasPrefix(got, "event: skipped\ndata: 970\n\nid: 981\n") || strings.Count(got, "id: ") != liveRows || strings.Contains(got, "audit_view") {
			t.Errorf("told of %d: %.200s", strings.Count(got, "id: "), got)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t)
		ctx, cancel := context.WithCancel(t.Context())
		for range livePerPerson {
			watch(ctx, p, "", "")
		}
		synctest.Wait()
		refused, visit := get(ctx, p, pathEvents, "")
		if refused.Code != http.StatusServiceUnavailable || visit.Err == nil || refused.Header().Get("Retry-After") == "" {
			t.Errorf("one more: status %d, %v", refused.Code, visit.Err)
		}
		cancel()
		synctest.Wait()
		if p.watchers.all != 0 || len(p.watchers.of) != 0 {
			t.Errorf("%d streams are left, of %v", p.watchers.all, p.watchers.of)
		}
		for i := range liveInAll {
			if !entered(&p.watchers, string(rune('a'+i))) {
				t.Fatalf("no room for the stream of person %d", i)
			}
		}
		if entered(&p.watchers, "one more") {
			t.Error("there is room for one more")
		}
	})
}

// entered reports whether there was a place.
func entered(w *watchers, person string) bool {
	all, mine := w.enter(person)
	return all && mine
}
