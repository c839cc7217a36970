package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// webSocket: the chat works through the gateway, the sidecar and back.
func webSocket(t *testing.T) {
	d := shared.demo
	alice := signedIn(t, "alice", d.notes()+"/chat")
	alice.do(chromedp.WaitVisible(chromedp.CSS("#state.on")))
	second := alice.tab()
	second.open(d.notes() + "/chat")
	second.do(chromedp.WaitVisible(chromedp.CSS("#state.on")))

	alice.fill("#line", "is anybody there?")
	alice.click("#say button")
	alice.sees("is anybody there?")
	second.sees("alice@example.com", "is anybody there?")
	alice.picture("chat")
}

// eventStream: a note that is pinned in one tab comes up in the other by itself.
func eventStream(t *testing.T) {
	d := shared.demo
	alice := signedIn(t, "alice", d.notes()+"/")
	alice.do(chromedp.WaitVisible(chromedp.CSS("#state.on")))
	second := alice.tab()
	second.open(d.notes() + "/")
	second.fill("#text", "The build is green again.")
	second.click(".write button")
	second.sees("The build is green again.")
	alice.sees("The build is green again.", "alice@example.com")
	second.picture("notes")
}

// get asks for address with cookies, as a program that stole them would.
func get(t *testing.T, address string, cookies []*http.Cookie) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range cookies {
		req.AddCookie(cookie)
	}
	client := shared.demo.client(t)
	defer client.CloseIdleConnections() // one address may not have any number of them
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// record is one line of the access log.
type record map[string]any

// records reads the whole access log of the shared demo.
func records(t *testing.T) []record {
	t.Helper()
	file, err := os.Open(shared.demo.log("access"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return parseRecords(t, file)
}

// parseRecords reads what an access log says of requests, without a last line of which only a part is there yet.
func parseRecords(t *testing.T, log io.Reader) []record {
	t.Helper()
	var all []record
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all
		}
		var r record
		if err = errors.Join(err, json.Unmarshal(line, &r)); err != nil {
			t.Fatalf("line %d of the access log is no JSON: %v: %s", len(all)+1, err, line)
		}
		if _, request := r["http.request.method"]; request {
			all = append(all, r)
		}
	}
}

// logs waits until the access log has count lines with all of want: a line is
// written when its answer ends, which may be a moment after the browser has it.
func logs(t *testing.T, log func(*testing.T) []record, count int, want record) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d lines %v in the access log", count, want), 5*time.Second, func() error {
		found, all := 0, log(t)
		for _, r := range all {
			if r.has(want) {
				found++
			}
		}
		if found != count {
			return fmt.Errorf("%d lines of %d: %v", found, len(all), brief(all))
		}
		return nil
	})
}

func (r record) has(want record) bool {
	for key, value := range want {
		if r[key] != value {
			return false
		}
	}
	return true
}

// brief is what was decided in each line, and why.
func brief(all []record) []string {
	var lines []string
	for _, r := range all {
		lines = append(lines, fmt.Sprint(r["url.domain"], r["url.path"], " ", r["event.action"], " ", r["sallyport.decision"], " ", r["event.reason"], " ", r["user.name"]))
	}
	return lines
}

// since is the demo's access log from now on.
func since(t *testing.T) func(*testing.T) []record {
	t.Helper()
	before := len(records(t))
	return func(t *testing.T) []record {
		t.Helper()
		return records(t)[before:]
	}
}

// findRecord returns the record of a request; it is written when the answer ends,
// which may be a moment after the client has it.
func findRecord(t *testing.T, requestID string) record {
	t.Helper()
	var found record
	eventually(t, "the access record of "+requestID, 5*time.Second, func() error {
		for _, r := range records(t) {
			if r["http.request.id"] == requestID {
				found = r
				return nil
			}
		}
		return fmt.Errorf("%d records, none of it", len(records(t)))
	})
	return found
}
