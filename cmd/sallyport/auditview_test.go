package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/auditpage"
)

// audited is the configuration of a gateway with an audit page.
func audited(t *testing.T, file, page string) *config.Gateway {
	t.Helper()
	cfg, err := config.LoadGateway("gateway.yaml", []byte("door: {host: door.example.com}\naccess_log: {file: \""+file+"\", audit_page: "+page+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestNoAuditPageUnlessAskedFor(t *testing.T) {
	v, err := newAuditView(audited(t, "-", "{groups: []}"), slog.New(slog.DiscardHandler))
	if v != nil || err != nil || v.sinks() != nil || v.beside() != nil || v.audit(config.AuditPage{Groups: []string{"auditors"}}) != nil {
		t.Errorf("a view %v, %v", v, err)
	}
}

// TestAuditViewShowsTheLog: what was in the file, and what is written to it afterwards; it
// outlives the groups that may look.
func TestAuditViewShowsTheLog(t *testing.T) {
	for _, index := range []string{"none", filepath.Join(t.TempDir(), "index")} {
		t.Run("index "+filepath.Base(index), func(t *testing.T) {
			file, log := filepath.Join(t.TempDir(), "access.log"), slog.New(slog.NewTextHandler(t.Output(), nil))
			cfg := audited(t, file, "{groups: [auditors], max_age: 5m, index: "+index+"}")
			record := func(n string) *accesslog.Record {
				return &accesslog.Record{Time: time.Now(), Action: accesslog.ActionAccess, Decision: accesslog.DecisionAllow, RequestID: n}
			}
			if err := os.WriteFile(file, record("before").AppendJSON(nil, "sallyport-gateway"), 0o600); err != nil {
				t.Fatal(err)
			}
			v, err := newAuditView(cfg, log)
			if err != nil {
				t.Fatal(err)
			}
			access, _, err := openGatewayLog(t.Context(), cfg.AccessLog, logParts{beside: v.sinks()}, nil, log)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			var running sync.WaitGroup
			for _, run := range v.beside() {
				running.Go(func() { run(ctx) })
			}
			if err := access.Write(record("afterwards")); err != nil {
				t.Fatal(err)
			}
			page := v.audit(cfg.AccessLog.AuditPage)
			if page == nil || page.MaxAge != 5*time.Minute || !cmp.Equal(page.Groups, []string{"auditors"}) {
				t.Errorf("page %+v", page)
			}
			if v.audit(config.AuditPage{}) != nil {
				t.Error("there is a page for nobody")
			}
			awaitRecords(t, page.Page, "before", "afterwards", "log_start")
			stop()
			running.Wait()
			if err := access.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// awaitRecords waits until the page shows each of the texts.
func awaitRecords(t *testing.T, page *auditpage.Page, texts ...string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(10 * time.Millisecond) {
		w := httptest.NewRecorder()
		page.Serve(t.Context(), w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?last=all", nil), "", auditpage.Viewer{User: "erin"})
		missing := ""
		for _, text := range texts {
			if !strings.Contains(w.Body.String(), text) {
				missing = text
			}
		}
		switch {
		case missing == "":
			return
		case time.Now().After(deadline):
			t.Fatalf("%s is not on the page:\n%s", missing, w.Body)
		}
	}
}

func TestAuditSettingsThatNeedARestart(t *testing.T) {
	tests := map[string]struct{ before, after, want string }{
		"nothing changes":       {"{groups: [a]}", "{groups: [a]}", ""},
		"other groups":          {"{groups: [a], max_age: 1h}", "{groups: [b, c], max_age: 5m}", ""},
		"the page is taken":     {"{groups: [a], memory_mib: 64}", "{groups: [], memory_mib: 32}", ""},
		"there is one from now": {"{groups: []}", "{groups: [a, b]}", `access_log.audit_page.groups changes from "none" to "a, b", which needs a restart`},
		"more memory":           {"{groups: [a]}", "{groups: [a], memory_mib: 128}", `access_log.audit_page.memory_mib changes from "64" to "128", which needs a restart`},
		"an index":              {"{groups: [a]}", "{groups: [a], index: /var/lib/a}", `access_log.audit_page.index changes from "none" to "/var/lib/a", which needs a restart`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before, after := audited(t, "/var/log/a.log", test.before), audited(t, "/var/log/a.log", test.after)
			err := needsRestart(before, after, nil)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("needsRestart = %v, want %q", err, test.want)
			}
		})
	}
}
