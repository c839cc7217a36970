package saml

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// exportedLogout is a logout case as the door's own tests read it. Keys are of these
// tests, made anew in each run.
type exportedLogout struct {
	ID       string           `json:"id"`
	Name     string           `json:"name"`
	Method   string           `json:"method"`
	Query    string           `json:"query"`
	Body     string           `json:"body"`
	Code     string           `json:"code"`    // of the refusal; empty: accepted
	Request  string           `json:"request"` // ID of the request that this browser was given; may be empty
	Now      time.Time        `json:"now"`     // by the service provider's clock
	SLOURL   string           `json:"slo_url"`
	Provider exportedProvider `json:"provider"`
}

// sending is a binding that a case comes by.
type sending func(logoutCase, testing.TB, *testIdP) *http.Request

// TestWriteLogoutCorpus is for other tests, which run it with -corpus; by itself it
// makes sure that every case can be written down.
func TestWriteLogoutCorpus(t *testing.T) {
	write := func(cases []logoutCase, binding string, send sending) {
		for _, c := range cases {
			data, err := json.Marshal(c.export(t, send))
			if err != nil {
				t.Fatalf("%s: %v", c.id, err)
			}
			if *corpusDir == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(*corpusDir, c.id+"-"+binding+".json"), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(append(logoutCorpus(), postCorpus()...), "post", logoutCase.byPost)
	write(append(logoutCorpus(), queryCorpus(t)...), "redirect", logoutCase.byRedirect)
}

// export builds the message as it arrives.
func (c logoutCase) export(t *testing.T, send sending) exportedLogout {
	t.Helper()
	idp, cfg, request := c.scenery(t)
	r := send(c, t, idp)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return exportedLogout{
		ID: c.id, Name: c.name, Method: r.Method, Query: r.URL.RawQuery, Body: string(body), Code: c.want,
		Request: request, Now: testNow.Add(c.clock), SLOURL: cfg.SLOURL, Provider: exportProvider(t, cfg),
	}
}
