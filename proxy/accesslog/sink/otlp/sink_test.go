package otlp_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/proxy/accesslog"
	sink "github.com/sallyport/sallyport/proxy/accesslog/sink/otlp"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
	"github.com/sallyport/sallyport/proxy/otlp"
)

// The collector's own receiver is in the end-to-end tests; this one is for what that one
// never does: be away, refuse one record, be slow.

// collector keeps what it takes.
type collector struct {
	*httptest.Server

	mu      sync.Mutex
	answer  func(w http.ResponseWriter, bodies []string) bool // whether it takes them; nil for yes
	bodies  []string
	records []*logspb.LogRecord
	whose   []string // of each ResourceLogs
	asked   int
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(r.Body); err != nil {
				t.Error(err)
			}
		}
		raw, err := io.ReadAll(body)
		var data logspb.LogsData
		if err != nil || proto.Unmarshal(raw, &data) != nil {
			t.Errorf("a message that is none: %v", err)
		}
		c.take(w, &data)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) take(w http.ResponseWriter, data *logspb.LogsData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	var records []*logspb.LogRecord
	var bodies, whose []string
	for _, of := range data.GetResourceLogs() {
		var from []string
		for _, a := range of.GetResource().GetAttributes() {
			from = append(from, a.GetKey()+"="+a.GetValue().GetStringValue())
		}
		whose = append(whose, strings.Join(from, " "))
		for _, scoped := range of.GetScopeLogs() {
			records = append(records, scoped.GetLogRecords()...)
		}
	}
	for _, r := range records {
		bodies = append(bodies, r.GetBody().GetStringValue())
	}
	if c.answer != nil && !c.answer(w, bodies) {
		return
	}
	c.bodies, c.records, c.whose = append(c.bodies, bodies...), append(c.records, records...), append(c.whose, whose...)
}

// answers sets how the collector answers from now on.
func (c *collector) answers(answer func(w http.ResponseWriter, bodies []string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

func (c *collector) have() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.bodies...)
}

func (c *collector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.bodies)
}

// status refuses everything with a status.
func status(code int) func(http.ResponseWriter, []string) bool {
	return func(w http.ResponseWriter, _ []string) bool { w.WriteHeader(code); return false }
}

// bench is a log with a file and a sink that sends to a collector.
type bench struct {
	*collector
	log    *accesslog.Log
	file   bytes.Buffer // what a file would have
	sink   *sink.Sink
	spool  string
	said   bytes.Buffer
	change func(*sink.Config)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	return &bench{collector: newCollector(t), spool: filepath.Join(t.TempDir(), "spool")}
}

