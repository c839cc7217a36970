package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	manyInFlight = 10_000
	ownInFlight  = 200 // of them, each on a connection of its own to the tool; the others share some
	perTunnel    = 100 // streams of one connection, as many as a gateway takes
	onTheWay     = 100 // requests that are sent and have not come to the tool
)

// gathering is a tool that answers nobody until everybody is there and it is told to.
type gathering struct {
	present atomic.Int64
	full    chan struct{}
	release chan struct{}
	// way has an element for each request that is on its way. Each begins a connection,
	// and so many at once as all would be longer about shaking hands than either side
	// waits for the other on a machine that has something else to do.
	way chan struct{}
}

func newGathering() *gathering {
	return &gathering{full: make(chan struct{}), release: make(chan struct{}), way: make(chan struct{}, onTheWay)}
}

func (g *gathering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/first" {
		return
	}
	<-g.way
	if g.present.Add(1) == manyInFlight {
		close(g.full)
	}
	select {
	case <-g.release:
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-User")+" "+r.URL.RawQuery)
	case <-r.Context().Done():
	}
}

// shared is another route to the same tool, whose requests share connections.
const shared = `  - name: shared
    host: ` + notesHost + `
    path: /shared
    backend: {url: "https://127.0.0.1:1", name: ` + sidecarName + `, protocol: http2}
    allow: {groups: [engineers]}
`

// TestReloadUnderLoad changes the configuration again and again while ten thousand
// requests are under way.
func TestReloadUnderLoad(t *testing.T) {
	s, g := newStand(t), newGathering()
	https, admin := free(t), free(t)
	yaml := strings.ReplaceAll(gatewayYAML(https, admin, shared+"limits: {requests_per_person: 20000, connections_per_address: 20000}\n"), "https://127.0.0.1:1", "https://"+s.tool(t, g))
	config := writeFile(t, t.TempDir(), "gateway.yaml", yaml)
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, config)
	p.ready(t, admin)
	l := &posters{t: t, s: s, https: https, cookie: s.signIn(t)}
	faults := make(chan error, manyInFlight)
	var running sync.WaitGroup
	for tunnel := range manyInFlight / perTunnel {
		running.Go(func() { l.gather(g, tunnel, faults) })
	}
	select {
	case <-g.full:
	case err := <-faults:
		t.Fatalf("%d requests have come to the tool, and one has failed: %v\n%s", g.present.Load(), err, p.err.String())
	case <-p.done:
		t.Fatalf("the process ended:\n%s", p.err.String())
	case <-time.After(2 * time.Minute):
		t.Fatalf("%d requests have come to the tool\n%s", g.present.Load(), p.err.String())
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
	if n := len(faults); n > 0 {
		t.Errorf("%d of %d requests failed, one of them: %v\n%s", n, manyInFlight, <-faults, p.err.String())
	}
	t.Logf("%d requests in flight through 5 changes, none failed; %s", manyInFlight, takenMemory(t, admin))
}

// gather makes the requests of one connection and waits for their answers. The
// connection is made by a request of its own: as long as there is none, net/http makes
// one for each request, and a gateway lets one address have so many and no more.
func (l *posters) gather(g *gathering, tunnel int, faults chan<- error) {
	client := l.client(true)
	client.Timeout = 0
	if err := l.want(client, "/first", ""); err != nil {
		faults <- err
		return
	}
	var running sync.WaitGroup
	for stream := range perTunnel {
		n := tunnel*perTunnel + stream
		path := fmt.Sprintf("/shared?n=%d", n)
		if n%(manyInFlight/ownInFlight) == 0 {
			path = fmt.Sprintf("/?n=%d", n)
		}
		running.Go(func() {
			select {
			case g.way <- struct{}{}:
			case <-l.t.Context().Done():
				return
			}
			if err := l.want(client, path, fmt.Sprintf("alice@example.com n=%d", n)); err != nil {
				faults <- err
			}
		})
	}
	running.Wait()
}

// want makes a request and says what is wrong with its answer.
func (l *posters) want(client *http.Client, path, want string) error {
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "https://"+notesHost+path, nil)
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
	if err == nil && (string(body) != want || res.StatusCode != http.StatusOK) {
		err = fmt.Errorf("%s: status %d: %.200q", path, res.StatusCode, body)
	}
	return err
}

// takenMemory is what a process's runtime has taken from the system, which must not be
// more than 100 kB for each request. What the race detector takes beside is not counted.
func takenMemory(t *testing.T, admin string) string {
	t.Helper()
	status, body, err := get(admin, "/metrics")
	found := regexp.MustCompile(`(?m)^go_memstats_sys_bytes (\S+)$`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("/metrics: status %d, error %v", status, err)
	}
	bytes, err := strconv.ParseFloat(found[1], 64)
	if err != nil || bytes > manyInFlight*100_000 {
		t.Errorf("the gateway has taken %s bytes, error %v", found[1], err)
	}
	return fmt.Sprintf("%.0f MB taken", bytes/(1<<20))
}
