package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

var recordsFor = flag.Duration("records", 0, "how long TestEveryRequestHasItsRecord goes on; at zero for one of each change")

// recordingTool is what a tool was asked, by the id of the request.
type recordingTool struct {
	mu sync.Mutex
	at map[string]time.Time // guarded by mu, as is twice
	// twice are the ids that have come more than once.
	twice []string
}

// ServeHTTP implements http.Handler.
func (a *recordingTool) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	a.mu.Lock()
	if _, seen := a.at[id]; seen {
		a.twice = append(a.twice, id)
	}
	a.at[id] = time.Now()
	a.mu.Unlock()
	note(w, r)
}

// TestEveryRequestHasItsRecord has people work while the gateway is given other
// configurations, is restarted and is killed. What the tool was asked and what the log says
// that it let in are the same requests, each once, except for what was under way at a kill;
// and each instance has its chain of records, whole.
func TestEveryRequestHasItsRecord(t *testing.T) {
	s := newStand(t)
	tool := &recordingTool{at: map[string]time.Time{}}
	https, admin, file := free(t), free(t), filepath.Join(t.TempDir(), "access.log")
	yaml := gatewayYAML(https, admin, fmt.Sprintf("access_log: {file: %q}\nlimits: {connections_per_address: 20000, strangers_per_second: 10000}\n", file))
	yaml = strings.Replace(yaml, "https://127.0.0.1:1", "https://"+s.tool(t, tool), 1)
	config := writeFile(t, t.TempDir(), "gateway.yaml", yaml)
	start := func() *process {
		p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
		p.serving(t)
		return p
	}
	p := start()
	l := s.startPosters(t, https)
	changes := []func(){
		func() { // a new configuration
			n := p.told("new version in use")
			_ = writeFile(t, filepath.Dir(config), filepath.Base(config), strings.Replace(yaml, "    allow:", fmt.Sprintf("    title: Notes %d\n    allow:", time.Now().UnixNano()), 1))
			p.signal(t, syscall.SIGHUP)
			p.eventually(t, "the new configuration is used", func() (string, bool) { return "", p.told("new version in use") > n })
		},
		func() { // a restart
			p.signal(t, syscall.SIGTERM)
			if code := p.wait(t); code != exitOK {
				t.Errorf("exit code %d\n%s", code, p.err.String())
			}
			p = start()
		},
	}
	var kills []time.Time
	changes = append(changes, func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		kills = append(kills, time.Now())
		p = start()
	})
	for until := time.Now().Add(*recordsFor); ; {
		for _, change := range changes {
			l.more(t, p, 300)
			change()
		}
		if !time.Now().Before(until) {
			break
		}
	}
	l.more(t, p, 300)
	l.end()
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
	compareRecords(t, tool, readRecords(t, file, len(kills)), kills)
}

// letIn is what of a record says which request it is of.
type letIn struct {
	ID       string `json:"http.request.id"`
	Decision string `json:"sallyport.decision"`
	Upstream string `json:"server.address"`
	Status   int    `json:"http.response.status_code"`
}

// readRecords reads a log, of which each instance must be a whole chain, and at most as
// many may have ended without a last record, or in the middle of one, as were killed.
func readRecords(t *testing.T, file string, killed int) map[string]letIn {
	t.Helper()
	records := map[string]letIn{}
	heads := map[string]accesslog.Head{}
	ended, torn := 0, 0
	for line, err := range logfile.Lines(t.Context(), file) {
		if err != nil {
			t.Fatal(err)
		}
		seal, sealed := accesslog.ParseSeal(line.Text)
		var r struct {
			letIn
			Action string `json:"event.action"`
		}
		if !sealed || json.Unmarshal(line.Text, &r) != nil {
			torn++
			continue
		}
		head, begun := heads[seal.Instance]
		if seal.Sequence != head.Sequence+1 || begun && seal.Previous != head.Hash {
			t.Errorf("%s: record %d of instance %s does not follow %d", line.Place, seal.Sequence, seal.Instance, head.Sequence)
		}
		heads[seal.Instance] = accesslog.Head{Instance: seal.Instance, Sequence: seal.Sequence, Hash: accesslog.HashOf(line.Text)}
		if r.Action == "log_end" {
			ended++
		}
		if r.Decision != accesslog.DecisionAllow || r.Upstream == "" {
			continue
		}
		if _, again := records[r.ID]; again {
			t.Errorf("%s: request %s has two records", line.Place, r.ID)
		}
		records[r.ID] = r.letIn
	}
	if torn > killed || len(heads)-ended != killed {
		t.Errorf("%d instances, %d of which have ended and %d were killed; %d torn lines", len(heads), ended, killed, torn)
	}
	return records
}

// compareRecords compares what a tool was asked with what the log has let in.
func compareRecords(t *testing.T, tool *recordingTool, records map[string]letIn, kills []time.Time) {
	t.Helper()
	tool.mu.Lock()
	defer tool.mu.Unlock()
	lost := make([]int, len(kills))
	for id, at := range tool.at {
		if _, ok := records[id]; ok {
			continue
		}
		kill := slices.IndexFunc(kills, func(kill time.Time) bool { return kill.Sub(at) > -time.Second && kill.Sub(at) < 2*time.Second })
		if kill < 0 {
			t.Errorf("the tool was asked %s at %s, and there is no record", id, at)
			continue
		}
		lost[kill]++
	}
	for i, n := range lost {
		if n > atOnceOfPosters+lastBatch {
			t.Errorf("kill %d has cost %d records, expected those of the %d requests under way and of the last batch at most", i, n, atOnceOfPosters)
		}
	}
	for id, r := range records {
		if _, ok := tool.at[id]; !ok && r.Status == http.StatusOK {
			t.Errorf("request %s was answered 200 by the tool, which does not know of it", id)
		}
	}
	if len(tool.twice) > 0 {
		t.Errorf("the tool was asked %d requests more than once, such as %s", len(tool.twice), tool.twice[0])
	}
	t.Logf("%d requests, %d records, %d kills, which have cost %v records", len(tool.at), len(records), len(kills), lost)
}

const (
	// atOnceOfPosters is how many requests startPosters has under way.
	atOnceOfPosters = 12
	// lastBatch is how many records may wait to be written at this load.
	lastBatch = 20
)
