package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

var tracedAt = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// ask gets one page of the flight recorder.
func ask(t *testing.T, ts *proxy.Traces, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	ts.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestTracesAreServedToOperators(t *testing.T) {
	ts := proxy.NewTraces()
	proxy.AddTrace(ts, proxy.Traced{RequestID: "aaaa", Time: tracedAt, Decision: "deny", Reason: "form", Cause: "no field"}, "192.0.2.1")
	proxy.AddTrace(ts, proxy.Traced{
		RequestID: "bbbb", Time: tracedAt.Add(time.Second), IdP: "corp", Decision: "deny", Reason: "audience", Cause: "audience: private",
		Trace: saml.Trace{
			Message: "Response", ID: "_1", Issued: tracedAt.Add(3 * time.Second), Received: tracedAt.Add(time.Second), Certificate: "5d41",
			Attributes: []saml.TracedAttribute{{Name: "mail", Values: 1}},
			Checks:     []saml.Check{{Name: "signature"}, {Name: "audience", Want: "https://sp", Got: "https://other", Code: "audience"}},
		},
	}, "192.0.2.1")

	status, list := ask(t, ts, "/saml/traces")
	const wantList = `{
  "traces": [
    {
      "request_id": "bbbb",
      "time": "2026-11-26T12:00:01Z",
      "idp": "corp",
      "message": "Response",
      "decision": "deny",
      "reason": "audience"
    },
    {
      "request_id": "aaaa",
      "time": "2026-11-26T12:00:00Z",
      "decision": "deny",
      "reason": "form"
    }
  ]
}
`
	if diff := cmp.Diff(wantList, list); status != http.StatusOK || diff != "" {
		t.Errorf("list %d (-want +got):\n%s", status, diff)
	}
	status, whole := ask(t, ts, "/saml/traces/bbbb")
	const wantWhole = `{
  "request_id": "bbbb",
  "time": "2026-11-26T12:00:01Z",
  "idp": "corp",
  "message": "Response",
  "decision": "deny",
  "reason": "audience",
  "cause": "audience: private",
  "id": "_1",
  "issued": "2026-11-26T12:00:03Z",
  "received": "2026-11-26T12:00:01Z",
  "clock_offset_seconds": 2,
  "certificate": "5d41",
  "attributes": [
    {
      "name": "mail",
      "values": 1
    }
  ],
  "checks": [
    {
      "name": "signature"
    },
    {
      "name": "audience",
      "want": "https://sp",
      "got": "https://other",
      "code": "audience"
    }
  ]
}
`
	if diff := cmp.Diff(wantWhole, whole); status != http.StatusOK || diff != "" {
		t.Errorf("whole %d (-want +got):\n%s", status, diff)
	}
	if status, body := ask(t, ts, "/saml/traces/cccc"); status != http.StatusNotFound || !strings.Contains(body, `"error": "not_found"`) {
		t.Errorf("an unknown request: %d %s", status, body)
	}
	if status, body := ask(t, nil, "/saml/traces"); status != http.StatusOK || body != "{\n  \"traces\": []\n}\n" {
		t.Errorf("a gateway that keeps nothing: %d %s", status, body)
	}
}

// A stranger writes IssueInstant, and some times of RFC 3339 are none of JSON's in UTC.
func TestNoTimeHidesATrace(t *testing.T) {
	ts := proxy.NewTraces()
	for id, written := range map[string]string{"late": "9999-12-31T23:59:59-14:00", "early": "0000-01-01T00:00:00+14:00"} {
		issued, err := time.Parse(time.RFC3339, written)
		if err != nil {
			t.Fatal(err)
		}
		proxy.AddTrace(ts, proxy.Traced{RequestID: id, Time: tracedAt, Trace: saml.Trace{Issued: issued, Received: tracedAt}}, "192.0.2.1")
		if _, body := ask(t, ts, "/saml/traces/"+id); !strings.Contains(body, `"request_id": "`+id+`"`) {
			t.Errorf("issued at %s: %q", written, body)
		}
	}
}

// kept counts the entries whose request ID begins so.
func kept(ts *proxy.Traces, prefix string) (n int) {
	for _, traced := range ts.All() {
		if strings.HasPrefix(traced.RequestID, prefix) {
			n++
		}
	}
	return n
}

func TestStrangersWashOutNobodyElse(t *testing.T) {
	ts := proxy.NewTraces()
	at := tracedAt
	add := func(id, certificate, from string) {
		at = at.Add(time.Millisecond)
		proxy.AddTrace(ts, proxy.Traced{RequestID: id, Time: at, Trace: saml.Trace{Certificate: certificate}}, from)
	}
	for i := range 10 {
		add(fmt.Sprint("signed", i), "5d41", "192.0.2.1")
		add(fmt.Sprint("unlucky", i), "", fmt.Sprint("198.51.100.", i))
	}
	for i := range 5000 { // one host with an IPv6 network of its own
		add(fmt.Sprint("flood", i), "", fmt.Sprintf("2001:db8::%x", i))
	}
	if signed, unlucky, flood := kept(ts, "signed"), kept(ts, "unlucky"), kept(ts, "flood"); signed != 10 || unlucky != 10 || flood != 54 {
		t.Errorf("after a flood %d signed, %d of other people and %d of the flood are kept, want 10, 10, 54", signed, unlucky, flood)
	}
	for i := range 5000 { // from everywhere
		add(fmt.Sprint("everywhere", i), "", fmt.Sprintf("10.%d.%d.1", i/200, i%200))
	}
	if signed, all := kept(ts, "signed"), len(ts.All()); signed != 10 || all != 74 {
		t.Errorf("%d signed of %d in all, want 10 of 74", signed, all)
	}
	for i := range 5000 { // one signed message, brought again and again
		add(fmt.Sprint("again", i), "5d41", "198.51.100.200")
	}
	if signed, again := kept(ts, "signed"), kept(ts, "again"); signed != 10 || again != 190 {
		t.Errorf("%d signed and %d of one that came again are kept, want 10, 190", signed, again)
	}
	for i := range 500 {
		add(fmt.Sprint("more", i), "5d41", "192.0.2.1")
	}
	if all := len(ts.All()); all != 264 || ts.All()[0].RequestID != "more499" {
		t.Errorf("%d are kept in all, the latest is %s", all, ts.All()[0].RequestID)
	}
}

func TestATraceHasAnEnd(t *testing.T) {
	huge := strings.Repeat("é", 1<<20)
	traced := proxy.Traced{RequestID: "aaaa", Cause: huge, Trace: saml.Trace{ID: huge}}
	for range 5000 {
		traced.Trace.Checks = append(traced.Trace.Checks, saml.Check{Name: "some", Want: huge, Got: huge})
		traced.Trace.Attributes = append(traced.Trace.Attributes, saml.TracedAttribute{Name: huge})
	}
	traced.Trace.Checks = append(traced.Trace.Checks, saml.Check{Name: "the last", Code: "audience"})
	ts := proxy.NewTraces()
	proxy.AddTrace(ts, traced, "192.0.2.1")
	got := ts.All()[0]
	encoded, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if len(encoded) > 32<<10 {
		t.Errorf("an entry takes %d bytes", len(encoded))
	}
	if n := len(got.Trace.Checks); n == 0 || got.Trace.Checks[n-1].Code != "audience" {
		t.Errorf("of %d checks that are kept, the last is not the one that failed", n)
	}
	if strings.Contains(string(encoded), "\ufffd") {
		t.Error("a text was cut within a character")
	}
	if len(traced.Trace.Checks[0].Want) != len(huge) {
		t.Error("the caller's own trace was changed")
	}
}
