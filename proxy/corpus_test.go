package proxy_test

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// corpusCase is one case as package saml's tests write it.
type corpusCase struct {
	ID       string           `json:"id"`
	Name     string           `json:"name"`
	Response string           `json:"response"`
	Code     string           `json:"code"`
	Request  string           `json:"request"`
	Expect   saml.Expectation `json:"expect"`
	Now      time.Time        `json:"now"`
	Provider struct {
		EntityID     string            `json:"entity_id"`
		ACSURL       string            `json:"acs_url"`
		Key          string            `json:"key"`
		Certificate  string            `json:"certificate"`
		Decryption   [][2]string       `json:"decryption"`
		Metadata     string            `json:"metadata"`
		Attributes   saml.Attributes   `json:"attributes"`
		ClockSkew    time.Duration     `json:"clock_skew"`
		MaxAge       time.Duration     `json:"max_age"`
		AuthnContext saml.AuthnContext `json:"authn_context"`
		UserDomains  []string          `json:"user_domains"`
		PinnedKeys   []string          `json:"pinned_keys"`
		Unsolicited  bool              `json:"unsafe_unsolicited"`
	} `json:"provider"`
}

// readCorpus has package saml's tests write the corpus, and reads it.
func readCorpus(t *testing.T) []corpusCase {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "../saml", "-run", "^TestWriteCorpus$", "-corpus", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("writing the corpus: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 280 {
		t.Fatalf("%d cases, %v: some got lost", len(files), err)
	}
	var all []corpusCase
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c corpusCase
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, c)
	}
	return all
}

// provider is the service provider that the case is for.
func (c *corpusCase) provider(t *testing.T) *saml.ServiceProvider {
	t.Helper()
	sp, err := saml.New(c.config(t))
	if err != nil {
		t.Fatalf("%s: %v", c.ID, err)
	}
	return sp
}

// config is what it is made from.
func (c *corpusCase) config(t *testing.T) saml.Config {
	t.Helper()
	p := c.Provider
	cfg := saml.Config{
		EntityID: p.EntityID, ACSURL: p.ACSURL, IdPMetadata: []byte(p.Metadata), Attributes: p.Attributes,
		ClockSkew: p.ClockSkew, MaxAge: p.MaxAge, AuthnContext: p.AuthnContext, UserDomains: p.UserDomains,
		PinnedKeys: p.PinnedKeys, UnsafeUnsolicited: p.Unsolicited, Now: func() time.Time { return c.Now },
	}
	var err error
	if cfg.Key, cfg.Certificate, err = saml.ParseKeyPair([]byte(p.Key), []byte(p.Certificate)); err != nil {
		t.Fatalf("%s: %v", c.ID, err)
	}
	for _, pair := range p.Decryption {
		key, certificate, err := saml.ParseKeyPair([]byte(pair[0]), []byte(pair[1]))
		if err != nil {
			t.Fatalf("%s: %v", c.ID, err)
		}
		cfg.Decryption = append(cfg.Decryption, saml.DecryptionKey{Key: key.(crypto.Decrypter), Certificate: certificate})
	}
	return cfg
}

// switched is the service provider of the case at hand, but for what was asked for:
// for its own, each sign-on of these tests counts, and the case answers another.
type switched struct {
	scriptedSAML
	real   atomic.Pointer[saml.ServiceProvider]
	expect atomic.Pointer[saml.Expectation]
	begun  atomic.Int64
}

func (s *switched) Begin(want saml.SignOn) (saml.Message, error) {
	address := idpSignOn + "?" + url.Values{"RelayState": {want.RelayState}}.Encode()
	return saml.Message{ID: fmt.Sprintf("_%d", s.begun.Add(1)), IssuedAt: time.Now(), URL: address}, nil
}

func (s *switched) Verify(ctx context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error) {
	expect := *s.expect.Load()
	expect.Trace = want.Trace
	principal, err := s.real.Load().Verify(ctx, p, expect)
	if err == nil {
		principal.IdP = s.IdP().EntityID // each case has one of its own, the door the same for all
	}
	return principal, err
}

// friendlyPages are the codes whose page says more than the one that all others
// share: they give nothing away that whoever sent the response did not know.
var friendlyPages = slices.Concat([]string{saml.CodeStatus, saml.CodeTooManyValues, saml.CodeBusy}, namesNobody)

