package accesslog

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// examples has at least one whole record of every kind, in the order of the kinds.
func examples() []Record {
	return slices.Concat(exampleRequests(), exampleSignOns(), exampleEvents())
}

var exampleTime = time.Date(2026, 11, 22, 20, 29, 1, 123456000, time.UTC)

// exampleRequest is what requests have in common.
func exampleRequest(a Action, decision, reason string) Record {
	return Record{
		Time: exampleTime, Duration: 12 * time.Millisecond, RequestID: "k5z3q7m2w4xa6bcd", Action: a, Decision: decision, Reason: reason,
		User: "alice@example.com", Groups: []string{"engineers"}, SessionID: "9f2c4kq7zw3mxa6b", Route: "grafana", Method: "GET", Host: "grafana.example.com",
		Path: "/d/1", Protocol: "2", Status: 200, BytesOut: 4096, ClientAddress: "192.0.2.7", ClientPort: "51234", TLSVersion: "1.3", UserAgent: "Mozilla/5.0",
	}
}

func exampleRequests() []Record {
	access := exampleRequest(ActionAccess, DecisionAllow, "group_allowed")
	access.Rule, access.Query, access.Upstream, access.UpstreamTime = "group:engineers", "page=2", "10.0.3.7:8443", 9*time.Millisecond
	access.OwnSerial, access.UpstreamSerial, access.Assertion = "3a:92:0b", "77:d1:5e", "q7zk3w5xm2a6c4bd"

	begin := access
	begin.Action, begin.Stream, begin.Status, begin.BytesOut, begin.Path, begin.Query = ActionStream, StreamUpgrade, 101, 0, "/api/live/ws", ""
	end := begin
	end.Action, end.Duration, end.BytesIn, end.BytesOut = ActionAccess, time.Hour, 120, 96000

	denied := exampleRequest(ActionAccess, DecisionDeny, "not_allowed")
	denied.Status = 403
	failed := access
	failed.Status, failed.Attempts, failed.UpstreamSerial, failed.Cause = 502, 2, "", "dial tcp 10.0.3.7:8443: connect: connection refused"

	form := exampleRequest(ActionFormKept, DecisionSignIn, "no_session")
	form.User, form.Groups, form.SessionID, form.Method, form.Status, form.BytesIn = "", nil, "", "POST", 401, 512
	sent := exampleRequest(ActionForm, DecisionAllow, "form_shown")
	sent.Path = "/.sallyport/form"

	door := exampleRequest(ActionPortal, DecisionAllow, "signed_in")
	door.Route, door.Host, door.Path = "", "door.example.com", "/"

	looked := exampleRequest(ActionAuditView, DecisionAllow, "group_allowed")
	looked.User, looked.Groups, looked.Rule, looked.Route, looked.Host, looked.Path = "erin@example.com", []string{"auditors"}, "group:auditors", "", "door.example.com", "/.sallyport/audit"
	looked.Query = "decision=deny&last=24h&person=bob%40example.com"

	refused := exampleRequest(ActionRefused, DecisionDeny, "host")
	refused.User, refused.Groups, refused.SessionID, refused.Route, refused.Host, refused.Status = "", nil, "", "", "no_such_host", 400
	return []Record{access, begin, end, denied, failed, form, sent, door, looked, refused}
}

func exampleSignOns() []Record {
	begin := exampleRequest(ActionSignInBegin, DecisionSignIn, "no_session")
	begin.User, begin.Groups, begin.SessionID, begin.Status = "", nil, "", 303
	again := exampleRequest(ActionSignInBegin, DecisionStepUp, "authn_too_old")
	again.Status, again.StepUp = 303, StepUpAsked

	signIn := exampleRequest(ActionSignIn, DecisionAllow, "assertion_verified")
	signIn.Method, signIn.Host, signIn.Path, signIn.Status, signIn.BytesIn = "POST", "door.example.com", "/.sallyport/saml/acs", 303, 9000
	signIn.IdP, signIn.IdPCertificate = "https://idp.example.com/metadata", "5d41402abc4b2a76"
	signIn.SubjectID, signIn.Assertion, signIn.StepUp = "m5xq2a7cw4zk6bd3", "b3kx7w2qm5za6dc4", StepUpDone
	weak := signIn
	weak.Decision, weak.Reason, weak.Status, weak.SessionID, weak.StepUp = DecisionDeny, "authn_context", 403, "", StepUpRefused

	ticket := exampleRequest(ActionTicket, DecisionAllow, "ticket_redeemed")
	ticket.Path, ticket.Status = "/.sallyport/ticket", 303
	out := exampleRequest(ActionSignOut, DecisionAllow, "asked")
	out.Method, out.Path, out.IdP = "POST", "/.sallyport/sign_out", "https://idp.example.com/metadata"
	return []Record{begin, again, signIn, weak, ticket, out}
}

