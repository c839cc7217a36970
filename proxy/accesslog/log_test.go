package accesslog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// disk is a file that takes as much as there is room for.
type disk struct {
	mu     sync.Mutex
	text   bytes.Buffer
	room   int   // how much it takes yet; negative for any
	fault  error // what it says then
	writes int
}

var errNoSpace = errors.New("no space left on device")

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	if d.room < 0 || d.room >= len(p) {
		if d.room >= 0 {
			d.room -= len(p)
		}
		return d.text.Write(p)
	}
	n, _ := d.text.Write(p[:d.room])
	d.room = 0
	return n, d.fault
}

func (d *disk) give(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

func (d *disk) bytes() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.text.Bytes())
}

func TestALogIsAWholeChainFromStartToEnd(t *testing.T) {
	d := &disk{room: -1}
	l := Prepare(Config{Service: "gateway", Version: "v1.2.3", Sinks: []Sink{NewOutput("disk", d)}, Predecessor: &Head{"abcdefghijklmnopqrstuvwxyz", 7, strings.Repeat("x", hashLength)}})
	if err := l.Flush(t.Context()); err != nil || len(d.bytes()) != 0 {
		t.Errorf("a log writes before it begins: %v, %s", err, d.bytes())
	}
	l.Begin()
	l.Begin()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			r := full()
			for range 100 {
				if err := errors.Join(l.Write(&r), l.Err()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(l.Close(t.Context()), l.Close(t.Context())); err != nil {
		t.Error(err)
	}
	got := verify(t, d.bytes())
	if n := len(got.lines); n != 802 || got.torn != "" {
		t.Fatalf("%d lines, want 802; torn: %q", n, got.torn)
	}
	start := `"event.action":"log_start","event.outcome":"success","service.name":"gateway","sallyport.version":"v1.2.3","host.name":"`
	predecessor := `"sallyport.log.predecessor":{"instance":"abcdefghijklmnopqrstuvwxyz","sequence":7,"hash":"` + strings.Repeat("x", hashLength) + `"}`
	if !strings.Contains(got.lines[0], start) || !strings.Contains(got.lines[0], predecessor) {
		t.Errorf("first record: %s", got.lines[0])
	}
	if !strings.Contains(got.lines[801], `"event.action":"log_end"`) {
		t.Errorf("last record: %s", got.lines[801])
	}
	r := full()
	if err := l.Write(&r); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Close = %v", err)
	}
}

// TestALogRecoversByItself has the disk break off at every place of a line, and goes
// on where it stopped.
func TestALogRecoversByItself(t *testing.T) {
	r := full()
	length := len(r.AppendJSON(nil, "gateway")) + maxSeal
	for room := 0; room < length; room += 7 {
		for _, fault := range []error{errNoSpace, nil} {
			synctest.Test(t, func(t *testing.T) {
				d := &disk{room: room, fault: fault}
				l := New(d, "gateway")
				for range 3 {
					if err := l.Write(&r); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				want := fault
				if want == nil {
					want = io.ErrShortWrite
				}
				if err := l.Err(); !errors.Is(err, want) {
					t.Fatalf("Err = %v, want %v", err, want)
				}
				d.give(-1)
				if err := l.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if err := l.Err(); err != nil {
					t.Errorf("Err after it works again = %v", err)
				}
				if got := verify(t, d.bytes()); len(got.lines) != 3 || got.torn != "" {
					t.Errorf("%d lines, want 3; torn: %q", len(got.lines), got.torn)
				}
			})
		}
	}
}

func TestAStopDoesNotWaitForADiskThatIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{fault: errNoSpace}
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{NewOutput("disk", d)}})
		r := full()
		if err := l.Write(&r); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := l.Close(ctx)
		if !errors.Is(err, errNoSpace) || !strings.Contains(err.Error(), "disk lacks 3 records") {
			t.Errorf("Close = %v, expected it to say that three records are lost, and why", err)
		}
	})
}

// TestNothingIsAllocatedForARecord: neither for putting it in, nor for sealing and
// writing it; what a batch costs is shared by all that are in it.
func TestNothingIsAllocatedForARecord(t *testing.T) {
	const records = 320
	l := New(io.Discard, "gateway")
	r := typical()
	line := r.AppendJSON(nil, "gateway")
	cost := testing.AllocsPerRun(50, func() {
		for n := range records {
			if _, err := l.put(line, mustStay); err != nil {
				t.Error(err)
			}
			if n%together == 0 {
				runtime.Gosched()
			}
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if cost > records/10 {
		t.Errorf("%v allocations for %d records", cost, records)
	}
	if encoding := testing.AllocsPerRun(50, func() { line = r.AppendJSON(line[:0], "gateway") }); encoding != 0 {
		t.Errorf("%v allocations for encoding a record", encoding)
	}
}
