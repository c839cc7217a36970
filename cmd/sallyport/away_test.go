package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"hash/maphash"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

var awayFor = flag.Duration("away", 2*time.Second, "how long the collector of TestCollectorIsAway is away")

// TestCollectorIsAway has as many requests as the gateway can answer while a collector of
// its records is away. Afterwards the collector gets all that the file has.
func TestCollectorIsAway(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	seed := maphash.MakeSeed()
	seen := map[uint64]bool{}
	var taken atomic.Int64
	collector := siem{keep: func(line []byte) { // one at a time
		seen[maphash.Bytes(seed, line)] = true
		taken.Store(int64(len(seen)))
	}}
	collector.start(t)
	https, admin, dir := free(t), free(t), t.TempDir()
	yaml := gatewayYAML(https, admin, fmt.Sprintf(`access_log:
  file: %[1]s/access.log
  sinks:
    - name: siem
      syslog: {address: %[2]q, unsafe_cleartext: true}
      spool: {directory: %[1]s/spool, size_mib: 16384}
`, dir, collector.address))
	yaml = strings.Replace(yaml, "https://127.0.0.1:1", "https://"+s.tool(t, http.HandlerFunc(stormTool)), 1)
	p := s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, writeFile(t, t.TempDir(), "gateway.yaml", yaml))
	p.serving(t)

	collector.stop()
	st := &storm{t: t, pair: &pair{stand: s, https: https}, done: map[string]int{}, cookie: s.signIn(t)}
	st.trust = &tls.Config{RootCAs: s.roots(t, "pki-edge"), ServerName: notesHost, MinVersion: tls.VersionTLS12}
	ctx, stop := context.WithTimeout(t.Context(), *awayFor)
	defer stop()
	st.ctx = ctx
	for range 8 {
		client := &http.Client{Transport: st.transport(false)}
		t.Cleanup(client.CloseIdleConnections)
		st.repeat("request", 1, 0, func(ctx context.Context) error { return st.one(ctx, client) })
	}
	st.running.Wait()
	if len(st.faults) > 0 {
		t.Errorf("%d of %d requests failed, such as %v", len(st.faults), st.done["request"], st.faults[0])
	}
	if taken.Load() >= int64(st.done["request"]) {
		t.Errorf("the collector was not away")
	}
	collector.start(t)
	for had := int64(-1); had <= int64(st.done["request"]); had = taken.Load() {
		p.eventually(t, "the collector has more of what waited for it", func() (string, bool) { return fmt.Sprint(had), taken.Load() > had })
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
	collector.stop()
	records, missing := 0, 0
	for line, err := range logfile.Lines(t.Context(), filepath.Join(dir, "access.log")) {
		if err != nil {
			t.Fatal(err)
		}
		if records++; !seen[maphash.Bytes(seed, line.Text)] {
			missing++
		}
	}
	if missing > 0 || records <= st.done["request"] {
		t.Errorf("the file has %d records of %d requests, of which the collector misses %d", records, st.done["request"], missing)
	}
	t.Logf("%d requests in %s without a collector: %d records, of which it misses %d", st.done["request"], *awayFor, records, missing)
}