func exampleEvents() []Record {
	var records []Record
	for _, v := range exampleOfEvents() {
		v.Time = exampleTime
		records = append(records, Record{Time: v.Time, Action: v.Action, Event: &v})
	}
	return records
}

func exampleOfEvents() []Event {
	return []Event{
		{
			Action: ActionRepeated, Failed: true, Decision: DecisionDeny, Reason: "rate_limited", Client: "192.0.2.7",
			Repeated: Repeated{412, exampleTime.Add(-9 * time.Second), exampleTime},
		},
		{
			Action: ActionRevoked, Reason: "logout_request", RequestID: "k5z3q7m2w4xa6bcd", User: "alice@example.com", SessionID: "9f2c4kq7zw3mxa6b",
			SubjectID: "m5xq2a7cw4zk6bd3", IdP: "https://idp.example.com/metadata",
		},
		{Action: ActionConfig, Reason: "changed", Object: Object{"configuration", "secret/sallyport/gateway", "4", "3", []string{"limits", "routes.grafana"}}},
		{Action: ActionConfig, Failed: true, Reason: "version_refused", Object: Object{Kind: "configuration", Name: "secret/sallyport/gateway", Version: "5", Before: "4"}, Cause: `listen.https changes from ":8443" to ":443", which needs a restart`},
		{Action: ActionKeys, Reason: "changed", Object: Object{Kind: "session_keys", Name: "secret/sallyport/session", Version: "8", Before: "7"}},
		{Action: ActionCertificate, Reason: "renewed", Object: Object{Kind: "certificate"}, Certificate: Certificate{"gateway.internal", "1f:07:c4", exampleTime.Add(24 * time.Hour)}},
		{Action: ActionIntroduction, Reason: "found", Vault: Vault{Method: "approle", Source: "/run/secrets/token", Hash: "sha256:5d41402abc4b"}},
		{Action: ActionLogin, Reason: "start", Vault: Vault{Method: "approle", Accessor: "hmac-sha256:8d2e6f", Policies: []string{"sallyport-gateway"}}},
		{Action: ActionAlarm, Alert: true, Failed: true, Reason: "interception_alarm", Vault: Vault{Method: "approle", Source: "/run/secrets/token"}, Cause: "wrapping token is not known to vault"},
		{Action: ActionTokenLost, Failed: true, Reason: "token_lost", Vault: Vault{Method: "approle"}, Cause: "permission denied"},
		{Action: ActionStart, Reason: "serving"},
		{Action: ActionStop, Reason: "stopped"},
		{Action: ActionOperator, Reason: "renewal", Client: "127.0.0.1", Object: Object{Kind: "certificate", Name: "all"}},
	}
}

// TestWholeRecordOfEveryKind compares whole lines with those in testdata.
func TestWholeRecordOfEveryKind(t *testing.T) {
	var got bytes.Buffer
	seen := map[Action]bool{}
	for _, r := range examples() {
		seen[r.Action] = true
		got.Write(r.AppendJSON(nil, "sallyport-gateway"))
	}
	for _, k := range Kinds() {
		if !seen[k.Action] && !k.IsLog {
			t.Errorf("there is no example of %s", k.Action)
		}
		delete(seen, k.Action)
	}
	for a := range seen {
		t.Errorf("%s is none of the kinds", a)
	}
	golden := filepath.Join("testdata", "kinds.jsonl")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
