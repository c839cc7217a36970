package proxy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy"
)

// TestAFloodOfRefusalsCostsLittleOfTheLog: whoever asks too often has one line for many
// refusals, and what stands in a line is bounded, however it was written.
func TestAFloodOfRefusalsCostsLittleOfTheLog(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.StrangersPerSecond = 1 })
	greedy := w.browser().from("127.0.0.2")
	hostile := w.origin(doorHost) + "/saml/slo" + strings.Repeat("%01", 4000)
	const many = 200
	refused := 0
	for range many {
		request := background(greedy, hostile)
		request.Header.Set("User-Agent", strings.Repeat("\u0081", 4000))
		if res := greedy.do(request); res.StatusCode == http.StatusTooManyRequests {
			refused++
		}
	}
	if err := w.cfg.Access.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines, counted, size := 0, 0, 0
	for line := range strings.Lines(w.log.text()) {
		var record struct {
			Reason string `json:"event.reason"`
			Count  int    `json:"sallyport.refused.count"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if len(line) > 8<<10 {
			t.Errorf("a line of %d bytes", len(line))
		}
		if record.Reason == "rate_limited" {
			lines, counted, size = lines+1, counted+max(record.Count, 1), size+len(line)
		}
	}
	if refused < many/2 || counted != refused || lines > 20 {
		t.Errorf("%d lines of %d bytes stand for %d refusals, want few for %d", lines, size, counted, refused)
	}
}