// namesNobody are the codes of genuine answers that name nobody whom we can pass on.
// They share a page: package saml's TestNobodyIsNamedBeforeTheSignature holds them to
// come behind the signature.
var namesNobody = []string{saml.CodeUser, saml.CodeTransient, saml.CodeAmbiguous, saml.CodeValue, saml.CodeEmail, saml.CodeDomain}

const maxForm = 512 << 10 // a POST that is larger is refused before it is read

// TestCorpusAtTheDoor posts every case of the corpus to the real endpoint and holds
// the access log to verdict and code, the page to being one and the same for
// whatever was refused, and the cost to the budget.
func TestCorpusAtTheDoor(t *testing.T) {
	provider := &switched{}
	w := newWorld(t, func(cfg *proxy.Config) { cfg.IdPs[0].SAML = provider })
	pages, unnamed := map[string]string{}, map[string]string{}
	var worst cost
	cases := readCorpus(t)
	for i, c := range cases {
		provider.real.Store(c.provider(t))
		c.Expect.RequestID = c.Request
		provider.expect.Store(&c.Expect)
		b := w.browser()
		form := url.Values{"SAMLResponse": {c.Response}, "RelayState": {relayStateOf(t, b.navigate(w.origin(doorHost)+"/"))}}
		switch {
		case c.Response == "":
			c.Code = saml.CodeForm
		case len(form.Encode()) > maxForm:
			c.Code = saml.CodeBodySize
		}
		before := spent()
		page := b.post(w.origin(doorHost)+"/saml/acs", "cross-site", form)
		worst = worst.max(spent().since(before, c.ID))
		line := w.lastRecord(2 * (i + 1))
		if refused := line["event.reason"]; c.Code != "" && refused != c.Code || (c.Code == "") != (line["sallyport.decision"] == "allow") {
			t.Errorf("%s %s: decision %v, reason %v, want code %q", c.ID, c.Name, line["sallyport.decision"], refused, c.Code)
		}
		body := strings.ReplaceAll(page.body, fmt.Sprint(line["http.request.id"]), "NUMBER")
		if slices.Contains(namesNobody, c.Code) {
			unnamed[body] += " " + c.ID
		}
		if c.Code == "" || slices.Contains(friendlyPages, c.Code) {
			continue
		}
		pages[fmt.Sprint(page.StatusCode)+body] += " " + c.ID
	}
	if len(pages) != 1 {
		t.Errorf("%d different pages for refusals, want one: %q", len(pages), pages)
	}
	if len(unnamed) != 1 || !strings.Contains(fmt.Sprint(slices.Collect(maps.Keys(unnamed))), "does not say who you are") {
		t.Errorf("%d different pages for genuine answers that name nobody, want one: %q", len(unnamed), unnamed)
	}
	if worst.bytes > 40<<20 {
		t.Errorf("%s cost %d bytes, at most 40 MiB are allowed", worst.bytesOf, worst.bytes)
	}
	t.Logf("%d cases at the door; the most expensive: %s of CPU (%s), %d KiB (%s), browser included", len(cases), worst.cpu, worst.cpuOf, worst.bytes>>10, worst.bytesOf)
}

func relayStateOf(t *testing.T, res answer) string {
	t.Helper()
	at, err := url.Parse(res.Header.Get("Location"))
	if err != nil || res.StatusCode != http.StatusSeeOther {
		t.Fatalf("beginning a sign-on: %d, %v", res.StatusCode, err)
	}
	return at.Query().Get("RelayState")
}

// cost is what this process has spent, or what one request has.
type cost struct {
	cpu            time.Duration
	bytes          uint64
	cpuOf, bytesOf string
}

func spent() cost {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return cost{cpu: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), bytes: memory.TotalAlloc}
}

func (c cost) since(before cost, of string) cost {
	return cost{c.cpu - before.cpu, c.bytes - before.bytes, of, of}
}

func (c cost) max(other cost) cost {
	if other.cpu > c.cpu {
		c.cpu, c.cpuOf = other.cpu, other.cpuOf
	}
	if other.bytes > c.bytes {
		c.bytes, c.bytesOf = other.bytes, other.bytesOf
	}
	return c
}