// start begins a log, which the test ends.
func (b *bench) start(t *testing.T) {
	t.Helper()
	at, err := url.Parse(b.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := otlp.New(otlp.Config{Endpoint: at, Protocol: otlp.HTTP, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(&locked{w: &b.said}, nil))
	kept, err := spool.Open(spool.Config{Directory: b.spool, Size: 64 << 20, Name: "siem", Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	cfg := sink.Config{Name: "siem", Collector: client, Spool: kept, Log: logger, StopWithin: 20 * time.Second}
	if b.change != nil {
		b.change(&cfg)
	}
	b.sink = sink.New(t.Context(), cfg)
	b.log = accesslog.Prepare(accesslog.Config{
		Service: "sallyport-gateway", Version: "v1",
		Sinks: []accesslog.Sink{accesslog.NewOutput("file", struct{ io.Writer }{&b.file}), b.sink},
	})
}

// locked lets a test read what others write.
type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (b *bench) write(t *testing.T, records int) {
	t.Helper()
	for i := range records {
		if err := b.log.Write(record(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func record(i int) *accesslog.Record {
	return &accesslog.Record{
		Time: time.Date(2026, 11, 26, 8, 0, 0, 1500, time.UTC), Action: accesslog.ActionAccess, Decision: "allow", Reason: "group_allowed",
		RequestID: fmt.Sprintf("request-%d", i), User: `al"ice@example.com` + "\u202e", Route: "notes", Method: "GET", Host: "notes.example.com", Path: "/\xff", Status: 200,
		TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331",
	}
}

// settle waits until the collector has taken everything, so that a stop need not.
func (b *bench) settle(t *testing.T) {
	t.Helper()
	if err := b.log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return b.sink.Stats().Spool.Bytes == 0 })
}

func (b *bench) end(t *testing.T) {
	t.Helper()
	if err := b.log.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// until waits for what others do.
func until(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

// lines are those of the file.
func (b *bench) lines() []string {
	return strings.Split(strings.TrimSuffix(b.file.String(), "\n"), "\n")
}

// TestTheCollectorHasWhatTheFileHas to the byte, in order.
func TestTheCollectorHasWhatTheFileHas(t *testing.T) {
	b := newBench(t)
	b.start(t)
	b.write(t, 2000)
	b.settle(t)
	b.end(t)
	if diff := cmp.Diff(b.lines(), b.have()); diff != "" {
		t.Errorf("file and collector differ: %.2000s", diff)
	}
	if len(b.bodies) != 2002 || b.asked > 500 {
		t.Errorf("%d records in %d messages", len(b.bodies), b.asked)
	}
	if stats := b.sink.Stats(); stats.Delivered != 2002 || stats.Rejected != 0 || stats.Spool.Bytes != 0 || !stats.Away.IsZero() {
		t.Errorf("stats %+v", stats)
	}
}

func TestAWholeRecord(t *testing.T) {
	b := newBench(t)
	b.start(t)
	denied := record(1)
	denied.Decision, denied.Status, denied.TraceID, denied.SpanID = "deny", 403, "", ""
	if err := b.log.Write(record(0)); err != nil {
		t.Fatal(err)
	}
	if err := b.log.Write(denied); err != nil {
		t.Fatal(err)
	}
	b.end(t)
	if want := "service.name=sallyport-gateway service.instance.id=" + b.log.Head().Instance; b.whose[0] != want {
		t.Errorf("resource %q, want %q", b.whose[0], want)
	}
	type whole struct {
		Time, Severity, Event, Trace, Span string
		Attributes                         map[string]string
	}
	var got []whole
	for _, r := range b.records {
		w := whole{
			Severity: r.GetSeverityText() + " " + r.GetSeverityNumber().String(), Event: r.GetEventName(),
			Trace: hex.EncodeToString(r.GetTraceId()), Span: hex.EncodeToString(r.GetSpanId()), Attributes: map[string]string{},
		}
		if r.GetEventName() == "access" {
			w.Time = time.Unix(0, int64(r.GetTimeUnixNano())).UTC().Format(time.RFC3339Nano)
		}
		for _, a := range r.GetAttributes() {
			w.Attributes[a.GetKey()] = fmt.Sprint(a.GetValue().GetValue())
		}
		got = append(got, w)
	}
	attributes := map[string]string{
		"event.category": `&{values:{string_value:"web"}}`, "event.outcome": "&{success}", "event.reason": "&{group_allowed}", "event.duration": "&{0}",
		"http.request.id": "&{request-0}", "http.request.method": "&{GET}", "http.response.status_code": "&{200}", "url.domain": "&{notes.example.com}",
		"client.address": "&{}", "user.name": "&{al\"ice@example.com\u202e}", "sallyport.decision": "&{allow}", "sallyport.route": "&{notes}", "sallyport.log.sequence": "&{2}",
	}
	refused := map[string]string{}
	for name, value := range attributes {
		refused[name] = value
	}
	refused["event.outcome"], refused["http.request.id"], refused["http.response.status_code"] = "&{failure}", "&{request-1}", "&{403}"
	refused["sallyport.decision"], refused["sallyport.log.sequence"] = "&{deny}", "&{3}"
	want := []whole{
		{Time: "2026-11-26T08:00:00.000001Z", Severity: "INFO SEVERITY_NUMBER_INFO", Event: "access", Trace: "0af7651916cd43dd8448eb211c80319c", Span: "b7ad6b7169203331", Attributes: attributes},
		{Time: "2026-11-26T08:00:00.000001Z", Severity: "WARN SEVERITY_NUMBER_WARN", Event: "access", Attributes: refused},
	}
	normal := cmp.Transformer("spaces", func(s string) string { return strings.ReplaceAll(s, "  ", " ") })
	if len(got) != 4 || got[0].Event != "log_start" || got[3].Event != "log_end" {
		t.Fatalf("records %+v", got)
	}
	if diff := cmp.Diff(want, got[1:3], normal); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestACollectorThatWasAwayHasEverything: away in every way that there is, over a stop of
// the process, and back.
func TestACollectorThatWasAwayHasEverything(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, []string) bool{
		"it is overloaded":     status(http.StatusServiceUnavailable),
		"it does not know us":  status(http.StatusUnauthorized),
		"it is something else": status(http.StatusNotFound),
		"it hangs up":          func(http.ResponseWriter, []string) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.answers(answer)
			b.start(t)
			b.write(t, 100)
			until(t, func() bool { return !b.sink.Stats().Away.IsZero() })
			b.write(t, 100)
			b.end(t)
			if len(b.have()) != 0 || b.sink.Err() != nil {
				t.Errorf("the collector has %d records, sink says %v", len(b.have()), b.sink.Err())
			}
			b.start(t)
			b.write(t, 100)
			until(t, func() bool { return !b.sink.Stats().Away.IsZero() })
			b.answers(nil)
			until(t, func() bool { return b.count() == 303 }) // all but the last, which says that the log ends
			b.end(t)
			if diff := cmp.Diff(b.lines(), b.have()); diff != "" {
				t.Errorf("file and collector differ: %.2000s", diff)
			}
			if len(b.whose) < 2 || !strings.Contains(b.said.String(), "is away; records wait on disk") || !strings.Contains(b.said.String(), "is back") {
				t.Errorf("said:\n%s", b.said.String())
			}
		})
	}
}

// TestOneRecordThatIsNotTakenHoldsUpNoOther.
func TestOneRecordThatIsNotTakenHoldsUpNoOther(t *testing.T) {
	b := newBench(t)
	b.answers(func(w http.ResponseWriter, bodies []string) bool {
		for _, body := range bodies {
			if strings.Contains(body, "request-77") {
				w.WriteHeader(http.StatusBadRequest)
				return false
			}
		}
		return true
	})
	b.start(t)
	b.write(t, 200)
	b.settle(t)
	b.end(t)
	want := b.lines()
	want = append(want[:78], want[79:]...)
	if diff := cmp.Diff(want, b.have()); diff != "" {
		t.Errorf("file and collector differ: %.2000s", diff)
	}
	if stats := b.sink.Stats(); stats.Rejected != 1 || stats.Delivered != 201 || !strings.Contains(b.said.String(), "first=79 last=79") {
		t.Errorf("stats %+v, said:\n%s", stats, b.said.String())
	}
}

// TestAPartialSuccessIsNotSentAgain, and told.
func TestAPartialSuccessIsNotSentAgain(t *testing.T) {
	b := newBench(t)
	b.answers(func(w http.ResponseWriter, _ []string) bool {
		w.Header().Set("Content-Type", "application/x-protobuf")
		told := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 2)
		told = protowire.AppendString(protowire.AppendTag(told, 2, protowire.BytesType), "too old")
		_, _ = w.Write(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), told))
		return true
	})
	b.start(t)
	b.write(t, 1)
	until(t, func() bool { return b.count() > 0 })
	b.end(t)
	if len(b.have()) != 3 || b.sink.Stats().Rejected == 0 || !strings.Contains(b.said.String(), "it will never have them") || !strings.Contains(b.said.String(), "too old") {
		t.Errorf("%d records, stats %+v, said:\n%s", len(b.have()), b.sink.Stats(), b.said.String())
	}
}

func TestTheBodyMayHaveAnotherFormat(t *testing.T) {
	b := newBench(t)
	b.change = func(cfg *sink.Config) {
		cfg.Format = func(dst, line []byte) []byte {
			var r struct {
				ID string `json:"http.request.id"`
			}
			if err := json.Unmarshal(line, &r); err != nil {
				t.Error(err)
			}
			if r.ID == "" { // what the log keeps about itself
				return dst
			}
			return fmt.Append(dst, r.ID, " in short")
		}
	}
	b.start(t)
	b.write(t, 2)
	b.settle(t)
	b.end(t)
	if diff := cmp.Diff([]string{"request-0 in short", "request-1 in short"}, b.have()); diff != "" {
		t.Error(diff)
	}
	if b.records[1].GetSeverityText() != "INFO" || len(b.records[1].GetAttributes()) < 10 {
		t.Errorf("record %v", b.records[1])
	}
}

// BenchmarkDeliver is what a record costs the sink's goroutine and the spool's disk.
func BenchmarkDeliver(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	at, _ := url.Parse(server.URL)
	client, err := otlp.New(otlp.Config{Endpoint: at, Protocol: otlp.HTTP})
	if err != nil {
		b.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	kept, err := spool.Open(spool.Config{Directory: b.TempDir(), Size: 1 << 30, Name: "siem", Log: logger})
	if err != nil {
		b.Fatal(err)
	}
	s := sink.New(b.Context(), sink.Config{Name: "siem", Collector: client, Spool: kept, Log: logger})
	var lines bytes.Buffer
	log := accesslog.Prepare(accesslog.Config{Service: "sallyport-gateway", Sinks: []accesslog.Sink{accesslog.NewOutput("file", struct{ io.Writer }{&lines})}})
	const count = 1000
	for i := range count {
		if err := log.Write(record(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := log.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	batch := &accesslog.Batch{Lines: lines.Bytes(), First: 1, Last: count, Count: count, Instance: log.Head().Instance}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		until(b, func() bool { return s.Stats().Spool.Bytes == 0 })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/record")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
