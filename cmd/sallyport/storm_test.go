package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var stormFor = flag.Duration("storm", 0, "how long TestStorm goes on, with 5000 idle connections; at zero for a few seconds, with 500")

// storm is everybody who is there at once, and what they tell.
type storm struct {
	*pair
	t      *testing.T
	trust  *tls.Config
	cookie *http.Cookie
	idle   int // connections

	ctx     context.Context // ends with the storm
	running sync.WaitGroup

	mu     sync.Mutex // guards the rest
	done   map[string]int
	faults []mishap
}

// mishap is what went wrong for somebody who behaves.
type mishap struct {
	at   time.Time
	text string
}

// TestStorm has everything at once for a while: thousands of idle connections, people
// with HTTP/1.1 and HTTP/2, uploads, downloads, streams, WebSockets, strangers, clients
// that are slow and clients that flood, and changes of the configuration. Nobody who
// behaves sees an error, and when they have gone everything is given back. In a long one
// memory stays as it is, too.
func TestStorm(t *testing.T) {
	lasts, idle := 12*time.Second, 500
	if *stormFor > 0 {
		lasts, idle = *stormFor, 5000
	}
	app := httptest.NewServer(http.HandlerFunc(stormTool))
	t.Cleanup(app.Close)
	s := newStand(t)
	st := &storm{t: t, idle: idle, done: map[string]int{}, cookie: s.signIn(t)}
	st.trust = &tls.Config{RootCAs: s.roots(t, "pki-edge"), ServerName: notesHost, MinVersion: tls.VersionTLS12}
	st.pair = startPairBefore(t, s, app.URL, "limits: {connections_per_address: 20000, strangers_per_second: 10000}\n", func(string) []string { return nil })
	yaml := read(t, st.config)
	st.reload(strings.Replace(yaml, "    allow:", "    websocket: true\n    allow:", 1))
	first := &http.Client{Transport: st.transport(false)}
	st.note("first", st.one(t.Context(), first))
	first.CloseIdleConnections()
	before := st.measure()

	ctx, stop := context.WithTimeout(t.Context(), lasts)
	defer stop()
	st.ctx = ctx
	leave := st.everybody()
	measured := st.watch(lasts)
	st.running.Wait()
	for _, leave := range leave {
		leave()
	}
	st.report(before, measured)

	// A way to the tool that is new in everything has the connections of the old one let go.
	st.reload(strings.Replace(read(t, st.config), sidecarName+"}", sidecarName+", timeouts: {connect: 9s}}", 1))
	app.CloseClientConnections()
	st.emptied(before)
	st.both(func(p *process) {
		for _, line := range p.log() {
			if line.Level == "ERROR" {
				t.Errorf("%s: %s %v", p.cmd.Args[1], line.Msg, line.fields)
			}
		}
		s.checkNoSecret(t, p)
	})
}

// everybody begins with all that are there, and returns what is left to do for them when
// they have ended.
func (st *storm) everybody() (leave []func()) {
	st.keepIdle()
	plain, shared := &http.Client{Transport: st.transport(false)}, &http.Client{Transport: st.transport(true)}
	for _, client := range []*http.Client{plain, shared} {
		st.repeat("request", 4, 20*time.Millisecond, func(ctx context.Context) error { return st.one(ctx, client) })
		st.repeat("upload", 1, 200*time.Millisecond, func(ctx context.Context) error { return st.upload(ctx, client) })
		st.repeat("download", 1, 200*time.Millisecond, func(ctx context.Context) error { return st.download(ctx, client) })
		st.repeat("stream", 2, 100*time.Millisecond, func(ctx context.Context) error { return st.stream(ctx, client) })
		st.repeat("given up", 1, 50*time.Millisecond, func(ctx context.Context) error { return st.giveUp(ctx, client) })
		st.repeat("refusal", 1, 50*time.Millisecond, func(ctx context.Context) error { return st.refused(ctx, client) })
	}
	st.repeat("new connection", 2, 50*time.Millisecond, func(ctx context.Context) error {
		transport := st.transport(false)
		defer transport.CloseIdleConnections()
		return st.one(ctx, &http.Client{Transport: transport})
	})
	st.repeat("WebSocket", 3, 100*time.Millisecond, func(ctx context.Context) error { return st.webSocket(ctx, plain) })
	st.repeat("slow reader", 2, time.Second, st.slowReader)
	st.repeat("slow header", 10, time.Second, st.slowHeader)
	st.repeat("flood of resets", 1, 500*time.Millisecond, st.floodResets)
	st.repeat("flood of headers", 1, 500*time.Millisecond, st.floodHeaders)
	n := 0
	st.repeat("new configuration", 1, 2*time.Second, func(context.Context) error {
		n++
		text := read(st.t, st.config)
		at := regexp.MustCompile(`(?m)^  - name: notes\n(    title: .*\n)?`)
		st.reload(at.ReplaceAllString(text, fmt.Sprintf("  - name: notes\n    title: Notes %d\n", n)))
		return nil
	})
	return []func(){plain.CloseIdleConnections, shared.CloseIdleConnections}
}

