package accesslog

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// fullDisk takes some bytes of the first write that is long, and nothing more of it; what is
// short it takes.
type fullDisk struct {
	torn bool
	more int // bytes that it has taken since
}

func (d *fullDisk) Write(p []byte) (int, error) {
	if len(p) < 3000 {
		if d.torn {
			d.more += len(p)
		}
		return len(p), nil
	}
	n := 0
	if !d.torn {
		d.torn, n = true, 500
	}
	return min(n, len(p)-1), errors.New("no space left on device")
}

// brokenDisk takes nothing.
type brokenDisk struct{}

func (*brokenDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A stop over a batch that a sink has taken a part of gives it no other: the rest of the one
// would be missing, in the middle of a line.
func TestAStopOverATornBatchLeavesNoHole(t *testing.T) {
	disk := new(fullDisk)
	l := Prepare(Config{Service: "gateway", Sinks: []Sink{NewOutput("file", io.Writer(disk))}})
	r := typical()
	for range 2000 {
		_ = l.Write(&r)
	}
	for l.Err() == nil {
		<-time.After(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Close(ctx); err == nil {
		t.Error("records are lost, and nobody says so")
	}
	if disk.more > 0 {
		t.Errorf("%d bytes are behind a batch that is torn", disk.more)
	}
}

// An event is written by whoever has something to log, and holds nobody up.
func TestEventsWaitForNothing(t *testing.T) {
	l := Prepare(Config{Service: "gateway", Durability: DurabilityFsync, Sinks: []Sink{NewOutput("file", new(brokenDisk))}})
	l.Begin()
	began := time.Now()
	for range 5 {
		if err := l.WriteEvent(&Event{Time: began}); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took > patience/3 {
		t.Errorf("five events took %v while nothing could be written", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_ = l.Close(ctx)
}
