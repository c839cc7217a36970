package proxy_test

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// without leaves out of a record what is another in each run.
func without(t *testing.T, record map[string]any, names ...string) map[string]any {
	t.Helper()
	record = maps.Clone(record)
	for _, name := range append(names, "@timestamp", "sallyport.log.instance", "sallyport.log.sequence", "sallyport.log.previous") {
		if record[name] == nil {
			t.Errorf("no %s in %v", name, record)
		}
		delete(record, name)
	}
	return record
}

// revoked is the record of a session that has ended.
func revoked(user, why string) map[string]any {
	record := map[string]any{
		"ecs.version": "8.17.0", "event.kind": "event", "event.category": []any{"session"}, "event.type": []any{"end"}, "event.action": "session_revoked",
		"event.outcome": "success", "service.name": "gateway", "event.reason": why, "sallyport.idp": idpEntityID,
	}
	if user != "" {
		record["user.name"] = user
	}
	return record
}

func TestASignOutIsRecordedAsTheEndOfItsSession(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	signIn := w.lines(1, func(r map[string]any) bool { return r["event.action"] == "signin" })[0]
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	ended := w.events(1, "session_revoked")[0]
	out := w.lines(1, func(r map[string]any) bool { return r["event.action"] == "signout" })[0]
	for _, name := range []string{"sallyport.session.id", "sallyport.subject.id"} {
		if signIn[name] == nil || ended[name] != signIn[name] {
			t.Errorf("%s is %v at the end and %v at the sign-on", name, ended[name], signIn[name])
		}
	}
	if ended["http.request.id"] != out["http.request.id"] {
		t.Errorf("request %v ended it, and %v is the sign-out", ended["http.request.id"], out["http.request.id"])
	}
	got := without(t, ended, "http.request.id", "sallyport.session.id", "sallyport.subject.id")
	if diff := cmp.Diff(revoked("alice@example.com", "logout"), got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

// TestALogoutRequestIsRecordedForEachSession: those that have connections open are named;
// if there is none, the person is.
func TestALogoutRequestIsRecordedForEachSession(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/ws", echo)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	signIn := w.lines(1, func(r map[string]any) bool { return r["event.action"] == "signin" })[0]
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 2 {
		conn, _, err := b.dial(ctx, w.origin(headersHost)+"/ws", w.origin(headersHost))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
	}
	begun := w.events(2, "stream_begin")
	if len(begun) != 2 || begun[0]["sallyport.session.id"] != signIn["sallyport.session.id"] || begun[0]["http.response.status_code"] != 101.0 {
		t.Errorf("connections that have begun: %v", begun)
	}
	w.saml.script(func(s *scriptedLogout) {
		s.demand = &saml.LogoutRequest{Subject: saml.Subject{NameID: "alice-4711"}}
	})
	for range 2 { // the second time there is nothing left
		w.browser().post(w.origin(doorHost)+"/saml/slo", "cross-site", logoutForm("LogoutRequest", idpEntityID, "theirs"))
	}
	ended := w.events(2, "session_revoked")
	if len(ended) != 2 {
		t.Fatalf("%d records: %v", len(ended), ended)
	}
	for i, want := range []map[string]any{revoked("alice@example.com", "logout_request"), revoked("", "logout_request")} {
		if ended[i]["sallyport.subject.id"] != signIn["sallyport.subject.id"] {
			t.Errorf("subject %v, want that of the sign-on, %v", ended[i]["sallyport.subject.id"], signIn["sallyport.subject.id"])
		}
		names := []string{"http.request.id", "sallyport.subject.id"}
		if i == 0 {
			names = append(names, "sallyport.session.id")
		}
		if diff := cmp.Diff(want, without(t, ended[i], names...)); diff != "" {
			t.Errorf("record %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestASessionThatAnotherPersonReplacesIsRecorded(t *testing.T) {
	w, h := steppingWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(notesHost)+"/", "alice")
	h.clock.pass(6 * time.Minute)
	b.signIn(w.origin(notesHost)+"/", "bob")
	ended := w.events(1, "session_revoked")
	if len(ended) != 1 {
		t.Fatalf("%d records: %v", len(ended), ended)
	}
	if diff := cmp.Diff(revoked("alice@example.com", "replaced"), without(t, ended[0], "http.request.id", "sallyport.session.id", "sallyport.subject.id")); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestStepUpsAreRecordedFromDemandToEnd(t *testing.T) {
	w, h := steppingWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(notesHost)+"/", "alice")
	before := len(w.records(6))
	h.clock.pass(6 * time.Minute)
	b.signIn(w.origin(notesHost)+"/", "alice")
	var got []string
	for _, r := range w.records(before + 5)[before:] {
		step, _ := r["sallyport.step_up"].(string)
		got = append(got, strings.TrimSpace(r["event.action"].(string)+" "+step))
	}
	if diff := cmp.Diff([]string{"signin_begin asked", "signin_begin asked", "signin done", "signin_carry", "access"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestTheQueryIsKeptByEverybodysKeysAndTheRoutes(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.QueryKeys, cfg.Routes[0].QueryKeys = []string{"page"}, []string{"tab"}
	})
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	b.signIn(w.origin(notesHost)+"/", "alice")
	for host, want := range map[string]any{headersHost: "page=2&tab=x", notesHost: "page=2"} {
		n := len(w.records(0))
		res := b.do(b.request(http.MethodGet, w.origin(host)+"/?tab=x&page=2&token=secret", nil))
		if got := w.lastRecord(n + 1); res.StatusCode != http.StatusOK || got["url.query"] != want {
			t.Errorf("%s: status %d, query %v, want %v", host, res.StatusCode, got["url.query"], want)
		}
	}
}
