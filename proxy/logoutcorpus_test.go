package proxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// logoutCase is one logout message as package saml's tests write it.
type logoutCase struct {
	corpusCase
	Method string `json:"method"`
	Query  string `json:"query"`
	Body   string `json:"body"`
	SLOURL string `json:"slo_url"`
}

// readLogoutCorpus has package saml's tests write the corpus, and reads it.
func readLogoutCorpus(t *testing.T) []logoutCase {
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

// judge is the service provider of the case at hand where it judges logout requests.
type judge struct {
	scriptedSAML
	real atomic.Pointer[saml.ServiceProvider]
}

func (j *judge) IdP() saml.IdPInfo { return saml.IdPInfo{EntityID: corpusIdP} }

func (j *judge) VerifyLogoutRequest(ctx context.Context, m saml.LogoutMessage, trace *saml.Trace) (*saml.LogoutRequest, error) {
	return j.real.Load().VerifyLogoutRequest(ctx, m, trace)
}

const corpusIdP = "https://idp.example.test/metadata"

// atTheDoor is the code of a case at the door, which knows the identity provider by
// the issuer, and who has begun a sign-off by the browser.
func (c *logoutCase) atTheDoor() (code string, judged bool) {
	switch id, _, _ := strings.Cut(c.ID, "-"); {
	case c.Code == saml.CodeIdPMetadataExpired: // it could not even be read by now
		return "", false
	case len(c.Query) > 64<<10: // the server refuses such an address by itself
		return "", false
	case strings.Contains(c.Query+c.Body, "SAMLResponse="):
		return "", false // an answer, of a browser that has asked for nothing
	case id == "C38" || id == "C58": // nobody says who sends it
		return saml.CodeIssuer, true
	}
	return c.Code, true
}

// TestLogoutCorpusAtTheDoor sends every logout request of the corpus to the real
// endpoint, by both bindings, and holds the access log to verdict and code, the page
// to being one and the same for whatever was refused, and the cost to the budget.
func TestLogoutCorpusAtTheDoor(t *testing.T) {
	provider := &judge{}
	w := newWorld(t, func(cfg *proxy.Config) { cfg.IdPs[0].SAML = provider })
	pages := map[string]string{}
	var worst cost
	sent := 0
	for _, c := range readLogoutCorpus(t) {
		want, judged := c.atTheDoor()
		if !judged {
			continue
		}
		cfg := c.config(t)
		cfg.SLOURL = c.SLOURL
		sp, err := saml.New(cfg)
		if err != nil {
			t.Fatalf("%s: %v", c.ID, err)
		}
		provider.real.Store(sp)
		b := w.browser()
		before := spent()
		page := b.send(c.Method, w.origin(doorHost)+"/saml/slo", c.Query, c.Body)
		worst = worst.max(spent().since(before, c.ID))
		sent++
		line := w.lastRecord(sent)
		if refused := line["event.reason"]; want != "" && refused != want || (want == "") != (line["sallyport.decision"] == "allow") {
			t.Errorf("%s %s: decision %v, reason %v, want code %q", c.ID, c.Name, line["sallyport.decision"], refused, want)
		}
		if want != "" {
			body := strings.ReplaceAll(page.body, fmt.Sprint(line["http.request.id"]), "NUMBER")
			pages[fmt.Sprint(page.StatusCode)+body] += " " + c.ID
		}
	}
	if len(pages) != 1 || sent < 150 {
		t.Errorf("%d different pages for refusals of %d messages, want one: %q", len(pages), sent, pages)
	}
	if worst.bytes > 8<<20 {
		t.Errorf("%s cost %d bytes, at most 8 MiB are allowed", worst.bytesOf, worst.bytes)
	}
	t.Logf("%d messages at the door; the most expensive: %s of CPU (%s), %d KiB (%s), browser included", sent, worst.cpu, worst.cpuOf, worst.bytes>>10, worst.bytesOf)
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
