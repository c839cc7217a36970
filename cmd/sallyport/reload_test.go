package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	manyInFlight = 10_000
	perTunnel    = 100 // streams of one connection, as many as a gateway takes
)

// gathering is a tool that answers nobody until everybody is there and it is told to.
type gathering struct {
	present atomic.Int64
	full    chan struct{}
	release chan struct{}
}

func (g *gathering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.present.Add(1) == manyInFlight {
		close(g.full)
	}
	select {
	case <-g.release:
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-User")+" "+r.URL.RawQuery)
	case <-r.Context().Done():
	}
}

// TestReloadUnderLoad changes the configuration again and again while ten thousand
// requests are under way, each on a connection of its own to the tool. It has a machine
// to itself: these are nearly as many as a process may have open.
func TestReloadUnderLoad(t *testing.T) {
	s := newStand(t)
	g := &gathering{full: make(chan struct{}), release: make(chan struct{})}
	https, admin := free(t), free(t)
	yaml := strings.Replace(gatewayYAML(https, admin, "limits: {requests_per_person: 20000, connections_per_address: 20000}"), "https://127.0.0.1:1", "https://"+s.tool(t, g), 1)
	config := writeFile(t, t.TempDir(), "gateway.yaml", yaml)
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
	p.ready(t, admin)
	l := &posters{t: t, s: s, https: https, cookie: s.signIn(t)}
	var faults atomic.Int64
	var running sync.WaitGroup
	for tunnel := range manyInFlight / perTunnel {
		client := l.client(true)
		client.Timeout = 0
		for stream := range perTunnel {
			running.Go(func() {
				if err := l.wait(t.Context(), client, tunnel*perTunnel+stream); err != nil && faults.Add(1) < 5 {
					t.Error(err)
				}
			})
		}
	}
	select {
	case <-g.full:
	case <-p.done:
		t.Fatalf("the process ended:\n%s", p.err.String())
	case <-time.After(5 * time.Minute): // ten thousand handshakes, beside other tests
		t.Fatalf("%d requests have reached the tool\n%s", g.present.Load(), p.err.String())
	}
	for i := range 5 {
		changed := strings.Replace(yaml, "name: notes\n", fmt.Sprintf("name: notes\n    title: Notes %d\n    pass_authorization: %t\n", i, i%2 == 0), 1)
		if err := os.WriteFile(config, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		before := p.told("new version in use")
		p.signal(t, syscall.SIGHUP)
		p.eventually(t, "the change is in use", func() (string, bool) { return "", p.told("new version in use") > before })
	}
	close(g.release)
	running.Wait()
	if n := faults.Load(); n > 0 {
		t.Errorf("%d of %d requests failed\n%s", n, manyInFlight, p.err.String())
	}
	t.Logf("%d requests in flight through 5 changes, %d failed; %s", manyInFlight, faults.Load(), peakMemory(t, p))
}

// wait makes one request that is answered when the tool lets everybody go.
func (l *posters) wait(ctx context.Context, client *http.Client, n int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://%s/?n=%d", notesHost, n), nil)
	if err != nil {
		return err
	}
	req.AddCookie(l.cookie)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if want := fmt.Sprintf("alice@example.com n=%d", n); err == nil && string(body) != want {
		err = fmt.Errorf("request %d: status %d: %.200q", n, res.StatusCode, body)
	}
	return err
}

// peakMemory is the most that a process has used, which it must not have more of than
// 200 kB for each request: its two connections, with TLS.
func peakMemory(t *testing.T, p *process) string {
	t.Helper()
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))) {
		var kB int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kB); err == nil {
			if kB > manyInFlight*200 {
				t.Errorf("the gateway has used %d kB", kB)
			}
			return fmt.Sprintf("at most %d MB", kB>>10)
		}
	}
	t.Error("the system does not say how much memory the process has used")
	return ""
}
