package syslog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
)

// batches collects what a log seals.
type batches struct {
	mu  sync.Mutex
	all []accesslog.Batch
}

func (b *batches) Name() string { return "collect" }
func (b *batches) Close() error { return nil }
func (b *batches) Write(_ context.Context, batch *accesslog.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	own := *batch
	own.Lines = bytes.Clone(batch.Lines)
	b.all = append(b.all, own)
	return nil
}

// sealed returns n records of a log, and its first and last.
func sealed(t *testing.T, n int) []accesslog.Batch {
	t.Helper()
	var got batches
	log := accesslog.Prepare(accesslog.Config{Service: "gateway", Sinks: []accesslog.Sink{&got}})
	for i := range n {
		r := accesslog.Record{Time: time.Unix(int64(i), 0), Action: accesslog.ActionAccess, Decision: "allow", Status: 200, User: "jürgen\n", Path: "/" + strings.Repeat("x", i*31%400)}
		if i%5 == 0 {
			r.Decision, r.Status = "deny", 403
		}
		if err := log.Write(&r); err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			if err := log.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return got.all
}

func linesOf(all []accesslog.Batch) (lines []string) {
	for _, b := range all {
		for line := range strings.Lines(string(b.Lines)) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// collector reads messages as RFC 6587 has them.
type collector struct {
	address string
	tls     *tls.Config
	// slow has it never read, rude has it break each connection after so many messages.
	slow bool
	rude int
	// silent has it not close its side.
	silent bool

	mu       sync.Mutex
	messages []string
	faults   []error
	arrived  chan struct{}

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (c *collector) start(t *testing.T) {
	t.Helper()
	if c.address == "" {
		c.address = "127.0.0.1:0"
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	c.address = listener.Addr().String()
	if c.tls != nil {
		listener = tls.NewListener(listener, c.tls)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	context.AfterFunc(ctx, func() { listener.Close() })
	c.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				c.serve(ctx, conn)
			})
		}
	})
	t.Cleanup(c.stop)
}

func (c *collector) stop() {
	c.cancel()
	c.wg.Wait()
}

func (c *collector) serve(ctx context.Context, conn net.Conn) {
	if c.slow {
		<-ctx.Done()
		return
	}
	r := bufio.NewReader(conn)
	for n := 1; ; n++ {
		message, err := readFrame(r)
		if errors.Is(err, io.EOF) && c.silent {
			<-ctx.Done()
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				c.mu.Lock()
				c.faults = append(c.faults, err)
				c.mu.Unlock()
			}
			return
		}
		c.mu.Lock()
		c.messages = append(c.messages, message)
		if c.arrived != nil {
			close(c.arrived)
			c.arrived = nil
		}
		c.mu.Unlock()
		if c.rude > 0 && n == c.rude {
			return // with unread data: a reset
		}
	}
}

// readFrame reads one message, or returns io.EOF between two.
func readFrame(r *bufio.Reader) (string, error) {
	length, err := r.ReadString(' ')
	if err != nil {
		if length != "" {
			err = fmt.Errorf("cut off in the length %q: %v", length, err) //nolint:errorlint // is no clean end
		}
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
	if err != nil || n <= 0 {
		return "", fmt.Errorf("length %q", length)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		return "", fmt.Errorf("cut off in a message: %v", err) //nolint:errorlint // is no clean end
	}
	return string(message), nil
}

// all are the messages so far.
func (c *collector) all() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages)
}

// await waits until done says so of all messages.
func (c *collector) await(t *testing.T, done func(messages []string) bool) {
	t.Helper()
	limit := time.After(15 * time.Second)
	for {
		c.mu.Lock()
		if done(c.messages) {
			c.mu.Unlock()
			return
		}
		arrived := make(chan struct{})
		c.arrived = arrived
		c.mu.Unlock()
		select {
		case <-arrived:
		case <-limit:
			t.Fatalf("%d messages have come in time", len(c.messages))
		}
	}
}

var header = regexp.MustCompile(`^<(\d+)>1 (\S+) (\S+) (\S+) (\S+) (\S+) (-|\[[^\]]*\]) `)

// contents are the MSG parts of messages, each once, in the order of their first coming.
func contents(messages []string) (lines []string, repeats int) {
	seen := map[string]bool{}
	for _, message := range messages {
		line := message[len(header.FindString(message)):]
		if seen[line] {
			repeats++
			continue
		}
		seen[line] = true
		lines = append(lines, line)
	}
	return lines, repeats
}

