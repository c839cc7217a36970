package main

import (
	"context"
	"crypto/tls"
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

// recordingTool is stormTool, and what it was asked by the id of the request.
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
	stormTool(w, r)
}

// asked is how many requests there were.
func (a *recordingTool) asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.at)
}

// TestEveryRequestHasItsRecord has people work, with requests of every kind, while the
// gateway is given other configurations, is restarted and is killed. What the tool was
// asked and what the log says that it let in are the same requests, each once, except for
// what was under way at a kill; and each instance has its chain of records, whole.
func TestEveryRequestHasItsRecord(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	tool := &recordingTool{at: map[string]time.Time{}}
	https, admin, file := free(t), free(t), filepath.Join(t.TempDir(), "access.log")
	yaml := gatewayYAML(https, admin, fmt.Sprintf("access_log: {file: %q}\nlimits: {connections_per_address: 20000, strangers_per_second: 10000}\n"+
		"session: {idle: 8h}\n", file)) // workers keep the cookie that they began with
	yaml = strings.Replace(yaml, "https://127.0.0.1:1", "https://"+s.tool(t, tool), 1)
	yaml = strings.Replace(yaml, "    allow:", "    websocket: true\n    allow:", 1)
	config := writeFile(t, t.TempDir(), "gateway.yaml", yaml)
	start := func() *process { return s.startAgain(t, config) }
	p := start()
	leave := s.workers(t, https)
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
	more := func() {
		want := tool.asked() + 300
		p.eventually(t, "requests are answered", func() (string, bool) { return fmt.Sprint(tool.asked()), tool.asked() >= want })
	}
	for until := time.Now().Add(*recordsFor); ; {
		for _, change := range changes {
			more()
			change()
		}
		if !time.Now().Before(until) {
			break
		}
	}
	more()
	t.Log(leave())
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
	compareRecords(t, tool, readRecords(t, file, len(kills)), kills)
}

// startAgain starts a gateway as an orchestrator does: if Vault refuses the login, with
// another introduction. Vault's own tidying of SecretIDs, once a minute, can take one away
// that is made at that moment.
func (s *stand) startAgain(t *testing.T, config string) *process {
	t.Helper()
	for {
		p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
		ended := false
		until(t, "it serves, or has ended", func() bool {
			select {
			case <-p.done:
				ended = true
			default:
			}
			return ended || p.told("serving") > 0
		})
		if !ended {
			return p
		}
		if code := p.wait(t); code != exitLoginRefused {
			t.Fatalf("a start failed: exit code %d\n%s", code, p.err.String())
		}
		t.Log("Vault refused a login with an introduction that nobody had used")
	}
}

// workers have people of the storm work through a gateway that comes and goes: what fails
// meanwhile is theirs. leave ends that, and says what they have done.
func (s *stand) workers(t *testing.T, https string) (leave func() map[string]int) {
	t.Helper()
	st := &storm{t: t, pair: &pair{stand: s, https: https}, done: map[string]int{}, cookie: s.signIn(t)}
	st.trust = &tls.Config{RootCAs: s.roots(t, "pki-edge"), ServerName: notesHost, MinVersion: tls.VersionTLS12}
	ctx, stop := context.WithCancel(t.Context())
	st.ctx = ctx
	for _, http2 := range []bool{false, true} {
		client := &http.Client{Transport: st.transport(http2)}
		t.Cleanup(client.CloseIdleConnections)
		for what, work := range map[string]struct {
			n     int
			pause time.Duration
			do    func(context.Context, *http.Client) error
		}{
			"request":  {4, 3 * time.Millisecond, st.one},
			"upload":   {1, 200 * time.Millisecond, st.upload},
			"download": {1, 200 * time.Millisecond, st.download},
			"given up": {1, 50 * time.Millisecond, st.giveUp},
			"stream":   {1, 50 * time.Millisecond, st.stream},
			"refusal":  {1, 50 * time.Millisecond, st.refused},
		} {
			st.repeat(what, work.n, work.pause, func(ctx context.Context) error { return work.do(ctx, client) })
		}
		if !http2 {
			st.repeat("WebSocket", 1, 50*time.Millisecond, func(ctx context.Context) error { return st.webSocket(ctx, client) })
		}
	}
	return func() map[string]int {
		stop()
		st.running.Wait()
		return st.done
	}
}

// letIn is what of a record says which request it is of.
type letIn struct {
	Action   string `json:"event.action"`
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
	open := map[string]map[string]bool{} // requests that have begun and go on, of an instance
	ended, torn := 0, 0
	for line, err := range logfile.Lines(t.Context(), file) {
		if err != nil {
			t.Fatal(err)
		}
		seal, sealed := accesslog.ParseSeal(line.Text)
		var r letIn
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
			if n := len(open[seal.Instance]); n > 0 {
				t.Errorf("%s: instance %s ends, and %d requests that have begun have not", line.Place, seal.Instance, n)
			}
		}
		if r.Decision != accesslog.DecisionAllow || r.Upstream == "" {
			continue
		}
		if first, again := records[r.ID]; again && first.Action != string(accesslog.ActionStream) {
			t.Errorf("%s: request %s has two records", line.Place, r.ID)
		}
		records[r.ID] = r
		if open[seal.Instance] == nil {
			open[seal.Instance] = map[string]bool{}
		}
		if delete(open[seal.Instance], r.ID); r.Action == string(accesslog.ActionStream) {
			open[seal.Instance][r.ID] = true
		}
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
	last := make([]time.Time, len(kills)) // when the last request was asked of which there is a record
	killed := func(at time.Time) int {    // by which kill; -1 for none
		return slices.IndexFunc(kills, func(kill time.Time) bool { return kill.Sub(at) > -time.Second && kill.Sub(at) < patience })
	}
	for id, at := range tool.at {
		if kill := killed(at); kill >= 0 && records[id].ID != "" && at.Before(kills[kill]) && at.After(last[kill]) {
			last[kill] = at
		}
	}
	lost, under := make([]int, len(kills)), make([]int, len(kills))
	for id, at := range tool.at {
		if records[id].ID != "" {
			continue
		}
		kill := killed(at)
		if kill < 0 {
			t.Errorf("the tool was asked %s at %s, and there is no record", id, at)
			continue
		}
		if lost[kill]++; at.Before(last[kill]) {
			under[kill]++
		}
	}
	// What a kill costs is the end of the log: the records of a moment in which a disk was
	// slow, and what was under way.
	for i, n := range under {
		if n > workersAtOnce {
			t.Errorf("kill %d has cost %d records, %d of which should have been written before one that was, expected %d requests under way at most", i, lost[i], n, workersAtOnce)
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
	t.Logf("%d requests, %d records, %d kills, which have cost %d records, %d at most", len(tool.at), len(records), len(kills), total(lost), slices.Max(lost))
}

// workersAtOnce is how many requests the workers have under way.
const workersAtOnce = 19

func total(numbers []int) (sum int) {
	for _, n := range numbers {
		sum += n
	}
	return sum
}
