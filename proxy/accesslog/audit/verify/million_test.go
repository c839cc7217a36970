package verify_test

import (
	"bufio"
	"compress/gzip"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
)

// BenchmarkVerify verifies a log of a million records of the usual length, with a
// checkpoint for every 10,000: plain, and compressed. The allocations show that
// memory does not grow with the log.
func BenchmarkVerify(b *testing.B) {
	name := filepath.Join(b.TempDir(), "access.log")
	keys := million(b, name, 1_000_000)
	packed := name + ".gz"
	pack(b, name, packed)
	for what, file := range map[string]string{"plain": name, "gzip": packed} {
		b.Run(what, func(b *testing.B) {
			for b.Loop() {
				start := time.Now()
				report, err := verify.Verify(b.Context(), verify.Config{Files: []string{file}, Keys: keys})
				if err != nil || !report.Whole() || report.Instances[0].Covered < 990_000 {
					b.Fatal(err, report)
				}
				b.ReportMetric(float64(report.Records)/time.Since(start).Seconds(), "records/s")
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.HeapInuse)/1e6, "heap-MB")
		})
	}
}

// pack compresses a file as rotation does.
func pack(tb testing.TB, from, to string) {
	tb.Helper()
	in, err := os.Open(from)
	if err != nil {
		tb.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		tb.Fatal(err)
	}
	w := gzip.NewWriter(out)
	if _, err := io.Copy(w, in); err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		tb.Fatal(err)
	}
}

// million writes so many records of 900 bytes.
func million(tb testing.TB, name string, count int) checkpoint.Keys {
	tb.Helper()
	f, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	out := bufio.NewWriterSize(f, 1<<20)
	w := newWorld(1)
	i := w.start(0)
	flush := func() {
		for _, l := range w.hosts[0] {
			_, _ = out.WriteString(l.text) // Flush has the error
			_ = out.WriteByte('\n')
		}
		w.hosts[0] = w.hosts[0][:0]
	}
	const members = `,"ecs.version":"8.17.0","event.kind":"event","event.category":["web"],"event.action":"access","event.outcome":"success",` +
		`"service.name":"sallyport-gateway","http.request.id":"%016x","sallyport.decision":"allow","event.reason":"group_allowed","rule.name":"group:engineers",` +
		`"user.name":"alice@example.com","user.roles":["engineers","admins"],"sallyport.session.id":"0123456789abcdef","sallyport.route":"headers",` +
		`"http.request.method":"GET","url.domain":"headers.example.com","url.path":"/deep/link/%d","http.version":"2","client.address":"192.0.2.7",` +
		`"client.port":51234,"tls.version":"1.3","user_agent.original":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",` +
		`"http.response.status_code":200,"http.request.body.bytes":17,"http.response.body.bytes":4096,"event.duration":12345000,"server.address":"10.0.0.7:8443"`
	for n := range count {
		if n%10_000 == 100 {
			c := i.sign(true)
			c.Signature = ed25519.Sign(w.vault, c.Message())
			i.write(fmt.Sprintf(`,"event.action":"checkpoint","%s":%s`, checkpoint.Member, c.AppendJSON(nil)))
			flush()
		}
		w.now = w.now.Add(time.Millisecond)
		i.write(fmt.Sprintf(members, n, n))
	}
	flush()
	if err := out.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	return w.keys
}
