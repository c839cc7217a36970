package syslog

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// rsyslog is a real one, of the test's own.
type rsyslog struct {
	dir, port string
	roots     *x509.CertPool // nil for plain TCP
	cmd       *exec.Cmd
}

// newRsyslog writes its configuration. Its queue is direct: what it has read and
// acknowledged to nobody is in its file.
func newRsyslog(t *testing.T, secured bool) *rsyslog {
	t.Helper()
	r := &rsyslog{dir: t.TempDir(), port: "0"}
	if secured {
		certificate, roots := authority(t, "siem.example.com")
		key, err := x509.MarshalECPrivateKey(certificate.PrivateKey.(*ecdsa.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		r.write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
		r.write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}))
		r.roots = roots
	}
	return r
}

func (r *rsyslog) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// start starts it, on the port that it had before.
func (r *rsyslog) start(t *testing.T) {
	t.Helper()
	in := func(name string) string { return filepath.Join(r.dir, name) }
	driver, files := "", ""
	if r.roots != nil {
		driver = `StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon"`
		files = fmt.Sprintf(`defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q`, in("cert.pem"), in("cert.pem"), in("key.pem"))
	}
	_ = os.Remove(in("port"))
	r.write(t, "rsyslog.conf", fmt.Appendf(nil, `
global(workDirectory=%q maxMessageSize="256k" net.enableDNS="off" parser.escapeControlCharactersOnReceive="off" %s)
main_queue(queue.type="Direct")
module(load="imtcp" %s)
input(type="imtcp" address="127.0.0.1" port=%q listenPortFileName=%q)
template(name="line" type="string" string="%%msg%%\n")
action(type="omfile" file=%q template="line")
`, r.dir, files, driver, r.port, in("port"), in("got")))
	r.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), "rsyslogd", "-n", "-iNONE", "-f", in("rsyslog.conf"))
	complaints := &bytes.Buffer{}
	r.cmd.Stderr = complaints
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := r.cmd
	t.Cleanup(func() { r.end(cmd, syscall.SIGKILL) })
	for range 6000 { // a minute
		if r.listens(t, in("port")) {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("rsyslogd does not listen: %s", complaints)
}

// listens reports whether it takes connections. Only of a port that it has chosen itself
// does it write the number.
func (r *rsyslog) listens(t *testing.T, file string) bool {
	t.Helper()
	if r.port == "0" {
		port, err := os.ReadFile(file)
		if err != nil || len(port) == 0 {
			return false
		}
		r.port = strings.TrimSpace(string(port))
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+r.port)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// end ends a process, if it runs.
func (r *rsyslog) end(cmd *exec.Cmd, signal syscall.Signal) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Signal(signal)
		_ = cmd.Wait()
	}
}

// got is what it has written.
func (r *rsyslog) got(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, "got"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return text
}

// sink sends to it.
func (r *rsyslog) sink(t *testing.T, hold time.Duration) *Sink {
	t.Helper()
	cfg := Config{
		Name: "siem", Address: "127.0.0.1:" + r.port, Facility: 16, Hostname: "edge", AppName: "sallyport", Spool: newSpool(t, filepath.Join(r.dir, "spool")), Log: logger(t),
		StopWithin: patience,
	}
	if r.roots != nil {
		cfg.TLS = func() (*tls.Config, error) {
			return &tls.Config{RootCAs: r.roots, ServerName: "siem.example.com", MinVersion: tls.VersionTLS12}, nil
		}
	}
	return start(t.Context(), cfg, hold)
}

// record is one of many, with what comes from clients.
func record(n int) *accesslog.Record {
	return &accesslog.Record{
		Time: time.Unix(int64(n), 0), Action: accesslog.ActionAccess, Decision: "allow", Status: 200, RequestID: fmt.Sprint(n),
		User: "jürgen 東京 \x00\n", UserAgent: strings.Repeat("a\"\\é", n%400), Path: "/" + strings.Repeat("x", n*31%2000),
	}
}

func TestRsyslogGetsWhatTheFileHas(t *testing.T) {
	for _, secured := range []bool{false, true} {
		t.Run(fmt.Sprint("tls ", secured), func(t *testing.T) {
			r := newRsyslog(t, secured)
			r.start(t)
			var file bytes.Buffer
			log := accesslog.Prepare(accesslog.Config{Service: "gateway", Sinks: []accesslog.Sink{accesslog.NewOutput("file", &file), r.sink(t, 200*time.Millisecond)}})
			for n := range 3000 {
				if err := log.Write(record(n)); err != nil {
					t.Fatal(err)
				}
			}
			if err := log.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.end(r.cmd, syscall.SIGTERM)
			if got := r.got(t); !bytes.Equal(got, file.Bytes()) {
				t.Errorf("it has %d lines and %d bytes, the file %d and %d", bytes.Count(got, []byte{'\n'}), len(got), bytes.Count(file.Bytes(), []byte{'\n'}), file.Len())
			}
		})
	}
}

// TestRsyslogMissesNothing ends and starts it under load, in every way.
func TestRsyslogMissesNothing(t *testing.T) {
	for _, secured := range []bool{false, true} {
		t.Run(fmt.Sprint("tls ", secured), func(t *testing.T) {
			r := newRsyslog(t, secured)
			r.start(t)
			var file bytes.Buffer
			sink := r.sink(t, 100*time.Millisecond)
			log := accesslog.Prepare(accesslog.Config{Service: "gateway", Sinks: []accesslog.Sink{accesslog.NewOutput("file", &file), sink}})
			stop := make(chan struct{})
			var load sync.WaitGroup
			load.Go(func() {
				for n := 0; ; n++ {
					if err := log.Write(record(n)); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-stop:
						return
					case <-time.After(200 * time.Microsecond):
					}
				}
			})
			for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
				<-time.After(300 * time.Millisecond)
				r.end(r.cmd, signal)
				<-time.After(200 * time.Millisecond) // away, under load
				r.start(t)
			}
			<-time.After(300 * time.Millisecond)
			close(stop)
			load.Wait()
			if err := log.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.untilAllIsSent(t, sink)
			if err := log.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.end(r.cmd, syscall.SIGTERM)
			got, repeats := onceEach(r.got(t))
			if got != file.String() {
				t.Errorf("it has %d lines once each, the file %d", strings.Count(got, "\n"), bytes.Count(file.Bytes(), []byte{'\n'}))
			}
			t.Logf("%d records, %d of them twice", strings.Count(got, "\n"), repeats)
			if sink.Stats().Failures == 0 {
				t.Error("no connection ever broke")
			}
		})
	}
}

func (r *rsyslog) untilAllIsSent(t *testing.T, sink *Sink) {
	t.Helper()
	for range 6000 { // a minute
		if sink.Stats().Spool.Bytes == 0 {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("records still wait: %+v", sink.Stats())
}

// onceEach is every line of some text once, in the order of its first coming.
func onceEach(text []byte) (lines string, repeats int) {
	seen := map[string]bool{}
	var once strings.Builder
	for line := range strings.Lines(string(text)) {
		if seen[line] {
			repeats++
			continue
		}
		seen[line] = true
		once.WriteString(line)
	}
	return once.String(), repeats
}
