package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/go-cmp/cmp"
)

// tool is the whole program on a real listener.
func tool(t *testing.T) *httptest.Server {
	t.Helper()
	now := func() time.Time { return time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC) }
	ts := httptest.NewServer(newServer(slog.New(slog.DiscardHandler), now).handler())
	t.Cleanup(ts.Close)
	return ts
}

// send makes a request as user and returns the final answer's status and body.
func send(t *testing.T, user, method, address string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Forwarded-User", user)
	resp, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestNoteIsPinnedUnderTheUsersName(t *testing.T) {
	ts := tool(t)
	send(t, "alice", http.MethodPost, ts.URL+"/notes", url.Values{"text": {"tea <at> four"}})
	for _, page := range []string{"/", "/notes/1"} {
		status, body := send(t, "bob", http.MethodGet, ts.URL+page, nil)
		if status != http.StatusOK || !strings.Contains(body, "tea &lt;at&gt; four") || !strings.Contains(body, "alice, ") {
			t.Errorf("%s: status %d, body\n%s", page, status, body)
		}
	}
}

func TestFormIsJudged(t *testing.T) {
	tests := []struct{ name, text, problem string }{
		{"empty", "  ", "Write something first."},
		{"too long", strings.Repeat("é", maxText+1), "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, body := send(t, "alice", http.MethodPost, tool(t).URL+"/notes", url.Values{"text": {tt.text}})
			if status != http.StatusUnprocessableEntity || !strings.Contains(body, tt.problem) {
				t.Errorf("status %d, page lacks %q", status, tt.problem)
			}
		})
	}
}

func TestOnlyTheAuthorTakesANoteDown(t *testing.T) {
	ts := tool(t)
	send(t, "alice", http.MethodPost, ts.URL+"/notes", url.Values{"text": {"mine"}})
	if status, _ := send(t, "bob", http.MethodPost, ts.URL+"/notes/1/delete", nil); status != http.StatusNotFound {
		t.Errorf("bob: status %d, want 404", status)
	}
	if status, _ := send(t, "alice", http.MethodPost, ts.URL+"/notes/1/delete", nil); status != http.StatusOK {
		t.Errorf("alice: status %d, want the board", status)
	}
	if status, _ := send(t, "alice", http.MethodGet, ts.URL+"/notes/1", nil); status != http.StatusNotFound {
		t.Errorf("the note is still there: status %d", status)
	}
}

func TestBoardForgetsTheOldest(t *testing.T) {
	var b board
	for range maxNotes + 1 {
		b.add("alice", "x", time.Time{})
	}
	if _, found := b.find(1); found || len(b.list()) != maxNotes {
		t.Errorf("%d notes, the first still there: %v", len(b.list()), found)
	}
}

func TestEventStreamTellsOfANewNote(t *testing.T) {
	ts := tool(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ts.URL+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	var got []string
	for len(got) < 5 && lines.Scan() {
		if lines.Text() == "" {
			continue
		}
		got = append(got, lines.Text())
		if len(got) == 2 { // the greeting is through, so the stream listens
			send(t, "alice", http.MethodPost, ts.URL+"/notes", url.Values{"text": {"hi"}})
		}
	}
	want := []string{
		"event: hello", `data: "somebody"`,
		"id: 1", "event: note", `data: {"id":1,"author":"alice","text":"hi","at":"2026-11-22T09:30:00Z"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
}

func TestChatReachesEverybody(t *testing.T) {
	ts := tool(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	alice, bob := join(ctx, t, ts, "alice"), join(ctx, t, ts, "bob")
	for _, text := range []string{" ", "hello"} { // the blank one is dropped
		if err := alice.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for name, conn := range map[string]*websocket.Conn{"alice": alice, "bob": bob} {
		var got message
		if err := wsjson.Read(ctx, conn, &got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.From != "alice" || got.Text != "hello" {
			t.Errorf("%s hears %+v", name, got)
		}
	}
}

// join connects as user; from then on it hears everything.
func join(ctx context.Context, t *testing.T, ts *httptest.Server, user string) *websocket.Conn {
	t.Helper()
	conn, _, err := websocket.Dial(ctx, ts.URL+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"X-Forwarded-User": {user}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}

func TestWebSocketRefusesAnotherHostsPage(t *testing.T) {
	ts := tool(t)
	conn, resp, err := websocket.Dial(t.Context(), ts.URL+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://evil.example"}},
	})
	if err == nil {
		conn.CloseNow()
		t.Fatal("the handshake was accepted")
	}
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("status %d, want 403", resp.StatusCode)
	}
}
