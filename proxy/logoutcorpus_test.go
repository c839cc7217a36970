package proxy_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// logoutCase is a logout message as package saml's tests write it.
type logoutCase struct {
	corpusCase
	Method string `json:"method"`
	Query  string `json:"query"`
	Body   string `json:"body"`
	SLOURL string `json:"slo_url"`
}

// logoutCorpus has package saml's tests write the logout corpus, and reads it.
func logoutCorpus(t *testing.T) []logoutCase {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "../saml", "-run", "^TestWriteLogoutCorpus$", "-corpus", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("writing the corpus: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 200 {
		t.Fatalf("%d cases, %v: some got lost", len(files), err)
	}
	var all []logoutCase
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c logoutCase
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		c.ID = strings.TrimSuffix(filepath.Base(file), ".json")
		all = append(all, c)
	}
	return all
}

// judge is the service provider that the case is for, made while its metadata was
// good.
func (c *logoutCase) judge(t *testing.T) *saml.ServiceProvider {
	t.Helper()
	now := c.Now
	c.Now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	defer func() { c.Now = now }()
	cfg := c.config(t)
	cfg.SLOURL = c.SLOURL
	sp, err := saml.New(cfg)
	if err != nil {
		t.Fatalf("%s: %v", c.ID, err)
	}
	return sp
}

// switchedLogout is the service provider of the case at hand, for whatever comes
// from the identity provider; what goes there is scripted.
type switchedLogout struct {
	*scriptedSAML
	real    atomic.Pointer[saml.ServiceProvider]
	request atomic.Pointer[string] // that the case says this browser was given
}

func (s *switchedLogout) VerifyLogoutRequest(ctx context.Context, m saml.LogoutMessage, trace *saml.Trace) (*saml.LogoutRequest, error) {
	return s.real.Load().VerifyLogoutRequest(ctx, m, trace)
}

func (s *switchedLogout) VerifyLogoutResponse(ctx context.Context, m saml.LogoutMessage, _ string, trace *saml.Trace) (*saml.LogoutResponse, error) {
	return s.real.Load().VerifyLogoutResponse(ctx, m, *s.request.Load(), trace)
}

// TestLogoutCorpusAtTheDoor sends every case to the real endpoint, in a browser that
// waits for an answer, by both bindings, and holds the access log to verdict and code,
// the page to being one and the same for whatever was refused, and the cost to the
// budget.
func TestLogoutCorpusAtTheDoor(t *testing.T) {
	provider := &switchedLogout{}
	w := newWorld(t, func(cfg *proxy.Config) {
		provider.scriptedSAML = cfg.IdPs[0].SAML.(*scriptedSAML)
		cfg.IdPs[0].SAML = provider
	})
	lines := 0
	waiting := func() *browser {
		b := signedInEverywhere(w, saml.BindingRedirect)
		b.post(w.origin(doorHost)+signOutPath, "same-origin", nil)
		lines += 10
		w.records(lines)
		return b
	}
	b, cases, pages := waiting(), logoutCorpus(t), map[string]string{}
	var worst cost
	for _, c := range cases {
		provider.real.Store(c.judge(t))
		provider.request.Store(&c.Request)
		before := spent()
		page := b.send(c.Method, w.origin(doorHost)+"/saml/slo", c.Query, c.Body)
		worst = worst.max(spent().since(before, c.ID))
		if page.StatusCode == http.StatusRequestHeaderFieldsTooLarge && c.Code != "" {
			continue // net/http has refused a query of that size before anybody of ours saw it
		}
		lines++
		line := w.lastRecord(lines)
		accepted := line["sallyport.decision"] == "allow"
		if c.Code != "" && line["event.reason"] != c.Code || (c.Code == "") != accepted {
			t.Errorf("%s %s (%s): decision %v, reason %v, want code %q", c.ID, c.Name, c.Method, line["sallyport.decision"], line["event.reason"], c.Code)
		}
		if accepted {
			b = waiting()
			continue
		}
		pages[strings.ReplaceAll(page.body, line["http.request.id"].(string), "NUMBER")] += " " + c.ID
	}
	if len(pages) != 1 {
		t.Errorf("%d different pages for refusals, want one: %q", len(pages), pages)
	}
	if worst.bytes > 8<<20 {
		t.Errorf("%s cost %d bytes, at most 8 MiB are allowed", worst.bytesOf, worst.bytes)
	}
	t.Logf("%d messages at the door; the most expensive: %s of CPU (%s), %d KiB (%s), browser included", len(cases), worst.cpu, worst.cpuOf, worst.bytes>>10, worst.bytesOf)
}

// send brings a message as a browser does whom another site has sent here.
func (b *browser) send(method, address, query, body string) answer {
	req := b.request(method, address, strings.NewReader(body))
	req.URL.RawQuery = query
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		req.Body, req.ContentLength = nil, 0
	}
	return b.do(req)
}