func newSpool(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Config{Directory: dir, Size: 64 << 20, Name: "siem", Log: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// patience is how long a stop may take on a slow machine, where everything is to arrive.
const patience = 20 * time.Second

func newSink(t *testing.T, dir string, c *collector, hold time.Duration) *Sink {
	t.Helper()
	cfg := Config{
		Name: "siem", Address: c.address, Facility: 13, Hostname: "edge 1", AppName: "sallyport", Spool: newSpool(t, dir), Log: logger(t),
		StopWithin: patience,
	}
	return start(t.Context(), cfg, hold)
}

func feed(t *testing.T, s *Sink, all []accesslog.Batch) {
	t.Helper()
	for i := range all {
		if err := s.Write(t.Context(), &all[i]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMessage(t *testing.T) {
	line := `{"@timestamp":"2026-11-22T09:30:00.000001Z","event.action":"access","event.outcome":"failure","sallyport.decision":"%s",` +
		`"sallyport.log.instance":"abcdefghijklmnopqrstuvwxyz","sallyport.log.sequence":%d,"sallyport.log.previous":"` + strings.Repeat("A", 43) + `"}`
	tests := []struct{ name, line, want string }{
		{"somebody refused", fmt.Sprintf(line, "deny", 7), `<108>1 2026-11-22T09:30:00.000001Z edge1 sallyport abcdefghijklmnopqrstuvwxyz access [meta sequenceId="7"] `},
		{"something that failed", fmt.Sprintf(line, "allow", 1<<31-1), `<109>1 2026-11-22T09:30:00.000001Z edge1 sallyport abcdefghijklmnopqrstuvwxyz access [meta sequenceId="2147483647"] `},
		{"a number beyond the largest", fmt.Sprintf(line, "signin", 1<<31), `<109>1 2026-11-22T09:30:00.000001Z edge1 sallyport abcdefghijklmnopqrstuvwxyz access [meta sequenceId="1"] `},
		{"no record", `hello`, `<110>1 - edge1 sallyport - - - `},
	}
	s := shape{facility: 13, hostname: "edge 1\u202e", name: "sallyport"}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := test.want + test.line
			want = fmt.Sprint(len(want)) + " " + want
			if got, _ := s.appendFrame(nil, nil, []byte(test.line)); string(got) != want {
				t.Errorf("message\n%s\nwant\n%s", got, want)
			}
		})
	}
	s.format = func(dst, _ []byte) []byte { return dst }
	if got, _ := s.appendFrame(nil, nil, []byte("x")); len(got) > 0 {
		t.Errorf("a record that the format has no word for: %q", got)
	}
}

func TestWhatIsWrittenArrivesByteForByte(t *testing.T) {
	all := sealed(t, 300)
	var c collector
	c.start(t)
	s := newSink(t, t.TempDir(), &c, sessionTime)
	feed(t, s, all)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.stop()
	got, repeats := contents(c.all())
	if diff := cmp.Diff(linesOf(all), got); diff != "" || repeats > 0 || len(c.faults) > 0 {
		t.Errorf("%d repeats, faults %v (-want +got):\n%s", repeats, c.faults, diff)
	}
	if stats := s.Stats(); stats.Delivered != uint64(len(got)) || stats.Failures > 0 || stats.Spool.Bytes > 0 {
		t.Errorf("stats %+v", stats)
	}
}

func TestACollectorThatComesAndGoes(t *testing.T) {
	all := sealed(t, 2000)
	want := linesOf(all)
	var c collector
	c.start(t)
	c.stop() // is away at first
	dir := t.TempDir()
	s := newSink(t, dir, &c, 20*time.Millisecond)
	third := len(all) / 3
	feed(t, s, all[:third])
	c.start(t)
	c.await(t, func(messages []string) bool { return len(messages) > 50 })
	c.stop() // in the middle
	feed(t, s, all[third:2*third])
	if err := s.Close(); err != nil { // while it is away
		t.Fatal(err)
	}
	s = newSink(t, dir, &c, 20*time.Millisecond) // the next process
	c.start(t)
	feed(t, s, all[2*third:])
	c.await(t, func(messages []string) bool { got, _ := contents(messages); return len(got) == len(want) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, _ := contents(c.all())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if stats := s.Stats(); stats.Spool.Bytes > 0 {
		t.Errorf("stats %+v", stats)
	}
}

// TestWhatACollectorHasNotReadIsSentAgain: it breaks connections with data that its
// kernel has taken, and nobody has read.
func TestWhatACollectorHasNotReadIsSentAgain(t *testing.T) {
	all := sealed(t, 400)
	want := linesOf(all)
	c := collector{rude: 150}
	c.start(t)
	s := newSink(t, t.TempDir(), &c, 5*time.Second)
	feed(t, s, all)
	c.await(t, func(messages []string) bool { return len(messages) >= 300 })
	c.stop()
	c.rude = 0
	c.start(t)
	c.await(t, func(messages []string) bool { got, _ := contents(messages); return len(got) == len(want) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got, repeats := contents(c.all())
	if diff := cmp.Diff(want, got); diff != "" || repeats == 0 {
		t.Errorf("%d repeats (-want +got):\n%s", repeats, diff)
	}
	if s.Stats().Failures == 0 {
		t.Errorf("stats %+v", s.Stats())
	}
}

func TestACollectorThatNeverClosesItsSide(t *testing.T) {
	all := sealed(t, 20)
	c := collector{silent: true}
	c.start(t)
	s := newSink(t, t.TempDir(), &c, 20*time.Millisecond)
	s.closes = 50 * time.Millisecond
	feed(t, s, all)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Delivered != uint64(len(linesOf(all))) || stats.Failures > 0 {
		t.Errorf("stats %+v", stats)
	}
}

func TestACollectorThatReadsNothingKeepsNobody(t *testing.T) {
	c := collector{slow: true}
	c.start(t)
	s := start(t.Context(), Config{Name: "siem", Address: c.address, AppName: "sallyport", Spool: newSpool(t, t.TempDir()), Log: logger(t)}, 20*time.Millisecond)
	feed(t, s, sealed(t, 200))
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if stats := s.Stats(); stats.Delivered > 0 {
		t.Errorf("stats %+v", stats)
	}
}

// authority makes a certificate for a collector, and what trusts it.
func authority(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	own, roots := authority(t, "siem.example.com")
	other, _ := authority(t, "siem.example.com")
	tests := []struct {
		name, server string
		shows        tls.Certificate
		want         bool
	}{
		{"the collector", "siem.example.com", own, true},
		{"another name", "other.example.com", own, false},
		{"another authority", "siem.example.com", other, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			all := sealed(t, 50)
			c := collector{tls: &tls.Config{Certificates: []tls.Certificate{test.shows}, MinVersion: tls.VersionTLS12}}
			c.start(t)
			s := start(t.Context(), Config{
				Name: "siem", Address: c.address, AppName: "sallyport", Spool: newSpool(t, t.TempDir()), Log: logger(t), StopWithin: patience,
				TLS: func() (*tls.Config, error) {
					return &tls.Config{RootCAs: roots, ServerName: test.server, MinVersion: tls.VersionTLS12}, nil
				},
			}, 20*time.Millisecond)
			feed(t, s, all)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			c.stop()
			got, _ := contents(c.all())
			if arrived := len(got) == len(linesOf(all)); arrived != test.want || !test.want && len(got) > 0 {
				t.Errorf("%d of %d arrived", len(got), len(linesOf(all)))
			}
		})
	}
}

// FuzzFrame: whatever a line says, its message is one frame whose header has the
// form of RFC 5424, and the line is in it as it was.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"@timestamp":"2026-11-22T09:30:00.000001Z","event.action":"access"}`), "host")
	f.Add([]byte("\x00 ] \\\" \xff"), "a b\n\u202e")
	f.Fuzz(func(t *testing.T, line []byte, host string) {
		if len(line) == 0 {
			return
		}
		s := shape{facility: 16, hostname: host, name: "sallyport"}
		frame, _ := s.appendFrame(nil, nil, line)
		r := bufio.NewReader(bytes.NewReader(frame))
		message, err := readFrame(r)
		if err != nil || r.Buffered() > 0 {
			t.Fatalf("frame %q: %v", frame, err)
		}
		if head := header.FindString(message); head == "" || message[len(head):] != string(line) {
			t.Errorf("message %q of line %q", message, line)
		}
	})
}