// repeat has n do the same again and again, with a pause, until the storm is over.
func (st *storm) repeat(what string, n int, pause time.Duration, do func(context.Context) error) {
	for range n {
		st.running.Go(func() {
			for st.ctx.Err() == nil {
				// What has begun is brought to its end.
				ctx, cancel := context.WithTimeout(context.WithoutCancel(st.ctx), patience)
				err := do(ctx)
				cancel()
				st.note(what, err)
				select {
				case <-st.ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
}

// note counts what was done, and whether it went wrong.
func (st *storm) note(what string, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.done[what]++
	if err != nil {
		st.faults = append(st.faults, mishap{time.Now().UTC(), what + ": " + err.Error()})
	}
}

// reload has the gateway use another configuration, and waits until it does.
func (st *storm) reload(yaml string) {
	before := st.gateway.told("new version in use")
	temporary := st.config + ".new"
	if err := os.WriteFile(temporary, []byte(yaml), 0o600); err != nil {
		st.t.Error(err)
	}
	if err := os.Rename(temporary, st.config); err != nil {
		st.t.Error(err)
	}
	if err := st.gateway.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		st.t.Error(err)
	}
	for deadline := time.Now().Add(patience); st.gateway.told("new version in use") == before; wait(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			st.t.Errorf("the new configuration is not used:\n%s", st.gateway.err.String())
			return
		}
	}
}

// transport is a client's, which keeps its connections.
func (st *storm) transport(http2 bool) *http.Transport {
	transport := &http.Transport{
		TLSClientConfig: st.trust.Clone(), ForceAttemptHTTP2: http2, MaxIdleConnsPerHost: 10, DisableCompression: true,
		// Before the gateway does: a POST on a connection that ends just then is not repeated.
		IdleConnTimeout: time.Minute,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", st.https)
		},
	}
	transport.TLSClientConfig.ServerName = "" // of the request
	return transport
}

// figures are what a process uses.
type figures struct {
	heap, resident, goroutines, files float64 // the first two in MB; heap after the last collection
}

// measure returns the figures of both, the gateway's first.
func (st *storm) measure() (both [2]figures) {
	for i, p := range []struct {
		*process
		admin string
	}{{st.gateway, st.admin}, {st.sidecar, st.probes}} {
		_, body, err := get(p.admin, "/metrics")
		if err != nil {
			st.t.Fatal(err)
		}
		metric := func(name string) float64 {
			found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
			if found == nil {
				st.t.Fatalf("there is no metric %s", name)
			}
			n, _ := strconv.ParseFloat(found[1], 64)
			return n
		}
		both[i] = figures{ // a collection begins when the heap has grown by that much since the one before
			metric("go_memstats_next_gc_bytes") / (1 + metric("go_gc_gogc_percent")/100) / (1 << 20), metric("process_resident_memory_bytes") / (1 << 20),
			metric("go_goroutines"), metric("process_open_fds"),
		}
	}
	return both
}

// watch measures sixty times until the storm is over.
func (st *storm) watch(lasts time.Duration) (measured [][2]figures) {
	tick := time.NewTicker(lasts / 60)
	defer tick.Stop()
	for {
		select {
		case <-st.ctx.Done():
			return measured
		case <-tick.C:
			measured = append(measured, st.measure())
		}
	}
}

// report tells what was done, and compares the memory of the last third with that of
// the one in the middle: the first is for everybody to come.
func (st *storm) report(before [2]figures, measured [][2]figures) {
	var text strings.Builder
	for _, what := range slices.Sorted(maps.Keys(st.done)) {
		fmt.Fprintf(&text, "%8d  %s\n", st.done[what], what)
	}
	third := len(measured) / 3
	for i, name := range []string{"gateway", "sidecar"} {
		first, last := mean(measured[third:2*third], i), mean(measured[2*third:], i)
		text.WriteString(name + ", heap:")
		for at := 0; at < len(measured); at += 5 {
			fmt.Fprintf(&text, " %.0f", measured[at][i].heap)
		}
		fmt.Fprintf(&text, "\n%s: before %.0f, second third %.1f, last third %.1f\n", name, before[i], first, last)
		// Within seconds nothing can be told: a collector has not even begun.
		if *stormFor > 0 && (last.heap > first.heap*1.2+4 || last.resident > first.resident*1.2+16) {
			st.t.Errorf("%s: memory has grown", name)
		}
	}
	st.t.Logf("in MB of heap, MB resident, goroutines, files:\n%s", text.String())
	for i, fault := range st.faults[:min(len(st.faults), 20)] {
		st.t.Errorf("fault %d of %d, %s %s; what was not answered well just before:\n%s",
			i+1, len(st.faults), fault.at.Format(time.RFC3339Nano), fault.text, strings.Join(st.recordsAt(fault.at), ""))
	}
}

// recordsAt returns what the gateway has recorded of requests that went wrong within the
// second before a time.
func (st *storm) recordsAt(at time.Time) (found []string) {
	for text := range st.gateway.out.pieces(st.t) {
		for line := range strings.Lines(text) {
			var r struct {
				Time   time.Time `json:"@timestamp"`
				Status int       `json:"http.response.status_code"`
				Error  string    `json:"error.message"`
			}
			if json.Unmarshal([]byte(line), &r) != nil || r.Time.Before(at.Add(-time.Second)) || r.Time.After(at) {
				continue
			}
			if len(found) < 10 && (r.Error != "" || r.Status == 0 || r.Status >= 500) {
				found = append(found, line)
			}
		}
	}
	return found
}

// mean is of one process.
func mean(measured [][2]figures, process int) (m figures) {
	for _, both := range measured {
		m.heap, m.resident = m.heap+both[process].heap, m.resident+both[process].resident
		m.goroutines, m.files = m.goroutines+both[process].goroutines, m.files+both[process].files
	}
	n := float64(len(measured))
	return figures{m.heap / n, m.resident / n, m.goroutines / n, m.files / n}
}

// emptied waits until both have given back all goroutines and files, and in a long
// storm memory, too: a process with nothing to do collects every two minutes.
func (st *storm) emptied(before [2]figures) {
	const slack, more = 10, 16 // a renewal, a question of the test's; MB of pools and histories
	lasts := patience
	if *stormFor > 0 {
		lasts = 5 * time.Minute
	}
	for deadline := time.Now().Add(lasts); ; wait(200 * time.Millisecond) {
		now := st.measure()
		left := false
		for i := range now {
			left = left || now[i].goroutines > before[i].goroutines+slack || now[i].files > before[i].files+slack ||
				*stormFor > 0 && now[i].heap > before[i].heap+more
		}
		if !left {
			st.t.Logf("afterwards: gateway %.0f, sidecar %.0f", now[0], now[1])
			return
		}
		if time.Now().After(deadline) {
			st.t.Errorf("before %.0f, and afterwards %.0f: something is left", before, now)
			return
		}
	}
}
