package accesslog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a Sink that takes nothing while it is shut, and says nothing either.
type gate struct {
	disk
	mu    sync.Mutex
	open  chan struct{} // closed while it is open
	syncs atomic.Int64
	fault atomic.Pointer[error] // of Sync
}

// newGate returns one that is shut.
func newGate() *gate { return &gate{disk: disk{room: -1}, open: make(chan struct{})} }

func (g *gate) Name() string { return "gate" }
func (g *gate) Close() error { return nil }

func (g *gate) Write(ctx context.Context, b *Batch) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		_, err := g.disk.Write(b.Lines)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gate) Sync(context.Context) error {
	g.syncs.Add(1)
	if fault := g.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.open)
}

// alarms is a logger that keeps what it is told, and what it has been told.
func alarms() (*slog.Logger, func() string) {
	var mu sync.Mutex
	var text bytes.Buffer
	return slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return text.Write(p)
		}), nil)), func() string {
			mu.Lock()
			defer mu.Unlock()
			return text.String()
		}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

const smallBuffer = 32 << 10

// fill writes records of that decision until one finds no room, and returns how many
// did.
func fill(t *testing.T, l *Log, decision string) (n int) {
	t.Helper()
	r := full()
	r.Decision = decision
	for l.Write(&r) == nil {
		if n++; n > 1000 {
			t.Fatal("there is always room")
		}
	}
	return n
}

func TestWhoWasLetInIsRecordedWhenTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		log, told := alarms()
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{g}, Buffer: smallBuffer, Log: log})
		r := full()
		admitted := 0
		for ; l.Err() == nil; admitted++ { // a slow sink says nothing: requests are let in until it shows
			if err := l.Write(&r); err != nil {
				t.Fatal(err)
			}
		}
		if used := l.Stats().Buffered; used < smallBuffer*3/4 || used > smallBuffer {
			t.Errorf("nobody is let in at %d bytes of %d", used, smallBuffer)
		}
		refused := fill(t, l, DecisionDeny)
		from := time.Now()
		for used := l.Stats().Buffered; used < 2*smallBuffer-1000; used = l.Stats().Buffered { // what was under way ends
			if err := l.Write(&r); err != nil {
				t.Fatal(err)
			}
			admitted++
		}
		var waiting sync.WaitGroup
		for range 5 { // and has to wait
			waiting.Go(func() {
				r := full()
				if err := l.Write(&r); err != nil {
					t.Errorf("a record of somebody who was let in is lost: %v", err)
				}
			})
			admitted++
		}
		<-time.After(patience - time.Second)
		fill(t, l, DecisionDeny)
		g.release()
		waiting.Wait()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		actions, gaps := map[string]int{}, []record(nil)
		for _, r := range verify(t, g.bytes()).records(t) {
			actions[string(r.Action)+r.Decision]++
			if r.Action == ActionLogGap {
				gaps = append(gaps, r)
			}
		}
		if actions["accessallow"] != admitted || actions["accessdeny"] != refused {
			t.Errorf("records %v, want %d of people who were let in, and %d of others", actions, admitted, refused)
		}
		if len(gaps) != 1 || gaps[0].Dropped != 2 || gaps[0].Start != from.UTC().Format(timeFormat) || gaps[0].End != from.Add(patience-time.Second).UTC().Format(timeFormat) {
			t.Errorf("gaps %+v, want one of 2 records from %v on", gaps, from)
		}
		if dropped := l.Stats().Dropped; dropped != 2 || !strings.Contains(told(), "has lost records") {
			t.Errorf("%d are dropped, want 2; told: %s", dropped, told())
		}
	})
}

func TestARequestWaitsForRoomOnlySoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{g}, Buffer: smallBuffer})
		start := time.Now()
		n := fill(t, l, DecisionAllow)
		if waited := time.Since(start); waited != patience {
			t.Errorf("waited for %v, want %v", waited, patience)
		}
		g.release()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(verify(t, g.bytes()).lines); got != n+3 {
			t.Errorf("%d records, want %d, and start, gap and end", got, n)
		}
	})
}

func TestDropLetsPeopleInAndCountsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{fault: errNoSpace}
		log, told := alarms()
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{NewOutput("disk", d)}, Buffer: smallBuffer, Drop: true, Log: log})
		want := 0
		for range 3 {
			want += fill(t, l, DecisionAllow)
			<-time.After(time.Second)
			if err := l.Err(); err != nil {
				t.Errorf("nobody is let in: %v", err)
			}
		}
		if !strings.Contains(told(), "records wait, and are lost when there is no room") || strings.Contains(told(), "nobody is let in") {
			t.Errorf("told: %s", told())
		}
		d.give(-1)
		<-time.After(lastRetry)
		r := full()
		if err := l.Write(&r); err != nil {
			t.Error(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		records := verify(t, d.bytes()).records(t)
		if len(records) != want+4 {
			t.Fatalf("%d records, want %d, start, gap, one more, and end", len(records), want)
		}
		if gap := records[want+1]; gap.Action != ActionLogGap || gap.Dropped != 3 {
			t.Errorf("where records are missing there is %+v, want a gap of 3", gap)
		}
	})
}

func TestASinkBesideHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, g := &disk{room: -1}, newGate()
		log, told := alarms()
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{NewOutput("disk", d)}, Beside: []Sink{g}, Buffer: smallBuffer, Log: log})
		r := full()
		for range 200 {
			if err := errors.Join(l.Write(&r), l.Err()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := verify(t, d.bytes()); len(got.lines) != 201 {
			t.Errorf("the file has %d records, want 201", len(got.lines))
		}
		g.release()
		synctest.Wait()
		stats := l.Stats().Sinks
		if stats[0].Records != 201 || stats[0].Lost != 0 || stats[1].Records+stats[1].Lost != 201 || stats[1].Records < 10 {
			t.Errorf("counts: %+v", stats)
		}
		if strings.Count(told(), "a sink of the access log loses records") != 1 {
			t.Errorf("told: %s", told())
		}
		if err := l.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "gate lacks") || strings.Contains(err.Error(), "disk") {
			t.Errorf("Close = %v", err)
		}
	})
}

func TestOneSinkDoesNotWaitForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, g := &disk{room: -1}, newGate()
		l := Prepare(Config{Service: "gateway", Sinks: []Sink{g, NewOutput("disk", d)}})
		r := full()
		for range 10 {
			if err := l.Write(&r); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if got := verify(t, d.bytes()); len(got.lines) != 11 {
			t.Errorf("the disk has %d records, want 11", len(got.lines))
		}
		if stats := l.Stats(); stats.Lag != 0 || stats.Buffered == 0 {
			t.Errorf("counts: %+v", stats)
		}
		<-time.After(time.Minute)
		if stats := l.Stats(); stats.Lag != time.Minute {
			t.Errorf("lag %v, want a minute", stats.Lag)
		}
		g.release()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(g.bytes(), d.bytes()) || len(verify(t, g.bytes()).lines) != 12 {
			t.Error("the sinks have not got the same")
		}
	})
}

func TestDurability(t *testing.T) {
	tests := []struct {
		durability      Durability
		perWrite, later int64 // syncs
	}{
		{DurabilityNone, 0, 0},
		{DurabilityBatch, 0, 1},
		{DurabilityFsync, 1, 0},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			g.release()
			l := newLog(Config{Service: "gateway", Sinks: []Sink{g}, Durability: test.durability})
			r := full()
			for i := range int64(3) {
				if err := l.Write(&r); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := g.syncs.Load(); got != (i+1)*test.perWrite {
					t.Errorf("durability %d: %d syncs after %d records", test.durability, got, i+1)
				}
			}
			before := g.syncs.Load()
			<-time.After(10 * syncEvery)
			if got := g.syncs.Load() - before; got != test.later {
				t.Errorf("durability %d: %d syncs in a while, want %d", test.durability, got, test.later)
			}
			before = g.syncs.Load()
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if got := g.syncs.Load() - before; (got == 0) != (test.durability == DurabilityNone) {
				t.Errorf("durability %d: %d syncs at the end", test.durability, got)
			}
		})
	}
}

func TestRequestsWaitTogetherUntilTheirRecordsAreSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := newLog(Config{Service: "gateway", Sinks: []Sink{g}, Durability: DurabilityFsync})
		var ended atomic.Int64
		for range 100 {
			go func() {
				r := full()
				if err := l.Write(&r); err != nil {
					t.Error(err)
				}
				ended.Add(1)
			}()
		}
		<-time.After(time.Second)
		if n := ended.Load(); n != 0 {
			t.Errorf("%d requests have ended before their records were written", n)
		}
		g.fault.Store(&errNoSpace)
		g.release()
		<-time.After(time.Second)
		if n := ended.Load(); n != 0 || !errors.Is(l.Err(), errNoSpace) {
			t.Errorf("%d requests have ended before their records were synced; Err = %v", n, l.Err())
		}
		g.fault.Store(nil)
		<-time.After(lastRetry)
		if n, err := ended.Load(), l.Err(); n != 100 || err != nil {
			t.Errorf("%d requests have ended, want 100; Err = %v", n, err)
		}
		if n := g.writes; n > 3 {
			t.Errorf("%d writes for 100 records that came together", n)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		verify(t, g.bytes())
	})
}

func TestNobodyWaitsForASyncThatFails(t *testing.T) {
	for _, test := range []struct {
		name, decision string
		drop           bool
		want           time.Duration
	}{
		{"somebody who was let in", DecisionAllow, false, patience},
		{"somebody who was refused", DecisionDeny, false, 0},
		{"somebody who is let in without a record", DecisionAllow, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate()
				g.release()
				g.fault.Store(&errNoSpace)
				l := newLog(Config{Service: "gateway", Sinks: []Sink{g}, Durability: DurabilityFsync, Drop: test.drop})
				r := full()
				r.Decision = test.decision
				start := time.Now()
				err := l.Write(&r)
				if waited := time.Since(start); waited != test.want || (err != nil) != (waited > 0) {
					t.Errorf("waited for %v, want %v: %v", waited, test.want, err)
				}
				g.fault.Store(nil)
				if err := l.Close(t.Context()); err != nil || len(verify(t, g.bytes()).lines) != 1 {
					t.Errorf("Close = %v", err)
				}
			})
		})
	}
}

// TestALateCheckpointHasItsPlace: it is written once the disk takes it, and no other one is
// needed in its place.
func TestALateCheckpointHasItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		l := newLog(Config{Service: "gateway", Sinks: []Sink{g}, Durability: DurabilityFsync})
		sequence, err := l.WriteCheckpoint([]byte(`{"instance":"x"}`))
		if err != nil || sequence == 0 {
			t.Errorf("sequence number %d, %v", sequence, err)
		}
		g.release()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(g.bytes(), []byte(`"sallyport.log.checkpoint":{"instance":"x"}`)) {
			t.Errorf("the log has\n%s", g.bytes())
		}
	})
}
