package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
)

// siem takes syslog messages over TCP or TLS, and keeps what they say.
type siem struct {
	address string
	tls     *tls.Config // nil for plain TCP
	stop    context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex
	lines   bytes.Buffer
	keep    func(line []byte) // in place of lines, if it is there
}

func (s *siem) start(t *testing.T) {
	t.Helper()
	if s.address == "" {
		s.address = "127.0.0.1:0"
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = listener.Addr().String()
	if s.tls != nil {
		listener = tls.NewListener(listener, s.tls)
	}
	ctx, stop := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { listener.Close() })
	s.stop = func() { stop(); s.wg.Wait() }
	t.Cleanup(s.stop)
	s.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				s.take(bufio.NewReader(conn))
			})
		}
	})
}

// take takes messages until there are no more.
func (s *siem) take(r *bufio.Reader) {
	for {
		length, err := r.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		if err != nil {
			return
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(r, message); err != nil {
			return
		}
		_, said, _ := bytes.Cut(message, []byte("] "))
		s.mu.Lock()
		if s.keep != nil {
			s.keep(said)
		} else {
			s.lines.Write(append(said, '\n'))
		}
		s.mu.Unlock()
	}
}

func (s *siem) has() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines.String()
}

// openLog opens the log of a configuration.
func openLog(t *testing.T, text string) (*accesslog.Log, *logSinks, *bytes.Buffer) {
	t.Helper()
	cfg, err := config.LoadGateway("gateway.yaml", []byte("door: {host: door.example.com}\naccess_log:\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log, sinks, err := openGatewayLog(t.Context(), cfg.AccessLog, logParts{}, &out, newLogger(t.Output(), "gateway"))
	if err != nil {
		t.Fatal(err)
	}
	return log, sinks, &out
}

func linesWith(text, part string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestRecordsGoWhereTheConfigurationSays(t *testing.T) {
	dir := t.TempDir()
	var collector siem
	collector.start(t)
	log, sinks, out := openLog(t, fmt.Sprintf(`
  file: %[1]s/access.log
  rotate: {size_mib: 1}
  sinks:
    - {name: denials, file: {path: %[1]s/denials.log}, only: {decisions: [deny]}, on_failure: drop}
    - {name: web, format: combined, file: {path: "-"}, only: {actions: [access]}}
    - {name: siem, syslog: {address: %[2]q, unsafe_cleartext: true}, spool: {directory: %[1]s/spool}}
`, dir, collector.address))
	const records = 3000
	for n := range records {
		r := accesslog.Record{Time: time.Now(), Action: accesslog.ActionAccess, Decision: accesslog.DecisionAllow, Status: 200, RequestID: fmt.Sprint(n), Path: "/" + strings.Repeat("x", 400), Method: "GET", ClientAddress: "192.0.2.7"}
		if n%10 == 0 {
			r.Decision, r.Status = accesslog.DecisionDeny, 403
		}
		if err := log.Write(&r); err != nil {
			t.Fatal(err)
		}
		if n%500 == 0 {
			if err := log.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	collector.stop()
	names, err := filepath.Glob(dir + "/access.log-*")
	if err != nil || len(names) == 0 {
		t.Fatalf("rotated files: %q (%v)", names, err)
	}
	if got := len(linesWith(read(t, dir+"/denials.log"), `"sallyport.decision":"deny"`)); got != records/10 {
		t.Errorf("%d denials, want %d", got, records/10)
	}
	if got := strings.Count(out.String(), "\n"); got != records || !strings.HasPrefix(out.String(), "192.0.2.7 ") {
		t.Errorf("%d lines on the standard output, want %d: %.200s", got, records, out)
	}
	if got := strings.Count(collector.has(), "\n"); got != records+2 || !strings.Contains(collector.has(), read(t, dir+"/access.log")) {
		t.Errorf("the collector has %d records, want %d with the first and the last, and all that the newest file has", got, records+2)
	}
	if remarks := sinks.remarks(); len(remarks) > 0 {
		t.Errorf("remarks %q", remarks)
	}
}

// TestAFullSpoolLetsNobodyIn: a collector is away until its spool is full, and then has
// everything.
func TestAFullSpoolLetsNobodyIn(t *testing.T) {
	dir := t.TempDir()
	var collector siem
	collector.start(t)
	collector.stop() // it is away
	log, sinks, out := openLog(t, fmt.Sprintf(`
  sinks: [{name: siem, syslog: {address: %q, unsafe_cleartext: true}, spool: {directory: %s/spool, size_mib: 16}}]
`, collector.address, dir))
	path := "/" + strings.Repeat("x", 2000)
	written := 0
	for ; log.Err() == nil; written++ {
		if written > 40_000 {
			t.Fatal("the spool is never full")
		}
		err := log.Write(&accesslog.Record{Action: accesslog.ActionAccess, Decision: accesslog.DecisionAllow, Path: path, RequestID: fmt.Sprint(written)})
		if err != nil {
			t.Fatal(err)
		}
		if written%100 == 0 {
			flush(t, log)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&logSinkMetrics{sinks: sinks})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		value := family.GetMetric()[0].GetGauge().GetValue()
		if family.GetName() == "sallyport_access_log_spool_bytes" && (value < 13<<20 || value > 16<<20) {
			t.Errorf("%v bytes wait, of 16 MiB", value)
		}
	}
	if len(families) < 6 {
		t.Errorf("%d metrics, want 6 at least", len(families))
	}
	if remarks := sinks.remarks(); len(remarks) != 1 || !strings.Contains(remarks[0], "collector siem is away") {
		t.Errorf("remarks %q", remarks)
	}
	collector.start(t)
	until(t, "somebody is let in again", func() bool { return log.Err() == nil })
	until(t, "everything is sent", func() bool { return strings.Count(collector.has(), "\n") >= written })
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	collector.stop()
	if collector.has() != out.String() {
		t.Errorf("the collector has %d records, the standard output %d", strings.Count(collector.has(), "\n"), strings.Count(out.String(), "\n"))
	}
}

// flush gives the log a while to write.
func flush(t *testing.T, log *accesslog.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := log.Flush(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 12_000 { // two minutes: pauses between attempts are long after a long failure
		if done() {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("waiting in vain until %s", what)
}

func TestASinkThatCannotBeOpenedEndsTheStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, sink, want string }{
		{"a file in a file", "file: {path: %[1]s/file/x}", "opening access log"},
		{"a spool in a file", "syslog: {address: 'a:1', unsafe_cleartext: true}, spool: {directory: %[1]s/file/x}", "opening spool"},
		{"no such authority", "syslog: {address: 'a:1', ca_file: %[1]s/none.pem}, spool: {directory: %[1]s/spool}", "reading syslog.ca_file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := "door: {host: a}\naccess_log: {sinks: [{name: siem, " + fmt.Sprintf(test.sink, dir) + "}]}\n"
			cfg, err := config.LoadGateway("gateway.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = openGatewayLog(t.Context(), cfg.AccessLog, logParts{}, io.Discard, newLogger(t.Output(), "gateway"))
			if err == nil || !strings.Contains(err.Error(), "sink siem of the access log: "+test.want) {
				t.Errorf("error %v, want one about %s", err, test.want)
			}
		})
	}
}

// TestAKilledProcessOwesItsCollectorNothing: its file has records that its spool has
// not got.
func TestAKilledProcessOwesItsCollectorNothing(t *testing.T) {
	dir := t.TempDir()
	var collector siem
	collector.start(t)
	text := func(only string) string {
		return fmt.Sprintf(`
  file: %[1]s/access.log
  sinks: [{name: siem, syslog: {address: %[2]q, unsafe_cleartext: true}, spool: {directory: %[1]s/spool}, only: {%[3]s}}]
`, dir, collector.address, only)
	}
	log, _, _ := openLog(t, text(""))
	for n := range 50 {
		if err := log.Write(&accesslog.Record{Action: accesslog.ActionAccess, Decision: accesslog.DecisionDeny, RequestID: fmt.Sprint(n)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The same file as a log would have it that was written to alone, and killed.
	written := read(t, dir+"/access.log")
	lines := strings.SplitAfter(written, "\n")
	spooled, owed := strings.Join(lines[:40], ""), lines[40:len(lines)-1]
	if err := os.RemoveAll(dir + "/spool"); err != nil {
		t.Fatal(err)
	}
	collector.stop()
	before := &siem{}
	before.start(t)
	cfg, err := config.LoadGateway("gateway.yaml", []byte("door: {host: a}\naccess_log:\n"+strings.ReplaceAll(text(""), collector.address, before.address)))
	if err != nil {
		t.Fatal(err)
	}
	sinks, err := openSinks(t.Context(), cfg.AccessLog, io.Discard, newLogger(t.Output(), "gateway"))
	if err != nil {
		t.Fatal(err)
	}
	seal, _ := accesslog.ParseSeal([]byte(lines[39]))
	batch := accesslog.Batch{Lines: []byte(spooled), Count: 40, Instance: seal.Instance, First: 1, Last: seal.Sequence}
	if err := errors.Join(sinks.waited[0].Write(t.Context(), &batch), sinks.close()); err != nil {
		t.Fatal(err)
	}
	before.stop()

	next := &siem{address: collector.address}
	next.start(t)
	log, _, _ = openLog(t, text("decisions: [deny]"))
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	next.stop()
	if got, want := before.has()+next.has(), written; !strings.HasPrefix(got, want) || len(owed) != 12 {
		t.Errorf("collectors have %d records, the file of the killed process %d, of which the last %d were not spooled", strings.Count(got, "\n"), len(lines)-1, len(owed))
	}
}

// TestACollectorGetsWhatItsSpoolHasNeverSeen: a process was killed before anything of its
// log came to the spool, which an earlier one has used.
func TestACollectorGetsWhatItsSpoolHasNeverSeen(t *testing.T) {
	dir := t.TempDir()
	var collector siem
	collector.start(t)
	with := fmt.Sprintf(`
  file: %[1]s/access.log
  sinks: [{name: siem, syslog: {address: %[2]q, unsafe_cleartext: true}, spool: {directory: %[1]s/spool}}]
`, dir, collector.address)
	write := func(text string) {
		t.Helper()
		log, _, _ := openLog(t, text)
		for n := range 20 {
			if err := log.Write(&accesslog.Record{Action: accesslog.ActionAccess, Decision: accesslog.DecisionDeny, RequestID: fmt.Sprint(n)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	write(with)
	write(fmt.Sprintf("\n  file: %s/access.log\n", dir)) // as one that was killed at once has left it
	write(with)
	write(with) // which owes nothing
	collector.stop()
	if got, want := collector.has(), read(t, dir+"/access.log"); got != want {
		t.Errorf("the collector has %d records, the file %d; or in another order", strings.Count(got, "\n"), strings.Count(want, "\n"))
	}
	other := &siem{}
	other.start(t)
	write(strings.NewReplacer(collector.address, other.address, "/spool", "/new").Replace(with)) // gets nothing of old
	other.stop()
	if n := strings.Count(other.has(), "\n"); n != 22 {
		t.Errorf("a new collector has %d records, want 22", n)
	}
}
