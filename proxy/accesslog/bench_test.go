package accesslog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// typical is a record as a browser's request makes it.
func typical() Record {
	r := full()
	r.UserAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
	return r
}

// together is how many requests end before the writer's turn comes.
const together = 32

// BenchmarkRecord is what a record costs from Write until it is in the file: encoded,
// sealed and written. The caller and the writer share the time that it shows.
func BenchmarkRecord(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "access.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	for name, w := range map[string]io.Writer{"nowhere": io.Discard, "file": file} {
		for _, durability := range []Durability{DurabilityNone, DurabilityBatch} {
			b.Run(name+map[Durability]string{DurabilityNone: "/none", DurabilityBatch: "/batch"}[durability], func(b *testing.B) {
				l := Prepare(Config{Service: "gateway", Sinks: []Sink{NewOutput("w", struct{ io.Writer }{w})}, Durability: durability})
				r, n := typical(), 0
				b.ReportAllocs()
				before := usedCPU()
				for b.Loop() {
					if errors.Join(l.Write(&r), l.Err()) != nil {
						_ = l.Flush(b.Context()) // the disk is slower
					}
					if n++; n%together == 0 {
						runtime.Gosched()
					}
				}
				if err := l.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64((usedCPU()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// usedCPU is how much processor time this process has used.
func usedCPU() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkWrite is the request's part alone.
func BenchmarkWrite(b *testing.B) {
	l := New(io.Discard, "gateway")
	l.queue.running = true // nobody takes what is put in
	r := typical()
	b.ReportAllocs()
	for b.Loop() {
		if l.Write(&r) != nil || l.Err() != nil {
			l.queue.pending = l.queue.pending[:0]
			l.queue.used.Store(0)
		}
	}
}

// BenchmarkSeal is the chain's part alone.
func BenchmarkSeal(b *testing.B) {
	c := newChain(newInstance())
	r := typical()
	line := r.AppendJSON(nil, "gateway")
	var buf []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		buf = c.seal(buf[:0], line)
	}
}
